"""Guards on the repository itself."""

from __future__ import annotations

import operator
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_operator_folder_is_no_package() -> None:
    # operator/__init__.py would shadow the standard library's module for everyone.
    assert not (ROOT / "operator" / "__init__.py").exists()


def test_import_operator_is_the_standard_library() -> None:
    assert Path(operator.__file__ or "").parent == Path(sysconfig.get_path("stdlib"))


def test_also_from_the_checkout_in_a_new_interpreter() -> None:
    code = "import operator; print(operator.__file__)"
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert Path(found.stdout.strip()).parent == Path(sysconfig.get_path("stdlib"))


def test_test_folders_are_packages() -> None:
    # A test folder named like a module, without its parents' __init__.py, would shadow that module.
    folders = {path.parent for path in (ROOT / "tests").rglob("test_*.py")}
    assert [str(f) for f in folders if not (f / "__init__.py").exists()] == []

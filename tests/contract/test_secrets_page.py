"""docs/secrets.md and docs/security.md: manifests are valid, no password is on a command line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.builders import mailsync
from tests.support.pages import commands, manifests, page

_PAGES = ("secrets.md", "security.md", "usage.md")
_SPECS = [obj["spec"] for name in _PAGES for obj in manifests(page(name)) if set(obj) == {"spec"}]
_ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("spec", _SPECS, ids=range(len(_SPECS)))
def test_a_manifest_is_valid(spec: dict[str, Any]) -> None:
    mailsync(**spec)


def test_no_command_of_any_page_has_a_password_in_it() -> None:
    pages = [*_ROOT.glob("docs/*.md"), *_ROOT.glob("*/README.md"), _ROOT / "README.md"]
    found = [line for path in pages for line in commands(path.read_text(encoding="utf-8"))]
    assert len(found) > 30
    for line in found:
        assert not re.search(r"--from-literal=(?!username=)|--password[= ](?!-file)", line), line


def test_commands_are_found_whole() -> None:
    text = "```console\n$ a \\\n    b\nsaid\n$ while c; do\n>   d\n> done\n```\n"
    assert commands(text) == ["a \\\n    b", "while c; do\n  d\ndone"]

"""What the Dockerfile says, and when an image counts as changed."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from tests.images.catalog import IMAGES, OPERATOR, ROOT, Image, digest, named

_DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def _stage(name: str) -> str:
    """Return the lines of one stage."""
    pattern = rf"^FROM \S+ AS {name}\n(.*?)(?=^FROM |\Z)"
    match = re.search(pattern, _DOCKERFILE, re.MULTILINE | re.DOTALL)
    assert match, name
    return match[1]


def test_the_build_uses_the_makefiles_uv() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    wanted = re.search(r"^UV_VERSION := (\S+)$", makefile, re.MULTILINE)
    assert wanted
    assert f"ARG UV_VERSION={wanted[1]}\n" in _DOCKERFILE


@pytest.mark.parametrize("name", ["operator", "syncjob"])
def test_a_result_takes_installed_files_only(name: str) -> None:
    copies = re.findall(r"^COPY (.*)$", _stage(name), re.MULTILINE)
    stunnel = ["--from=stunnel /opt/stunnel /"] if name == "syncjob" else []
    assert copies == [
        *stunnel,
        f"--from=dependencies-{name} /opt/mailsync /opt/mailsync",
        "--from=project /opt/project /opt/mailsync",
    ]
    assert "RUN" not in _stage(name)


def test_results_run_as_an_ordinary_user_by_number() -> None:
    # The kubelet cannot tell from a name whether runAsNonRoot holds.
    assert re.findall(r"^USER (.*)$", _stage("runtime"), re.MULTILINE) == ["65532:65532"]


def test_settings_of_the_network_stay_in_the_build() -> None:
    # An ENV would be part of the image; an ARG of a build stage is not.
    final = _stage("runtime") + _stage("operator") + _stage("syncjob")
    assert not re.search(r"INDEX|CERT|PROXY", final)


def test_the_context_has_what_the_dockerfile_copies() -> None:
    kept = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    copied = {
        word
        for line in re.findall(r"^COPY (?!--from)(.*)$", _DOCKERFILE, re.MULTILINE)
        for word in line.split()[:-1]
    }
    assert copied == {line.removeprefix("!") for line in kept if line.startswith("!")}


def test_an_image_changes_with_its_files_and_its_base(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n", encoding="utf-8")
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "a.py").write_text("1\n", encoding="utf-8")
    image = Image("x", str(tmp_path), inputs=("code",))
    first = digest(image, "base")
    assert digest(image, "base") == first
    assert digest(image, "other base") != first
    assert digest(dataclasses.replace(image, target="y"), "base") != first
    (tmp_path / "code" / "__pycache__").mkdir()
    (tmp_path / "code" / "__pycache__" / "a.pyc").write_text("x", encoding="utf-8")
    assert digest(image, "base") == first
    (tmp_path / "code" / "a.py").write_text("2\n", encoding="utf-8")
    assert digest(image, "base") != first


def test_images_by_name() -> None:
    assert named([]) == list(IMAGES)
    assert named(["operator"]) == named(["mailsync-operator"]) == [OPERATOR]
    with pytest.raises(KeyError):
        named(["oprator"])

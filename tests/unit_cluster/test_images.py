"""Image archives and names."""

from __future__ import annotations

import io
import json
import tarfile
from typing import TYPE_CHECKING

import pytest

from tests.cluster.archive import archive_names, image_reference, write_image
from tests.cluster.images import pushed_name
from tests.cluster.shell import ToolingError

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = b"\x7fELF and so on"


def tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def test_an_archive_that_was_written_is_read_back(tmp_path: Path) -> None:
    reference = image_reference("tool", PROGRAM)
    write_image(tmp_path / "a.tar", reference, PROGRAM, command="/tool")
    assert archive_names(tmp_path / "a.tar") == [reference]


def test_the_program_is_in_the_layer_and_may_be_run(tmp_path: Path) -> None:
    write_image(tmp_path / "a.tar", "localhost/t:1", PROGRAM, command="/tool")
    with tarfile.open(tmp_path / "a.tar") as archive:
        blob = {name: archive.extractfile(name) for name in archive.getnames()}

        def load(digest: str) -> bytes:
            file = blob[f"blobs/{digest.replace(':', '/')}"]
            assert file is not None
            return file.read()

        index = blob["index.json"]
        assert index is not None
        manifest = json.loads(load(json.load(index)["manifests"][0]["digest"]))
        settings = json.loads(load(manifest["config"]["digest"]))
        layer = load(manifest["layers"][0]["digest"])
    assert settings["config"] == {"Entrypoint": ["/tool"], "User": "65532:65532"}
    with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
        member = archive.getmember("tool")
        content = archive.extractfile(member)
        assert content is not None
        assert (content.read(), member.mode) == (PROGRAM, 0o755)


def test_equal_programs_give_equal_archives_and_names(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_image(tmp_path / name, "localhost/t:1", PROGRAM, command="/tool")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert image_reference("t", PROGRAM) != image_reference("t", PROGRAM + b"!")


def test_a_docker_archive_is_read(tmp_path: Path) -> None:
    manifest = [{"RepoTags": ["localhost/a:1", "localhost/a:2"]}, {"RepoTags": None}]
    path = tar(tmp_path / "d.tar", {"manifest.json": json.dumps(manifest).encode()})
    assert archive_names(path) == ["localhost/a:1", "localhost/a:2"]


@pytest.mark.parametrize(
    "files", [{}, {"README": b"x"}, {"index.json": b'{"manifests": [{}]}'}, {"index.json": b"{"}]
)
def test_an_archive_without_a_name_is_refused(tmp_path: Path, files: dict[str, bytes]) -> None:
    with pytest.raises(ToolingError, match=r"x\.tar"):
        archive_names(tar(tmp_path / "x.tar", files))


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("hello")
    with pytest.raises(ToolingError, match="no image archive"):
        archive_names(tmp_path / "x.txt")


@pytest.mark.parametrize(
    ("reference", "registry", "expected"),
    [
        ("localhost/syncjob:1", "registry.example/team", "registry.example/team/syncjob:1"),
        ("syncjob:1", "registry.example:5000/", "registry.example:5000/syncjob:1"),
        ("docker.io/library/a", "r.example/x/y", "r.example/x/y/a"),
    ],
)
def test_a_pushed_image_keeps_its_own_name(reference: str, registry: str, expected: str) -> None:
    assert pushed_name(reference, registry) == expected

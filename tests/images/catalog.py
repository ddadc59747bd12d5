"""Which images there are, and a digest of everything that decides what is in one."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["DOVECOT", "IMAGES", "OPERATOR", "ROOT", "SYNCJOB", "Image", "digest", "named"]

ROOT = Path(__file__).parents[2]
"""The checkout."""


@dataclass(frozen=True, slots=True)
class Image:
    """One image that can be built.

    Attributes
    ----------
    context
        The folder that the build sees, relative to the checkout; its Dockerfile is in it.
    target
        The Dockerfile's stage; empty for the last one.
    inputs
        Files and folders of the context that are copied into the image, beside the Dockerfile.
    """

    name: str
    context: str
    target: str = ""
    inputs: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """The build context."""
        return ROOT / self.context


_DISTRIBUTION = (
    ".dockerignore", "pyproject.toml", "uv.lock", "README.md", "LICENSE",
    "crds", "operator", "syncjob",
)  # fmt: skip

OPERATOR = Image("mailsync-operator", ".", target="operator", inputs=_DISTRIBUTION)
SYNCJOB = Image("mailsync-syncjob", ".", target="syncjob", inputs=_DISTRIBUTION)
DOVECOT = Image("mailsync-dovecot", "tests/images/dovecot")

IMAGES = (OPERATOR, SYNCJOB, DOVECOT)


def named(names: Iterable[str]) -> list[Image]:
    """Return images by name, with or without the common prefix; all of them for no names.

    Raises
    ------
    KeyError
        There is no such image.
    """
    known = {image.name: image for image in IMAGES}
    wanted = [name if name in known else f"mailsync-{name}" for name in names]
    return [known[name] for name in wanted] or list(IMAGES)


def digest(image: Image, *settings: str) -> str:
    """Digest an image's inputs and what else decides its content: twelve hexadecimal digits."""
    result = hashlib.sha256("\0".join((image.name, image.target, *settings)).encode())
    for path in sorted(_files(image)):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        result.update(f"{path.relative_to(image.folder)}\0{content}\n".encode())
    return result.hexdigest()[:12]


def _files(image: Image) -> Iterator[Path]:
    yield image.folder / "Dockerfile"
    for entry in image.inputs:
        path = image.folder / entry
        if path.is_file():
            yield path
        else:
            yield from (
                each
                for each in path.rglob("*")
                if each.is_file() and "__pycache__" not in each.parts
            )

"""The local base image's files: a minimal Debian with Python, put together without a registry."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from typing import TYPE_CHECKING

from tests.cluster.packages import ensure
from tests.cluster.shell import run, step

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["BASE_SETTINGS", "write_root"]

_SUITE = "bookworm"
_PACKAGES = ("python3", "ca-certificates")
_MIRROR = "http://deb.debian.org/debian"
# Of no use in a container: package lists and archives, documentation, other languages, devices.
_REMOVED = (
    "dev", "var/cache/apt", "var/lib/apt/lists", "var/log",
    "usr/share/doc", "usr/share/man", "usr/share/locale",
)  # fmt: skip

BASE_SETTINGS: tuple[str, ...] = (
    hashlib.sha256(" ".join((_SUITE, *_PACKAGES, *_REMOVED)).encode()).hexdigest()[:12],
)
"""Names the recipe, for the tag of the base and the digests of what is built on it."""


@contextlib.contextmanager
def write_root(folder: Path) -> Iterator[Path]:
    """Fill a folder with the base image's files; it is removed at the end.

    Packages come from ``MAILSYNC_DEBIAN_MIRROR``, by default Debian's own; debootstrap checks
    their signatures.
    """
    ensure("debootstrap", "debian-archive-keyring")
    mirror = os.environ.get("MAILSYNC_DEBIAN_MIRROR") or _MIRROR
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    command = [
        "nice", "-n", "5", "debootstrap", "--variant=minbase",
        f"--include={','.join(_PACKAGES)}", _SUITE, str(folder), mirror,
    ]  # fmt: skip
    try:
        with step(f"making a base image of Debian {_SUITE} with Python (once, about a minute)"):
            run(command)
            for name in _REMOVED:
                _empty(folder / name)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _empty(folder: Path) -> None:
    """Remove what is in a folder, but not the folder: programs expect it."""
    for entry in folder.iterdir() if folder.is_dir() else ():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()

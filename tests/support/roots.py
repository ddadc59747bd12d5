"""Root folders with a Debian release of their own, for servers whose packages exclude each other.

Each is made once, in the cache, and never written to afterwards: a server that runs in one has its
data in a folder of its test's.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from typing import TYPE_CHECKING, Final

from tests.cluster.cache import cache_root, locked
from tests.cluster.packages import ensure
from tests.cluster.shell import ToolingError, run, step
from tests.support.poll import wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["Rooted", "free_port", "prepare_root"]

_ENVIRONMENT: Final = ("env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8")

# Runs $1/start, with what is beside it, in the root folder $2 and with all data in memory: what is
# tested is not the disk. What is mounted here is gone with the
# namespace. The shell stays its first process: a server that changes its user makes the kernel
# forget that it is to end with its parent.
_ENTER: Final = """
set -e
mount -t tmpfs tmpfs "$2/run"
cp -a "$1/." "$2/run"
mount -t proc proc "$2/proc"
chroot "$2" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 /bin/sh /run/start
exit 0
"""


def prepare_root(server: str, release: str, packages: Sequence[str]) -> Path:
    """Return a server's root folder; it is made if it is not there yet.

    Raises
    ------
    ToolingError
        This is not root, or a package cannot be had; the message says which.
    """
    root = cache_root() / "servers" / f"{server}-{release}"
    if root.is_dir():
        return root
    ensure("debootstrap")
    with locked(server):
        if root.is_dir():
            return root
        # Complete once it has its final name; what an interrupted attempt left is thrown away.
        unfinished = root.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        root.parent.mkdir(parents=True, exist_ok=True)
        with step(f"a root folder with Debian {release} for {server.title()}"):
            run(["debootstrap", "--variant=minbase", release, unfinished, _mirror()])
        with step(f"installing in it: {' '.join(packages)}"):
            policy = unfinished / "usr/sbin/policy-rc.d"
            policy.write_text("#!/bin/sh\nexit 101\n", encoding="ascii")
            policy.chmod(0o755)
            install = ["apt-get", "install", "--yes", "--no-install-recommends", *packages]
            quiet = "DEBIAN_FRONTEND=noninteractive"
            run(["chroot", unfinished, *_ENVIRONMENT, quiet, *install])
        unfinished.rename(root)
    return root


class Rooted:
    """A server that runs in a root folder, in namespaces of its own.

    Nothing that it mounts is seen outside, and all its processes end with the test's process,
    however that ends.
    """

    def __init__(self, name: str, directory: Path, *, host: str) -> None:
        self.name = name
        self.directory = directory
        self.host = host
        self.port = free_port(host)
        self._process: subprocess.Popen[bytes] | None = None

    def enter(self, root: Path, inside: Path) -> None:
        """Run ``start`` of a folder, which is /run there, and wait until the port answers."""
        unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child=KILL"]
        with (self.directory / "output").open("wb") as output:
            self._process = subprocess.Popen(
                # Whoever kills the tests with SIGKILL ends all of it as well.
                ["setpriv", "--pdeathsig", "KILL", *unshare, "sh", "-c", _ENTER, self.name,
                 inside, root],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
        wait_until(self._answers, 30, what=f"{self.name} on port {self.port}")

    def stop(self) -> None:
        """End it; its namespaces, with all mounts and processes in them, end with it."""
        process = self._process
        if process is not None:
            self._process = None
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _answers(self) -> bool:
        process = self._process
        if process is None or process.poll() is not None:
            said = (self.directory / "output").read_text(errors="replace")
            raise RuntimeError(f"{self.name} did not start: {said}")
        try:
            with socket.create_connection((self.host, self.port), timeout=5):
                return True
        except OSError:
            return False


def free_port(host: str) -> int:
    """Return a port of an address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def _mirror() -> str:
    """Return where this machine's apt has Debian's own packages from."""
    fields = "$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(REPO_URI)"
    found = run(["apt-get", "indextargets", "--format", fields, "Created-By: Packages"]).stdout
    for line in found.splitlines():
        origin, label, component, uri = line.split("|", 3)
        if (origin, label, component) == ("Debian", "Debian", "main"):
            return uri
    raise ToolingError("apt has no source of Debian's main packages: add one, then apt-get update")

"""Root folders with a Debian release of their own, for servers whose packages exclude each other.

Each is made once, in the cache, and never written to afterwards: a server that runs in one has its
data in a folder of its test's.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Final

from tests.cluster.cache import cache_root, locked
from tests.cluster.packages import ensure
from tests.cluster.shell import ToolingError, run, step

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["ENTER", "prepare_root"]

_ENVIRONMENT: Final = ("env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8")

# Runs /run/start of the folder $1 in the root folder $2. What is mounted here is gone with the
# namespace. The shell stays its first process: a server that changes its user makes the kernel
# forget that it is to end with its parent.
ENTER: Final = """
set -e
mount --bind "$1" "$2/run"
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


def _mirror() -> str:
    """Return where this machine's apt has Debian's own packages from."""
    fields = "$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(REPO_URI)"
    found = run(["apt-get", "indextargets", "--format", fields, "Created-By: Packages"]).stdout
    for line in found.splitlines():
        origin, label, component, uri = line.split("|", 3)
        if (origin, label, component) == ("Debian", "Debian", "main"):
            return uri
    raise ToolingError("apt has no source of Debian's main packages: add one, then apt-get update")

"""The control group that all pods of the local cluster are in, on version 1, 2 and hybrid."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.layout import CGROUP
from tests.cluster.processes import wait_until
from tests.cluster.shell import ToolingError

__all__ = ["Hierarchy", "hierarchies", "kill_members", "make_groups", "remove_groups"]

_CONTROLLERS = ("cpuset", "cpu", "io", "memory", "hugetlb", "pids")


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """One mounted tree of control groups.

    Attributes
    ----------
    mount
        Where its root is.
    unified
        Whether it is version 2.
    """

    mount: Path
    unified: bool

    @property
    def group(self) -> Path:
        """The cluster's own group in this tree."""
        return self.mount / CGROUP


def hierarchies(mounts: str) -> list[Hierarchy]:
    """Read the mounted trees from the text of ``/proc/self/mounts``."""
    found = []
    for line in mounts.splitlines():
        _, mount, kind, *_ = line.split()
        if kind in {"cgroup", "cgroup2"}:
            found.append(Hierarchy(Path(mount), kind == "cgroup2"))
    return found


def make_groups() -> None:
    """Make the cluster's group in every tree, with all controllers usable below it."""
    trees = _mounted()
    if not trees:
        raise ToolingError("no control groups are mounted (/sys/fs/cgroup); pods need them")
    for tree in trees:
        tree.group.mkdir(exist_ok=True)
    if len(trees) == 1 and trees[0].unified:
        _delegate(trees[0])


def kill_members() -> None:
    """Kill every process of every pod and wait until none is left."""

    def gone() -> bool:
        members = _members()
        for pid in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not members

    if not wait_until(gone, timeout=20):
        raise ToolingError(f"processes of pods do not end: {sorted(_members())}")


def remove_groups() -> None:
    """Remove the cluster's group and all below it; they hold no process any more."""
    for tree in _mounted():
        for folder, _, _ in os.walk(tree.group, topdown=False):
            # A group whose last process has just ended is busy for a moment.
            wait_until(functools.partial(_removed, Path(folder)), timeout=5)


def _removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno == errno.EBUSY:
            return False
        raise
    return True


def _mounted() -> Sequence[Hierarchy]:
    return hierarchies(Path("/proc/self/mounts").read_text(encoding="utf-8"))


def _members() -> set[int]:
    pids: set[int] = set()
    for tree in _mounted():
        for folder, _, _ in os.walk(tree.group):
            with contextlib.suppress(OSError):
                words = (Path(folder) / "cgroup.procs").read_text(encoding="ascii").split()
                pids.update(int(word) for word in words if word != "0")
    return pids


def _delegate(tree: Hierarchy) -> None:
    """Let groups below the root and below ours use the controllers that there are.

    Inside a container the root of the namespace is no real root: a group that holds processes
    cannot pass controllers on (cgroups(7), "no internal processes"), so they move into a leaf.
    """
    available = (tree.mount / "cgroup.controllers").read_text(encoding="ascii").split()
    wanted = " ".join(f"+{name}" for name in _CONTROLLERS if name in available)
    try:
        (tree.mount / "cgroup.subtree_control").write_text(wanted, encoding="ascii")
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        leaf = tree.mount / "mailsync-init"
        leaf.mkdir(exist_ok=True)
        for pid in (tree.mount / "cgroup.procs").read_text(encoding="ascii").split():
            with contextlib.suppress(OSError):  # kernel threads do not move
                (leaf / "cgroup.procs").write_text(pid, encoding="ascii")
        (tree.mount / "cgroup.subtree_control").write_text(wanted, encoding="ascii")
    (tree.group / "cgroup.subtree_control").write_text(wanted, encoding="ascii")

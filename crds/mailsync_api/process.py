"""What every process of ours does before it holds anything secret."""

from __future__ import annotations

import ctypes
import resource
import sys
from typing import Final

__all__ = ["keep_memory_private"]

_PR_SET_DUMPABLE: Final = 4


def keep_memory_private() -> None:
    """Let nobody without privileges have this process's memory: no core file, no look inside.

    Notes
    -----
    The resource limit alone is not enough: a kernel that pipes core dumps into a program, as
    systemd-coredump has it, does not go by it (core(5)). A process that is not dumpable writes none
    at all; and another one of the same user, say in a debugging container that shares its process
    namespace, can neither trace it nor read its ``environ``, ``mem``, ``fd`` and ``root`` in /proc
    (proc(5), ptrace(2)). Root of the node can. It is inherited by threads and forks, not by
    programs that are executed.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        # Refused, it changes nothing for the worse; the limit above holds.
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)

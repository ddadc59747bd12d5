"""Long-running processes that outlive the program which started them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.shell import ToolingError

__all__ = ["Daemon", "alive", "parse_start_ticks", "start", "stop", "stop_all", "wait_until"]


@dataclass(frozen=True, slots=True)
class Daemon:
    """One started process.

    Attributes
    ----------
    start_ticks
        When it started, in clock ticks since boot: together with the pid and the boot id this
        names a process for good, so that another one with a recycled pid is never stopped.
    boot_id
        The boot of the machine that the ticks count from.
    """

    name: str
    pid: int
    start_ticks: int
    boot_id: str


def start(
    name: str,
    arguments: Sequence[str],
    *,
    log: Path,
    environment: Mapping[str, str],
) -> Daemon:
    """Start a process in a session of its own, its output appended to a log file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            list(arguments),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            cwd="/",
            start_new_session=True,
        )
    # The process is meant to outlive this one, so its end is nothing to warn about.
    process.returncode = 0
    ticks = _start_ticks(process.pid)
    if ticks is None:
        raise ToolingError(f"{name} ended at once; see {log}")
    return Daemon(name=name, pid=process.pid, start_ticks=ticks, boot_id=_boot_id())


def alive(daemon: Daemon) -> bool:
    """Whether this very process still runs."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(daemon.pid, os.WNOHANG)  # a child that ended is a zombie until it is waited for
    return daemon.boot_id == _boot_id() and _start_ticks(daemon.pid) == daemon.start_ticks


def stop(daemon: Daemon, *, grace: float = 10.0) -> None:
    """Ask the process to end, insist after ``grace`` seconds; nothing happens if it is gone."""
    for number, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, 10.0)):
        if not alive(daemon):
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(daemon.pid, number)
        if wait_until(lambda: not alive(daemon), timeout=patience):
            return
    raise ToolingError(f"{daemon.name} (process {daemon.pid}) does not end, not even by SIGKILL")


def stop_all(daemons: Sequence[Daemon], *, grace: float = 10.0) -> None:
    """Stop several at the same time."""
    for daemon in daemons:
        if alive(daemon):
            with contextlib.suppress(ProcessLookupError):
                os.kill(daemon.pid, signal.SIGTERM)
    for daemon in daemons:
        stop(daemon, grace=grace)


def wait_until(condition: Callable[[], bool], *, timeout: float, interval: float = 0.05) -> bool:
    """Poll a condition; False when it did not come true within ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(interval)
    return True


def parse_start_ticks(stat: str) -> int | None:
    """Read the start time from the text of ``/proc/PID/stat``; None for a dead process.

    The second field is the program's name in parentheses, and a name may hold both spaces and
    parentheses: fields are counted from the last one (proc(5): state is 3, starttime is 22).
    """
    fields = stat.rpartition(")")[2].split()
    if not fields or fields[0] in {"Z", "X"}:
        return None
    return int(fields[19])


def _start_ticks(pid: int) -> int | None:
    try:
        return parse_start_ticks(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8"))
    except (FileNotFoundError, ProcessLookupError):
        return None


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()

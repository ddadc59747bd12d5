"""How much memory a process has had at most."""

from __future__ import annotations

import re
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PeakMemory", "watched_memory"]

_INTERVAL_SECONDS = 0.01


class PeakMemory:
    """The most memory a process has had, for as long as it could be asked.

    What the kernel tells of an ended child counts the parent's memory from before the child became
    another program.
    """

    mib = 0.0

    def look(self, pid: int) -> bool:
        """Look once more; false when the process has ended."""
        try:
            text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
        except OSError:
            return False
        if found := re.search(r"VmHWM:\s+(\d+) kB", text):
            self.mib = int(found[1]) / 1024
        return found is not None


@contextmanager
def watched_memory(pid: int) -> Iterator[PeakMemory]:
    """Look at a process again and again for as long as the block lasts."""
    peak, over = PeakMemory(), threading.Event()

    def watch() -> None:
        while peak.look(pid) and not over.wait(_INTERVAL_SECONDS):
            pass

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        over.set()
        thread.join()

"""Profiles of the engine: what keeps its interpreter busy, by function and by thread.

Only samples in which a thread has the interpreter's lock count. Waiting does not, nor what is done
without the lock, which is mostly the kernel's part in sending and receiving.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

__all__ = ["RATE", "Profile", "recorder"]

RATE: Final = 500
"""Samples a second."""
_FRAME: Final = re.compile(r"(?P<function>.+) \((?P<file>[^()]*?)(?::\d+)?\)")


def recorder(path: Path) -> list[str]:
    """Return the words that, before a command, write its collapsed stacks to this file.

    Notes
    -----
    py-spy looks from outside, so the engine is the same as ever; cProfile's hooks cost more in the
    short functions than these do, and show one thread only.
    """
    program = str(Path(sys.executable).parent / "py-spy")
    words = [program, "record", "--format", "raw", "--gil", "--threads", "--rate", str(RATE)]
    return [*words, "--output", str(path), "--"]


@dataclass(frozen=True, slots=True)
class Profile:
    """Samples of threads at work.

    Attributes
    ----------
    own
        Where they were, by function.
    under
        What they were in, by function, once each; a function's callers count too.
    threads
        By thread.
    """

    own: Counter[str] = field(default_factory=Counter)
    under: Counter[str] = field(default_factory=Counter)
    threads: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, lines: Iterable[str]) -> Profile:
        """Read collapsed stacks: frames from the outermost, a space, the number of samples."""
        profile = cls()
        for line in lines:
            stack, _, count = line.strip().rpartition(" ")
            thread, *frames = stack.split(";")
            if not frames or not count.isdigit():
                continue
            named = [_function(frame) for frame in frames]
            profile.threads[_thread(thread)] += int(count)
            profile.own[named[-1]] += int(count)
            profile.under.update(dict.fromkeys(named, int(count)))
        return profile

    def table(self, *, most: int = 12) -> str:
        """Return Markdown: the functions that were under way the most."""
        rows = [
            f"| `{name}` | {count / RATE:.2f} | {self.under[name] / RATE:.2f} |"
            for name, count in self.own.most_common(most)
        ]
        threads = ", ".join(f"{name} {n / RATE:.2f} s" for name, n in self.threads.most_common())
        return "\n".join(
            [f"Threads: {threads}", "", "| function | itself, s | with callees, s |",
             "|---|---|---|", *rows]
        )  # fmt: skip


def _function(frame: str) -> str:
    """Return ``module.function`` of a frame, without the number of its line."""
    found = _FRAME.fullmatch(frame)
    if found is None:
        return frame
    path = found["file"].removesuffix(".py").split("/")
    return ".".join([*path[-2:], found["function"]])


def _thread(name: str) -> str:
    """Return a thread's name; Python's start has none yet."""
    return name.partition(": ")[2] or "start"

"""What the demo shows: numbered steps with their times, commands with their output, progress."""

from __future__ import annotations

import contextlib
import shlex
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.cluster.shell import elapsed, say
from tests.support.kube import condition, reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.kube import Kube, KubeObject

__all__ = ["ProgressLines", "Screen", "progress_line"]


@dataclass(slots=True)
class Screen:
    """The terminal; all lines go one way, so that a log of the demo reads as it ran."""

    steps: int
    _step: int = 0
    _start: float = field(default_factory=time.monotonic)

    @contextlib.contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Head a step, and say at its end how long it took."""
        self._step += 1
        say(f"\n━━ {self._step}/{self.steps}  {title}")
        start = time.monotonic()
        yield
        say(f"   {elapsed(time.monotonic() - start)}")

    def text(self, text: str) -> None:
        """Show lines, indented."""
        for line in text.rstrip().splitlines():
            say(f"   {line}".rstrip())

    def kubectl(self, kube: Kube, *arguments: str) -> None:
        """Show a kubectl command as the user would type it, and what it says."""
        say(f"   $ kubectl -n {kube.namespace} {shlex.join(arguments)}")
        self.text(kube.run(*arguments))
        say("")

    def total(self) -> str:
        """How long the demo has taken so far."""
        return elapsed(time.monotonic() - self._start)


class ProgressLines:
    """Prints a line for a MailSync whenever what it says has changed."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._last = ""

    def __call__(self, mailsync: KubeObject) -> None:
        """Look at one state."""
        line = progress_line(mailsync)
        if line != self._last:
            self._last = line
            say(f"   {time.monotonic() - self._start:5.1f} s  {line}")


def progress_line(mailsync: KubeObject) -> str:
    """Render a MailSync's state in one line."""
    line = reason(mailsync) or "(not seen by the operator yet)"
    if progress := mailsync.get("status", {}).get("progress"):
        messages, size = progress["messages"], progress["bytes"]
        line = (
            f"{line:<12} {progress['percent']:3} %  {messages['completed']:4} of"
            f" {messages['total']} messages  {size['completed'] / 1e6:.1f} of"
            f" {size['total'] / 1e6:.1f} MB  {progress['copiedMessages']} copied"
        )
    stalled = condition(mailsync, "Stalled")
    return f"{line}  {stalled['message']}" if stalled.get("status") == "True" else line

"""Time: deadlines, how long the engine is patient, and the wish to stop.

A socket time-out counts from one byte to the next, so a server that drips bytes holds a client for
ever. Every command therefore has an overall deadline.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mailsync_syncjob.errors import InterruptedRunError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["SILENCE_SECONDS", "Clock", "Deadline", "Patience", "Stop"]

SILENCE_SECONDS: Final = 600.0
_GRACE_SECONDS: Final = 20.0
_NAP_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class Patience:
    """How long things may take, in seconds."""

    connect: float = 30.0
    """TCP connection to one address, and the TLS handshake."""
    greeting: float = 60.0
    """From the connection to being logged in; some servers delay their greeting on purpose."""
    command: float = 180.0
    """One command with a short answer; SELECT of a huge folder is one."""
    window: float = 600.0
    """One window of message metadata."""
    silence: float = SILENCE_SECONDS
    """How long not one byte may come or go while a server is waited for, whatever it is at."""
    slowest_bytes_per_second: int = 1024
    """A message's body may take ``command`` seconds and its size divided by this."""

    def transfer(self, size: int) -> float:
        """Return the seconds that a message of this size may take."""
        return self.command + size / self.slowest_bytes_per_second


class Clock:
    """Real time. Tests have their own."""

    def monotonic(self) -> float:
        """Return seconds that never go backwards."""
        return time.monotonic()

    def time(self) -> float:
        """Return seconds since 1970."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


class Stop:
    """The wish to stop: set by a signal, looked at between messages and while waiting.

    Waiting for a server ends at once, except for messages that are being stored: they may be
    finished within a grace period. Safe to use from several threads.

    Parameters
    ----------
    parent
        Whose wish is this one's, too; not the other way round.

    Attributes
    ----------
    clock
        What it goes by.
    """

    def __init__(
        self, clock: Clock, *, grace_seconds: float = _GRACE_SECONDS, parent: Stop | None = None
    ) -> None:
        self.clock = clock
        self._grace = grace_seconds
        self._parent = parent
        self._requested_at: float | None = None
        self._storing = 0
        self._lock = threading.Lock()

    def child(self) -> Stop:
        """Return a wish to stop for a part of the work."""
        return Stop(self.clock, grace_seconds=self._grace, parent=self)

    @contextmanager
    def storing(self) -> Iterator[None]:
        """Mark that messages are being stored."""
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    def _count(self, step: int) -> None:
        with self._lock:
            self._storing += step
        if self._parent is not None:
            self._parent._count(step)  # noqa: SLF001  its own kind

    def request(self) -> None:
        """Ask for the work to stop; safe to call from a signal handler and more than once."""
        if self._requested_at is None:
            self._requested_at = self.clock.monotonic()

    @property
    def requested(self) -> bool:
        """Whether the work shall stop at the next message's end."""
        own = self._requested_at is not None
        return own or (self._parent is not None and self._parent.requested)

    def check(self) -> None:
        """Raise ``InterruptedRunError`` when the work shall stop."""
        if self.requested:
            raise InterruptedRunError("stopped by SIGTERM")

    def check_waiting(self) -> None:
        """Raise ``InterruptedRunError`` when a server must not be waited for any longer."""
        if self._parent is not None:
            self._parent.check_waiting()
        requested = self._requested_at
        if requested is None:
            return
        if not self._storing or self.clock.monotonic() - requested > self._grace:
            raise InterruptedRunError("stopped by SIGTERM while waiting for a server")

    def pause(self, seconds: float) -> None:
        """Wait, but not longer than until the run shall stop.

        Raises
        ------
        InterruptedRunError
            The run shall stop.
        """
        end = self.clock.monotonic() + seconds
        while (left := end - self.clock.monotonic()) > 0:
            self.check()
            self.clock.sleep(min(left, _NAP_SECONDS))
        self.check()


class Deadline:
    """A point in time that an operation must not pass."""

    def __init__(self, seconds: float, *, now: Callable[[], float]) -> None:
        self._now = now
        self._end = now() + seconds
        self.seconds = seconds

    def left(self) -> float:
        """Return the seconds left, 0 or less when it is over."""
        return self._end - self._now()

    def extend_to(self, seconds: float) -> None:
        """Move the deadline to at least this many seconds from now."""
        self._end = max(self._end, self._now() + seconds)

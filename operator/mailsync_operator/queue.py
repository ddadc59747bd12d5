"""One work queue: each key at most once in it, never two workers on the same key.

A key that fails comes back after a growing delay; one that asks to be looked at later comes back
then. Time and sleep are the event loop's, so tests run it on a clock of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import logging
from collections.abc import Awaitable, Callable, Hashable
from typing import Final, Generic, Protocol, TypeVar

from mailsync_operator.errors import ConflictError, ThrottledError

__all__ = ["QueueMeter", "WorkQueue"]

K = TypeVar("K", bound=Hashable)

FIRST_DELAY: Final = 0.5
LAST_DELAY: Final = 300.0
CONFLICT_DELAY: Final = 0.2
"""After a conflict, in seconds: the watch brings the newer object in a moment."""

_TICK: Final = 0.001
"""Timers are exact to a millisecond; sums of floating-point times are not exact at all."""

_log = logging.getLogger(__name__)


class QueueMeter(Protocol):
    """Counts what the queue does."""

    def reconciled(self, result: str, seconds: float) -> None:
        """Count one look at a key: ``success``, ``requeue`` or ``error``."""


class WorkQueue(Generic[K]):
    """Keys to look at, and the workers that do.

    ``handler`` returns after how many seconds the key is to be looked at again, None for never; it
    may raise anything.
    """

    def __init__(
        self,
        handler: Callable[[K], Awaitable[float | None]],
        *,
        workers: int,
        meter: QueueMeter,
    ) -> None:
        self._handler = handler
        self._count = workers
        self._meter = meter
        self._ready: dict[K, None] = {}  # ordered, each key once
        self._busy: dict[K, float] = {}  # key: since when, by the loop's clock
        self._dirty: set[K] = set()  # to be looked at again after the present look
        self._due: dict[K, float] = {}  # the next time of each delayed key
        self._heap: list[tuple[float, int, K]] = []
        self._serial = itertools.count()
        self._failures: dict[K, int] = {}
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._timer_changed = asyncio.Event()

    # --- for those who bring work ---

    def add(self, key: K) -> None:
        """Have a key looked at as soon as possible."""
        if key in self._busy:
            self._dirty.add(key)
            return
        self._due.pop(key, None)
        self._ready[key] = None
        self._wake.set()

    def add_after(self, key: K, seconds: float) -> None:
        """Have a key looked at after a delay, unless it is looked at before."""
        if seconds <= 0:
            self.add(key)
            return
        when = asyncio.get_running_loop().time() + seconds
        known = self._due.get(key)
        if known is not None and known <= when:
            return
        self._due[key] = when
        heapq.heappush(self._heap, (when, next(self._serial), key))
        self._timer_changed.set()

    def forget(self, key: K) -> None:
        """Drop what is known of a key that is gone."""
        self._due.pop(key, None)
        self._failures.pop(key, None)

    # --- state, for metrics and probes ---

    @property
    def depth(self) -> int:
        """How many keys wait for a worker."""
        return len(self._ready)

    @property
    def delayed(self) -> int:
        """How many keys come back later."""
        return len(self._due)

    def stuck(self, seconds: float) -> list[K]:
        """Return the keys that a worker has been on for longer than so many seconds."""
        limit = asyncio.get_running_loop().time() - seconds
        return [key for key, since in self._busy.items() if since < limit]

    @property
    def alive(self) -> bool:
        """Whether all workers and the timer run."""
        return bool(self._tasks) and not any(task.done() for task in self._tasks)

    # --- life ---

    def start(self) -> None:
        """Start the workers."""
        self._tasks = [asyncio.create_task(self._timer(), name="queue timer")]
        for number in range(self._count):
            self._tasks.append(asyncio.create_task(self._work(), name=f"worker {number}"))

    async def stop(self, *, grace: float = 5.0) -> None:
        """Let the workers finish what they are at, for so many seconds, and stop them."""
        deadline = asyncio.get_running_loop().time() + grace
        self._ready.clear()
        while self._busy and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110  bounded
            await asyncio.sleep(0.05)
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _timer(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            while self._heap and self._heap[0][0] <= loop.time() + _TICK:
                when, _, key = heapq.heappop(self._heap)
                if self._due.get(key) == when:  # else it was looked at, or put off, since
                    del self._due[key]
                    self.add(key)
            self._timer_changed.clear()
            pause = self._heap[0][0] - loop.time() if self._heap else None
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._timer_changed.wait(), pause)

    async def _work(self) -> None:
        while True:
            while not self._ready:
                self._wake.clear()
                await self._wake.wait()
            key = next(iter(self._ready))
            del self._ready[key]
            await self._look_at(key)

    async def _look_at(self, key: K) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        self._busy[key] = began
        again: float | None = None
        result = "error"
        try:
            again = await self._handler(key)
            self._failures.pop(key, None)
            result = "success" if again is None else "requeue"
        except Exception as error:  # noqa: BLE001  one object must not stop the others
            again = self._after(key, error)
        finally:
            del self._busy[key]
            self._meter.reconciled(result, loop.time() - began)
        if key in self._dirty:
            self._dirty.discard(key)
            # A failing key keeps its delay, or a busy object would be retried without a pause.
            if result != "error":
                self.add(key)
                return
        if again is not None:
            self.add_after(key, again)

    def _after(self, key: K, error: Exception) -> float:
        if isinstance(error, ConflictError):
            _log.debug("%s: %s", key, error)
            return CONFLICT_DELAY
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        delay = min(FIRST_DELAY * 2.0 ** min(failures - 1, 20), LAST_DELAY)
        if isinstance(error, ThrottledError):
            delay = max(delay, error.retry_after)
        _log.warning(
            "reconciling %s failed, trying again in %.1f s: %s: %s",
            key,
            delay,
            type(error).__name__,
            error,
            exc_info=failures == 1,
        )
        return delay

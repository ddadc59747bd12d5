"""The way of bodies from the thread that reads them to the one that stores them, bounded in bytes.

One connection belongs to one thread. The only exception is a message too large to be held: it stays
on its connection, which is lent to the storing thread until the message is dealt with.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

from mailsync_syncjob.batching import MOST_MESSAGES, fetch_batches
from mailsync_syncjob.errors import CommandRefusedError
from mailsync_syncjob.pace import Pacer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType

    from mailsync_syncjob.compare import Item
    from mailsync_syncjob.deadline import Stop
    from mailsync_syncjob.imap.fetch import Body
    from mailsync_syncjob.imap.session import Session

__all__ = ["BUFFER_BYTES", "Conveyor", "Parcel", "Reading"]

BUFFER_BYTES: Final = 16 << 20
"""What is held at most between the two sides, with what is being stored."""
_OVERHEAD_BYTES: Final = 512
"""What a held message costs beyond its bytes; without it, millions of tiny ones would fit."""
_IN_STORE: Final = MOST_MESSAGES
"""With no more than so many messages waiting to be stored, the next share is asked for."""
_LOOK_UP_SECONDS: Final = 0.2


class _AbandonedError(Exception):
    """Nobody stores any more."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """A message on its way."""

    item: Item
    body: Body

    @property
    def held(self) -> bool:
        """Whether its bytes are in memory."""
        return self.body.data is not None


@dataclass(slots=True)
class _State:
    """What both threads see; only under the lock."""

    parcels: deque[Parcel] = field(default_factory=deque)
    held: int = 0
    unclaimed: int = 0
    """What is reserved for a body that is being read."""
    waiting: bool = False
    """Whether the reading thread waits for room."""
    resting: bool = False
    """Whether it waits for the others to have stored what was read."""
    lent: bool = False
    ended: bool = False
    abandoned: bool = False
    error: BaseException | None = None


class Conveyor:
    """A queue of bodies with room for so many bytes."""

    def __init__(self, *, stop: Stop, limit: int = BUFFER_BYTES) -> None:
        self._stop = stop
        self._limit = limit
        self._state = _State()
        self._changed = threading.Condition()

    # --- the reading thread

    def reserve(self, size: int) -> None:
        """Wait until there is room for a body of this size; one alone always has room."""
        with self._changed:
            state = self._state
            # A body that was read and not sent on: nobody had asked for it.
            state.held -= state.unclaimed
            state.unclaimed = 0
            cost = size + _OVERHEAD_BYTES
            state.waiting = True
            self._changed.notify_all()
            self._wait_for(lambda: not state.held or state.held + cost <= self._limit)
            state.waiting = False
            state.held += cost
            state.unclaimed = cost

    def await_demand(self) -> None:
        """Wait until few messages are left to be stored.

        Small ones would all find room, and none be left to those who would store them sooner.
        """
        with self._changed:
            self._state.resting = True
            self._wait_for(lambda: len(self._state.parcels) <= _IN_STORE)
            self._state.resting = False

    def pause(self, seconds: float) -> None:
        """Wait so long, but not longer than anybody stores and the run goes on.

        Raises
        ------
        InterruptedRunError
            The run shall stop.
        """
        clock = self._stop.clock
        end = clock.monotonic() + seconds
        while (left := end - clock.monotonic()) > 0:
            with self._changed:
                if self._state.abandoned:
                    raise _AbandonedError
            self._stop.check()
            clock.sleep(min(left, _LOOK_UP_SECONDS))

    def put(self, parcel: Parcel) -> None:
        """Send a message on; one that is not held is waited for until it is dealt with."""
        with self._changed:
            state = self._state
            if state.abandoned:
                raise _AbandonedError
            state.held += _cost(parcel) - state.unclaimed
            state.unclaimed = 0
            state.parcels.append(parcel)
            state.lent = not parcel.held
            self._changed.notify_all()
            self._wait_for(lambda: not state.lent)

    def end(self, error: BaseException | None) -> None:
        """Say that nothing more will come, and why if it is not all."""
        with self._changed:
            self._state.ended = True
            self._state.error = error
            self._changed.notify_all()

    def _wait_for(self, condition: Callable[[], bool]) -> None:
        self._changed.wait_for(lambda: self._state.abandoned or condition())
        if self._state.abandoned:
            raise _AbandonedError

    # --- the storing thread

    def take(self, *, linger: float | None = None) -> Parcel | None:
        """Return the next message; None when there is none.

        Parameters
        ----------
        linger
            Return None also when none comes within so many seconds, when none can come before
            something is released, when the run shall stop, and instead of raising.

        Raises
        ------
        EngineError
            What the reading ended with.
        InterruptedRunError
            The run shall stop.
        """
        with self._changed:
            state = self._state
            left = linger
            while not state.parcels:
                if state.ended or (linger is not None and state.waiting):
                    break
                if self._stop.requested or (left is not None and left <= 0):
                    break
                pause = _LOOK_UP_SECONDS if left is None else min(left, _LOOK_UP_SECONDS)
                self._changed.wait(pause)
                left = None if left is None else left - pause
            if state.parcels:
                if state.resting and len(state.parcels) <= _IN_STORE + 1:
                    self._changed.notify_all()
                return state.parcels.popleft()
            if linger is None:
                if state.error is not None:
                    raise state.error
                self._stop.check()
            return None

    def release(self, *parcels: Parcel) -> None:
        """Give back the room of messages that are dealt with."""
        with self._changed:
            for parcel in parcels:
                self._state.held -= _cost(parcel)
                if not parcel.held:
                    self._state.lent = False
            self._changed.notify_all()

    def abandon(self) -> None:
        """Let the reading thread end."""
        with self._changed:
            self._state.abandoned = True
            self._changed.notify_all()


class Reading:
    """Reads messages of the selected folder in a thread of its own, for as long as the block lasts.

    Attributes
    ----------
    left
        What the source refused in company, or did not send; complete after the block.
    """

    def __init__(
        self,
        source: Session,
        shares: Iterable[Sequence[Item]],
        *,
        stop: Stop,
        pacer: Pacer | None = None,
        limit: int = BUFFER_BYTES,
    ) -> None:
        self._source = source
        self._shares = shares
        self._pacer = pacer or Pacer(clock=stop.clock)
        self._thread = threading.Thread(target=self._run, name="reading", daemon=True)
        self.conveyor = Conveyor(stop=stop, limit=limit)
        self.left: list[Item] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            # Amid an answer the connection is of no use: whoever is told of the error drops it.
            self.conveyor.abandon()
            self._source.give_up()
        self._thread.join()

    def _run(self) -> None:
        try:
            for share in self._shares:
                self._read_share(share)
                self.conveyor.await_demand()
        except BaseException as error:  # noqa: BLE001  raised again where the messages are taken
            self.conveyor.end(error)
        else:
            self.conveyor.end(None)

    def _read_share(self, share: Sequence[Item]) -> None:
        most, size = self._pacer.most_messages, self._pacer.most_bytes
        for batch in fetch_batches(share, messages=most, size=size):
            for part in self._pacer.parts(batch):
                self._await_turn(part)
                self._read(part)

    def _await_turn(self, batch: Sequence[Item]) -> None:
        """Wait before asking: amid an answer the server would wait, and hang up some time."""
        size = sum(item.size for item in batch)
        self.conveyor.pause(self._pacer.admit(messages=len(batch), size=size))

    def _read(self, batch: Sequence[Item]) -> None:
        left = {item.uid: item for item in batch}
        bodies = self._source.reader.bodies(list(left), reserve=self.conveyor.reserve)
        try:
            for body in bodies:
                item = left[body.uid]
                if body.size == 0 < item.size:
                    continue  # a glitch of some servers; alone they send it
                del left[body.uid]
                self.conveyor.put(Parcel(item, body))
        except CommandRefusedError:
            pass  # what it has not sent is asked for alone
        self.left += left.values()


def _cost(parcel: Parcel) -> int:
    return parcel.body.size + _OVERHEAD_BYTES if parcel.held else 0

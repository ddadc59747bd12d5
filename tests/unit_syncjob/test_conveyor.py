"""The buffer between the sides: bounded, and neither side waits for ever."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from mailsync_syncjob.compare import Item
from mailsync_syncjob.conveyor import Conveyor, Parcel
from mailsync_syncjob.deadline import Clock, Stop
from mailsync_syncjob.errors import ConnectionLostError, InterruptedRunError
from mailsync_syncjob.identity import Identity
from mailsync_syncjob.imap.fetch import Body
from tests.support.poll import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

_NOBODY = Identity(None, None, None)
_KIB = 1024


def _parcel(uid: int, size: int, *, held: bool = True) -> Parcel:
    body = Body(uid, size, b"x" * size if held else None)
    return Parcel(Item(uid, size, None, (), _NOBODY), body)


def _conveyor(*, limit: int = 10 * _KIB, stop: Stop | None = None) -> Conveyor:
    return Conveyor(stop=stop or Stop(Clock()), limit=limit)


def _beside(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def _send(conveyor: Conveyor, *parcels: Parcel) -> threading.Thread:
    def work() -> None:
        for parcel in parcels:
            if parcel.held:
                conveyor.reserve(parcel.body.size)
            conveyor.put(parcel)
        conveyor.end(None)

    return _beside(work)


def _uid(parcel: Parcel | None) -> int | None:
    return None if parcel is None else parcel.item.uid


def _is_dry(conveyor: Conveyor) -> bool:
    """Whether the buffer says at once that nothing can come, however long one would wait."""
    answers: list[Parcel | None] = []
    thread = _beside(lambda: answers.append(conveyor.take(linger=3600)))
    thread.join(10)
    return answers == [None]


def test_everything_comes_in_order_and_then_nothing() -> None:
    conveyor = _conveyor()
    _send(conveyor, *(_parcel(uid, 100) for uid in (1, 2, 3)))
    assert [_uid(conveyor.take()) for _ in range(5)] == [1, 2, 3, None, None]


def test_what_has_no_room_waits_until_something_is_released() -> None:
    conveyor = _conveyor()
    first, second = _parcel(1, 6 * _KIB), _parcel(2, 6 * _KIB)
    thread = _send(conveyor, first, second)
    taken = conveyor.take()
    assert taken == first
    # Nothing more can come, so whoever collects a batch must store it.
    assert _is_dry(conveyor)
    assert thread.is_alive()
    conveyor.release(first)
    assert conveyor.take() == second
    thread.join(5)


def test_a_message_larger_than_the_room_has_it_for_itself() -> None:
    conveyor = _conveyor()
    small, huge = _parcel(1, 10), _parcel(2, 50 * _KIB)
    _send(conveyor, small, huge)
    assert conveyor.take() == small
    assert _is_dry(conveyor)
    conveyor.release(small)
    assert conveyor.take() == huge


def test_a_message_that_is_not_held_is_waited_for() -> None:
    conveyor = _conveyor()
    lent = _parcel(1, 50 * _KIB, held=False)
    thread = _send(conveyor, lent, _parcel(2, 10))
    assert conveyor.take() == lent
    assert conveyor.take(linger=0) is None
    assert thread.is_alive()
    conveyor.release(lent)
    assert _uid(conveyor.take()) == 2


def test_room_reserved_for_what_nobody_asked_for_is_given_back() -> None:
    conveyor = _conveyor()

    def work() -> None:
        for _ in range(5):
            conveyor.reserve(6 * _KIB)
        conveyor.put(_parcel(1, 6 * _KIB))
        conveyor.end(None)

    _beside(work)
    assert _uid(conveyor.take()) == 1


def test_a_source_that_fails_is_heard_of_after_what_it_sent() -> None:
    conveyor = _conveyor()
    conveyor.put(_parcel(1, 10))
    conveyor.end(ConnectionLostError("gone"))
    assert _uid(conveyor.take()) == 1
    # A batch is finished first.
    assert _is_dry(conveyor)
    with pytest.raises(ConnectionLostError, match="gone"):
        conveyor.take()


def test_a_wish_to_stop_ends_waiting() -> None:
    stop = Stop(Clock())
    conveyor = _conveyor(stop=stop)
    stop.request()
    assert _is_dry(conveyor)
    with pytest.raises(InterruptedRunError):
        conveyor.take()


@pytest.mark.parametrize("held", [True, False])
def test_an_abandoned_reader_ends(held: bool) -> None:  # noqa: FBT001  a parameter of the table
    conveyor = _conveyor(limit=1)
    ended: list[BaseException] = []

    def work() -> None:
        try:
            conveyor.put(_parcel(1, 10, held=held))
            conveyor.reserve(10)
        except Exception as error:  # noqa: BLE001  which it is does not matter
            ended.append(error)

    thread = _beside(work)
    wait_until(lambda: conveyor.take(linger=0), 5)
    conveyor.abandon()
    thread.join(5)
    assert len(ended) == 1

"""Token buckets and the day's allowance: never more than the limit, fair, and right about waits."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from mailsync_api.conditions import Reason
from mailsync_api.exitcodes import ExitCode
from mailsync_api.limits import Bound, DailyAllowance, Pace
from mailsync_syncjob.deadline import Clock
from mailsync_syncjob.errors import ThrottledError
from mailsync_syncjob.identity import Identity
from mailsync_syncjob.listing import Item
from mailsync_syncjob.pace import Pacer, TokenBucket

_NOBODY = Identity(None, None, None)
_ROUNDING = 1e-6


class _StillClock(Clock):
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    @override
    def monotonic(self) -> float:
        return self.now


def _bound(value: int, origin: str = "a test") -> Bound:
    return Bound(value=value, origin=origin)


def _pacer(pace: Pace) -> tuple[Pacer, _StillClock]:
    clock = _StillClock()
    return Pacer(pace, clock=clock), clock


# --- one bucket


_ASKED = st.lists(st.tuples(st.floats(0, 20), st.integers(0, 500)), min_size=1, max_size=60)


@given(asked=_ASKED, rate=st.integers(1, 50), burst=st.integers(1, 100))
def test_no_span_of_time_holds_more_than_its_share(
    asked: list[tuple[float, int]], rate: int, burst: int
) -> None:
    bucket = TokenBucket(rate, burst, 0.0)
    now, passed = 0.0, list[tuple[float, int]]()
    for pause, size in asked:
        now += pause
        passed.append((now + bucket.take(size, now=now), size))
    for first in range(len(passed)):
        total = 0
        for at, size in passed[first:]:
            # Of the last one only what fits the burst counts: the rest is its debt.
            within = total + min(size, burst)
            total += size
            span = at - passed[first][0]
            assert within <= rate * span + burst + _ROUNDING * (1 + within)


@given(asked=_ASKED, rate=st.integers(1, 50), burst=st.integers(1, 100))
def test_who_asks_first_is_first(asked: list[tuple[float, int]], rate: int, burst: int) -> None:
    bucket = TokenBucket(rate, burst, 0.0)
    now, passed = 0.0, [0.0]
    for pause, size in asked:
        now += pause
        passed.append(now + bucket.take(size, now=now))
    assert all(before <= after + _ROUNDING for before, after in pairwise(passed))


@given(sizes=st.lists(st.integers(1, 300), min_size=1, max_size=50), rate=st.integers(1, 50))
def test_nobody_waits_longer_than_the_rate_asks_for(sizes: list[int], rate: int) -> None:
    bucket = TokenBucket(rate, rate, 0.0)
    waits = [bucket.take(size, now=0.0) for size in sizes]
    assert waits[-1] <= sum(sizes) / rate


def test_a_message_above_the_burst_passes_and_what_follows_pays() -> None:
    bucket = TokenBucket(rate=100, burst=100, at=0.0)
    assert bucket.take(1000, now=0.0) == 0  # the bucket was full
    assert bucket.take(50, now=0.0) == pytest.approx(9.5)
    assert bucket.take(0, now=20.0) == 0


def test_what_was_not_used_is_given_back() -> None:
    bucket = TokenBucket(rate=100, burst=100, at=0.0)
    bucket.take(100, now=0.0)
    bucket.give_back(40, now=0.0)
    assert bucket.take(40, now=0.0) == 0
    bucket.give_back(10_000, now=0.0)
    assert bucket.take(101, now=0.0) == 0
    assert bucket.take(99, now=0.0) == pytest.approx(1.0)


def test_a_clock_that_goes_back_gives_nothing() -> None:
    bucket = TokenBucket(rate=1, burst=1, at=100.0)
    bucket.take(1, now=100.0)
    assert bucket.take(1, now=50.0) == pytest.approx(1.0)
    assert bucket.take(1, now=101.0) == pytest.approx(1.0)


# --- all of a run's connections together


def test_the_slower_of_two_limits_is_waited_for_and_told() -> None:
    pace = Pace(bytes_per_second=_bound(1000), messages_per_second=_bound(2, "a slow server"))
    pacer, _ = _pacer(pace)
    waits = [pacer.admit(messages=1, size=100) for _ in range(6)]
    assert waits == pytest.approx([0, 0, 0.5, 1, 1.5, 2])
    size, messages = pacer.report()
    assert (size.name, size.reached, size.waited_seconds) == ("maxBytesPerSecond", False, 0)
    assert (messages.name, messages.reached, messages.waited_seconds) == (
        "maxMessagesPerSecond",
        True,
        5,
    )
    assert messages.origin == "a slow server"


def test_without_limits_nobody_waits_and_nothing_is_told() -> None:
    pacer, _ = _pacer(Pace())
    assert [pacer.admit(messages=10**6, size=10**12) for _ in range(3)] == [0, 0, 0]
    assert pacer.bytes_read == 3 * 10**12
    assert pacer.report() == []
    assert (pacer.most_bytes, pacer.most_messages, pacer.left_today) == (None, None, None)


def test_several_threads_share_one_rate() -> None:
    pacer, _ = _pacer(Pace(bytes_per_second=_bound(1000)))
    with ThreadPoolExecutor(max_workers=8) as pool:
        waits = list(pool.map(lambda _: pacer.admit(messages=1, size=500), range(40)))
    # Each of the 40 has its own moment, half a second apart, after the burst of two.
    assert sorted(waits) == pytest.approx([0, *(0.5 * n for n in range(39))])
    assert pacer.bytes_read == 20_000


def test_what_came_is_corrected() -> None:
    pacer, _ = _pacer(Pace(bytes_per_second=_bound(1000)))
    pacer.admit(messages=1, size=1000)
    pacer.correct(500)
    assert pacer.bytes_read == 1500
    assert pacer.admit(messages=1, size=1000) == pytest.approx(1.5)
    pacer.correct(-5000)
    assert pacer.bytes_read == 0


# --- the day


def _daily(*, limit: int = 1000, left: int = 1000, renewed: int | None = None) -> Pace:
    limited = _bound(limit, "spec.limits.maxBytesPerDay")
    return Pace(daily=DailyAllowance(limit=limited, left=left, renewed_after_seconds=renewed))


def test_the_day_is_over_when_its_bytes_are() -> None:
    pacer, clock = _pacer(_daily(left=900, renewed=7200))
    assert pacer.admit(messages=1, size=900) == 0
    clock.now += 200
    with pytest.raises(ThrottledError) as caught:
        pacer.admit(messages=1, size=1)
    error = caught.value
    assert error.exit_code is ExitCode.THROTTLED
    assert error.reason is Reason.DAILY_LIMIT_REACHED
    assert error.retry_after_seconds == 7000
    assert "spec.limits.maxBytesPerDay" in error.message
    assert pacer.bytes_read == 900
    [told] = pacer.report()
    assert (told.name, told.value, told.reached) == ("maxBytesPerDay", 1000, True)


def test_where_only_this_run_counts_it_is_a_day() -> None:
    pacer, clock = _pacer(_daily())
    pacer.admit(messages=1, size=1000)
    clock.now += 5000
    with pytest.raises(ThrottledError) as caught:
        pacer.admit(messages=1, size=1)
    assert caught.value.retry_after_seconds == 86400


def test_a_message_above_a_whole_day_goes_alone() -> None:
    pacer, _ = _pacer(_daily())
    assert pacer.admit(messages=1, size=5000) == 0
    with pytest.raises(ThrottledError):
        pacer.admit(messages=1, size=1)
    pacer, _ = _pacer(_daily(left=999))
    with pytest.raises(ThrottledError):
        pacer.admit(messages=1, size=5000)


def test_a_batch_that_does_not_fit_the_day_is_asked_for_singly() -> None:
    items = [Item(uid, 300, None, (), _NOBODY) for uid in (1, 2, 3)]
    whole, _ = _pacer(_daily(left=900))
    assert list(whole.parts(items)) == [items]
    cut, _ = _pacer(_daily(left=899))
    assert list(cut.parts(items)) == [[item] for item in items]


@pytest.mark.parametrize(
    ("pace", "seconds"),
    [
        (Pace(), 0),
        (Pace(bytes_per_second=_bound(100)), 30),
        (Pace(messages_per_second=_bound(2)), 5),
        (Pace(bytes_per_second=_bound(100), messages_per_second=_bound(2)), 30),
        (_daily(limit=4000, left=3000), 0),
        (_daily(limit=1000, left=1000), 2 * 86400),
        (_daily(limit=1000, left=999), 3 * 86400),
    ],
)
def test_how_long_something_takes_at_least(pace: Pace, seconds: float) -> None:
    pacer, _ = _pacer(pace)
    assert pacer.least_seconds(messages=10, size=3000) == seconds

"""How fast a run copies: token buckets that all of its connections share, and a daily allowance.

It is the source's bodies that are counted, before they are asked for: waiting happens between two
commands, where no server waits for the rest of anything, and the destination gets no more than was
read. Listings of folders and of messages' metadata are not counted.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from mailsync_api.conditions import Reason
from mailsync_api.limits import DAY_SECONDS, Pace
from mailsync_api.report import LimitReport
from mailsync_syncjob.errors import ThrottledError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mailsync_api.limits import Bound, DailyAllowance
    from mailsync_syncjob.deadline import Clock
    from mailsync_syncjob.listing import Item

__all__ = ["BURST_SECONDS", "Pacer", "TokenBucket"]

BURST_SECONDS: Final = 1.0
"""How many seconds' worth may come at once after a pause."""
_NOTABLE_SECONDS: Final = 0.001
_OBSERVED_SECONDS: Final = 30.0
_SLOWEST_RATE: Final = 0.5
_CALM_SECONDS: Final = 60.0


@dataclass(slots=True)
class TokenBucket:
    """So much per second on average, and at most a burst at once. Pure: time is an argument.

    Within any span of time no more is let through than its length times the rate, and the burst;
    only the last of it may go over, where it alone is larger than the burst: that is let through
    when the bucket is full, and what follows waits until its debt is paid.

    Who asks first is let through first, whatever the sizes: each is told its time at once.
    """

    rate: float
    burst: float
    at: float
    """The time that ``level`` is of."""
    level: float = field(default=0.0)
    """What may be let through at once; negative while others wait, or after a debt."""

    def __post_init__(self) -> None:
        self.level = self.burst

    def take(self, amount: float, *, now: float) -> float:
        """Take so much, and return in how many seconds it is let through."""
        self._fill(now)
        needed = min(amount, self.burst)
        wait = max(0.0, (needed - self.level) / self.rate)
        self.level -= amount
        return wait

    def give_back(self, amount: float, *, now: float) -> None:
        """Give back what was taken and not used; a negative amount is taken without waiting."""
        self._fill(now)
        self.level = min(self.burst, self.level + amount)

    def _fill(self, now: float) -> None:
        # A clock that was asked for by several threads may seem to go backwards between them.
        passed = max(0.0, now - self.at)
        self.level = min(self.burst, self.level + passed * self.rate)
        self.at = max(self.at, now)


@dataclass(slots=True)
class _Rate:
    """A limit per second, and how long was waited for it."""

    name: str
    bound: Bound
    bucket: TokenBucket
    waited: float = 0.0

    @classmethod
    def of(cls, name: str, bound: Bound | None, *, now: float) -> _Rate | None:
        if bound is None:
            return None
        return cls(name, bound, TokenBucket(bound.value, bound.value * BURST_SECONDS, now))

    @property
    def portion(self) -> int:
        # Half a burst: where one thread comes late, the next one's does not make it more than one.
        return max(1, int(self.bucket.burst / 2))

    def report(self) -> LimitReport:
        return LimitReport(
            name=self.name,
            value=self.bound.value,
            origin=self.bound.origin,
            waited_seconds=round(self.waited),
            reached=self.waited > _NOTABLE_SECONDS,
        )


@dataclass(slots=True)
class Easing:
    """A pace that nobody set: half of what a server was asked for when it had enough. Pure.

    It is doubled for each minute in which the server does not complain, until it is well above what
    it was too much.
    """

    at: float
    """The time of the last change, or of the beginning."""
    _seen: deque[tuple[float, int]] = field(default_factory=deque)
    _bucket: TokenBucket | None = None
    _too_much: float = 0.0

    @property
    def portion(self) -> int | None:
        """How many messages are best asked for at once; None for any number."""
        return max(1, int(self._bucket.rate / 2)) if self._bucket else None

    def note(self, messages: int, *, now: float) -> None:
        """Take note of what is asked for."""
        self._seen.append((now, messages))
        while self._seen and now - self._seen[0][0] > _OBSERVED_SECONDS:
            self._seen.popleft()

    def ease(self, *, now: float) -> None:
        """Go down to half of what was asked for lately, or of the pace since the last time."""
        if self._bucket is not None:
            rate = self._bucket.rate / 2
        else:
            first = self._seen[0][0] if self._seen else now
            self._too_much = sum(n for _, n in self._seen) / max(now - first, 1.0)
            rate = self._too_much / 2
        rate = max(rate, _SLOWEST_RATE)
        self._bucket = TokenBucket(rate, max(1.0, rate), now)
        self.at = now

    def take(self, messages: int, *, now: float) -> float:
        """Take so many, and return in how many seconds they are let through."""
        if self._bucket is None:
            return 0.0
        while now - self.at >= _CALM_SECONDS:
            self.at += _CALM_SECONDS
            self._bucket.rate *= 2
            self._bucket.burst *= 2
            if self._bucket.rate > 4 * self._too_much:
                self._bucket = None
                return 0.0
        return self._bucket.take(messages, now=now)


class Pacer:
    """Lets all connections of a run read no faster, and no more, than its limits allow.

    Safe to be used by several threads.

    Attributes
    ----------
    bytes_read
        What was let through so far.
    """

    def __init__(self, pace: Pace | None = None, *, clock: Clock) -> None:
        pace = pace or Pace()
        self._clock = clock
        self._started = now = clock.monotonic()
        self._lock = threading.Lock()
        self._bytes = _Rate.of("maxBytesPerSecond", pace.bytes_per_second, now=now)
        self._messages = _Rate.of("maxMessagesPerSecond", pace.messages_per_second, now=now)
        self._daily = pace.daily
        self._spent = False
        self._easing = Easing(now)
        self.bytes_read = 0

    @property
    def most_messages(self) -> int | None:
        """How many messages are best asked for at once; None for any number."""
        with self._lock:
            own = self._messages.portion if self._messages else None
            eased = self._easing.portion
        return min((n for n in (own, eased) if n is not None), default=None)

    @property
    def most_bytes(self) -> int | None:
        """How many bytes are best asked for at once; None for any number."""
        return self._bytes.portion if self._bytes else None

    def parts(self, batch: Sequence[Item]) -> Iterator[Sequence[Item]]:
        """Yield a batch whole, or message by message where the day's allowance ends in it."""
        left = self.left_today
        if left is None or sum(item.size for item in batch) <= left:
            yield batch
        else:
            yield from ([item] for item in batch)

    @property
    def left_today(self) -> int | None:
        """Bytes that this run may still read; None for any number."""
        return None if self._daily is None else max(0, self._daily.left - self.bytes_read)

    def admit(self, *, messages: int, size: int) -> float:
        """Count messages that are about to be read; return the seconds to wait before.

        Raises
        ------
        ThrottledError
            The day's allowance is not enough for them.
        """
        with self._lock:
            now = self._clock.monotonic()
            self._check_daily(size, now=now)
            self.bytes_read += size
            self._easing.note(messages, now=now)
            waits = (
                (self._easing.take(messages, now=now), None),
                (self._messages.bucket.take(messages, now=now), self._messages)
                if self._messages
                else (0.0, None),
                (self._bytes.bucket.take(size, now=now), self._bytes)
                if self._bytes
                else (0.0, None),
            )
            wait, slower = max(waits, key=lambda each: each[0])
            if slower is not None:
                slower.waited += wait
            return wait

    def ease(self) -> None:
        """Slow down: a server has asked to be left alone for a while."""
        with self._lock:
            self._easing.ease(now=self._clock.monotonic())

    def correct(self, size: int) -> None:
        """Count bytes that came in addition to what was admitted; negative for what did not."""
        with self._lock:
            self.bytes_read = max(0, self.bytes_read + size)
            if self._bytes is not None:
                self._bytes.bucket.give_back(-size, now=self._clock.monotonic())

    def least_seconds(self, *, messages: int, size: int) -> float:
        """Return how long so much takes at least, with the days that it has to wait for."""
        spans = [0.0]
        if self._messages:
            spans.append(messages / self._messages.bucket.rate)
        if self._bytes:
            spans.append(size / self._bytes.bucket.rate)
        left = self.left_today
        if self._daily is not None and left is not None and size > left:
            spans.append(DAY_SECONDS * -(-(size - left) // self._daily.limit.value))
        return max(spans)

    def report(self) -> list[LimitReport]:
        """Return each limit that held, and what it did."""
        with self._lock:
            found = [rate.report() for rate in (self._bytes, self._messages) if rate]
            if self._daily is not None:
                bound = self._daily.limit
                found.append(
                    LimitReport(
                        name="maxBytesPerDay",
                        value=bound.value,
                        origin=bound.origin,
                        reached=self._spent,
                    )
                )
            return found

    def _check_daily(self, size: int, *, now: float) -> None:
        daily = self._daily
        if daily is None or self.bytes_read + size <= daily.left:
            return
        if self.bytes_read == 0 and daily.left == daily.limit.value:
            return  # larger than a whole day's: it would never be copied
        self._spent = True
        raise _day_is_over(daily, elapsed=now - self._started)


def _day_is_over(daily: DailyAllowance, *, elapsed: float) -> ThrottledError:
    after = daily.renewed_after_seconds
    # Where only this run counts, a day from now; else from the time that earlier ones ended.
    wait = DAY_SECONDS if after is None else max(1, after - int(elapsed))
    return ThrottledError(
        f"{daily.limit.value} bytes within 24 hours are copied, which is as much as "
        f"{daily.limit.origin} allows; the next run goes on where this one stopped",
        reason=Reason.DAILY_LIMIT_REACHED,
        retry_after_seconds=wait,
    )

"""What is left of a daily limit: a window of 24 hours that moves with the clock. Pure.

A run's bytes count from its end on, although some were copied earlier: so no 24 hours, wherever
they begin, hold more than the limit.
"""

from __future__ import annotations

from datetime import timedelta
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from mailsync_api.limits import DAY_SECONDS, Bound, DailyAllowance
from mailsync_api.status import CopiedBytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

__all__ = ["allowance", "closed_until", "counted", "noted"]

_DAY: Final = timedelta(seconds=DAY_SECONDS)
_LEAST_PART: Final = 100
"""A run with less left than this part of the limit is not worth its pod."""


def counted(copied: Iterable[CopiedBytes], *, now: datetime) -> list[CopiedBytes]:
    """Return what still counts, the oldest first."""
    return sorted((each for each in copied if each.time > now - _DAY), key=lambda each: each.time)


def noted(
    copied: Iterable[CopiedBytes], *, size: int, end: datetime, now: datetime
) -> list[CopiedBytes]:
    """Return what counts with a run that ended; one entry for all runs of an hour."""
    if size == 0:
        return counted(copied, now=now)
    hour = end.replace(minute=0, second=0)
    same = [each for each in copied if each.time.replace(minute=0, second=0) == hour]
    others = [each for each in copied if each not in same]
    whole = CopiedBytes(
        time=max(end, *(each.time for each in same)) if same else end,
        bytes=size + sum(each.bytes for each in same),
    )
    return counted([*others, whole], now=now)


def allowance(limit: Bound, copied: Sequence[CopiedBytes], *, now: datetime) -> DailyAllowance:
    """Return what a run that starts now may copy, and when there is more if it copies all of it."""
    held = counted(copied, now=now)
    left = max(0, limit.value - sum(each.bytes for each in held))
    free_at = _freed(held, needed=_least(limit))
    return DailyAllowance(
        limit=limit,
        left=left,
        renewed_after_seconds=_seconds(free_at - now) if free_at else None,
    )


def closed_until(limit: Bound, copied: Sequence[CopiedBytes], *, now: datetime) -> datetime | None:
    """Return when a run is worth starting; None for now."""
    held = counted(copied, now=now)
    missing = _least(limit) - (limit.value - sum(each.bytes for each in held))
    return _freed(held, needed=missing) if missing > 0 else None


def _least(limit: Bound) -> int:
    return max(1, limit.value // _LEAST_PART)


def _freed(held: Sequence[CopiedBytes], *, needed: int) -> datetime | None:
    """Return when so much of what is held no longer counts."""
    for each, total in zip(held, accumulate(entry.bytes for entry in held), strict=True):
        if total >= needed:
            return each.time + _DAY
    return None


def _seconds(span: timedelta) -> int:
    return max(0, -int(-span.total_seconds() // 1))

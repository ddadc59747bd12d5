"""Waiting for something to become true, with a deadline instead of a sleep."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["NotInTimeError", "wait_until"]

_T = TypeVar("_T")


class NotInTimeError(AssertionError):
    """The condition did not come true in time."""


def wait_until(
    condition: Callable[[], _T],
    deadline: float = 30.0,
    *,
    what: str = "the condition",
    interval: float = 0.05,
) -> _T:
    """Ask again and again until the answer is true, and return it.

    Parameters
    ----------
    deadline
        Seconds from now.
    what
        What is waited for, for the error.

    Raises
    ------
    NotInTimeError
        It did not come true in time.
    """
    end = time.monotonic() + deadline
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > end:
            raise NotInTimeError(f"{what}: not within {deadline:.0f} s (last answer: {answer!r})")
        time.sleep(interval)

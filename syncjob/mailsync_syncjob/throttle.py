"""What a run does when a server asks it to wait: a short wait within the run, else an end.

A pod that waits holds a slot, memory and the mailbox's connections, so only what is over soon is
waited for. A longer wait ends the run with the server's number, and the next run goes on.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mailsync_api.conditions import Reason
from mailsync_api.report import WaitReport
from mailsync_syncjob.errors import ThrottledError
from mailsync_syncjob.party import side_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from mailsync_syncjob.pace import Pacer

__all__ = ["LONGEST_WAIT", "UNSAID_WAITS", "BackOff"]

LONGEST_WAIT: Final = 60
"""The longest wait within a run, in seconds."""
UNSAID_WAITS: Final = (5, 15, 45)
"""How long is waited where the server does not say, in seconds: after the first request in a row,
the second, the third. After that the run ends."""
_MOST_IN_A_ROW: Final = 5
_LATER_SECONDS: Final = 300
_MOST_LISTED: Final = 50


@dataclass(slots=True)
class _Row:
    """Requests in a row."""

    requests: int = 0
    progress: int = -1

    def asked(self, progress: int) -> None:
        self.requests = self.requests + 1 if progress == self.progress else 1
        self.progress = progress


class BackOff:
    """Takes the requests of a run's servers; shared by all of its connections.

    Parameters
    ----------
    pacer
        What is slowed down by each request.
    progress
        Tells how much is copied.
    """

    def __init__(self, pacer: Pacer, *, progress: Callable[[], int]) -> None:
        self._pacer = pacer
        self._progress = progress
        self._lock = threading.Lock()
        self._rows: dict[object, _Row] = {}
        self._told: list[WaitReport] = []

    def wait(self, error: ThrottledError, *, who: object = None) -> int:
        """Return how many seconds to wait before going on with this server.

        Parameters
        ----------
        who
            Which of the run's workers was asked: each counts its requests in a row, with nothing
            copied in between, by itself.

        Raises
        ------
        ThrottledError
            The run had better end, with how long to wait then.
        """
        if error.reason is Reason.DAILY_LIMIT_REACHED:
            raise error
        with self._lock:
            row = self._rows.setdefault(who, _Row())
            row.asked(self._progress())
            seconds = _seconds(error.retry_after_seconds, row.requests)
            self._note(error, seconds)
            if seconds is None:
                raise ThrottledError(
                    error.message,
                    side=error.side,
                    reason=error.reason,
                    retry_after_seconds=_later(error.retry_after_seconds),
                ) from None
        self._pacer.ease()
        return seconds

    def report(self) -> list[WaitReport]:
        """Return what the servers asked for."""
        with self._lock:
            return list(self._told)

    def _note(self, error: ThrottledError, seconds: int | None) -> None:
        if len(self._told) >= _MOST_LISTED:
            return
        self._told.append(
            WaitReport(
                side=side_of(error.side),
                message=error.message[:1024],
                asked_seconds=error.retry_after_seconds,
                waited_seconds=seconds or 0,
            )
        )


def _seconds(asked: int | None, requests: int) -> int | None:
    """Return how long to wait within the run; None for not at all."""
    if asked is None:
        return UNSAID_WAITS[requests - 1] if requests <= len(UNSAID_WAITS) else None
    if asked > LONGEST_WAIT or requests > _MOST_IN_A_ROW:
        return None
    return max(asked, 1)


def _later(asked: int | None) -> int:
    """Return how long a run is to be put off."""
    if asked is not None and asked > LONGEST_WAIT:
        return asked
    return _LATER_SECONDS  # what was waited for within the run did not help

"""The figures of a run: what there is, what was done, how fast."""

from __future__ import annotations

import threading
from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Final

from mailsync_api.report import FolderReport, SkippedMessage, Totals
from mailsync_api.status import Progress, Tally
from mailsync_syncjob.pace import Pacer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mailsync_api.state import FolderNumbers
    from mailsync_syncjob.deadline import Clock
    from mailsync_syncjob.output import Output
    from mailsync_syncjob.resume import Sight

__all__ = ["MOST_LISTED", "UNNAMED", "FolderFigures", "Tracker"]

_PROGRESS_SECONDS: Final = 1.0
_RATE_SECONDS: Final = 10.0
_MOST_KEYWORDS: Final = 50

MOST_LISTED: Final = 10_000
"""How many skipped messages a report names."""
UNNAMED: Final = SkippedMessage(folder="", uid=0, reason="one of too many to be named")
"""Stands for those that it does not name: a server may refuse a million messages."""


@dataclass(slots=True)
class FolderFigures:
    """One folder's figures, while it is worked on."""

    source: str
    destination: str
    messages: int = 0
    bytes_total: int | None = None
    present: int | None = None
    """Found at the destination before anything was copied; None before the first comparison."""
    present_bytes: int = 0
    copied: int = 0
    copied_bytes: int = 0
    skipped: dict[object, SkippedMessage] = field(default_factory=dict)
    uncounted: int = 0
    """Messages that could not be copied, beyond those that ``skipped`` has."""
    extra: int = 0
    flags_updated: int = 0
    keywords_refused: set[str] = field(default_factory=set)
    done: bool = False
    unable: int = 0
    """How often the server was temporarily unable to open it."""
    doubted: set[int] = field(default_factory=set)
    """UIDs of messages that were being stored when a connection broke."""
    broke: Counter[int] = field(default_factory=Counter)
    """How often the connection broke while a message was stored alone, by UID."""
    hung_up_on: int = 0
    """How many messages in a row were skipped because it broke at them."""
    sight: Sight | None = None
    """How both sides stood when they were compared."""
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False, compare=False)
    """Held to change any of it: several workers may be at the folder."""

    def compared(
        self, *, messages: int, bytes_total: int, matched: int, matched_bytes: int, extra: int
    ) -> None:
        """Take the result of a comparison.

        After a lost connection the folder is compared again. What is there now and was not at first
        was copied by this run, also a message whose confirmation was lost.
        """
        self.messages, self.bytes_total, self.extra = messages, bytes_total, extra
        if self.present is None:
            self.present, self.present_bytes = matched, matched_bytes
        else:
            self.copied = max(matched - self.present, 0)
            self.copied_bytes = max(matched_bytes - self.present_bytes, 0)

    def unchanged(self, numbers: FolderNumbers) -> None:
        """Take it that nothing has changed since the folder was complete, at these numbers."""
        self.compared(
            messages=numbers.source_messages,
            bytes_total=numbers.size,
            matched=numbers.source_messages,
            matched_bytes=numbers.size,
            extra=numbers.destination_messages - numbers.source_messages,
        )

    @property
    def skipped_count(self) -> int:
        """How many of its messages could not be copied."""
        return len(self.skipped) + self.uncounted

    @property
    def completed(self) -> int:
        """How many of its messages are dealt with."""
        return (self.present or 0) + self.copied

    @property
    def dealt_with(self) -> int:
        """How many of its messages were copied or given up."""
        return self.copied + self.skipped_count

    def report(self) -> FolderReport:
        """Return the folder's part of the report."""
        return FolderReport(
            source=self.source,
            destination=self.destination,
            messages=self.messages,
            copied=self.copied,
            already_present=self.present or 0,
            skipped=self.skipped_count,
            extra_at_destination=self.extra,
            flags_updated=self.flags_updated,
            keywords_refused=sorted(self.keywords_refused)[:_MOST_KEYWORDS],
        )


class Tracker:
    """Collects figures and says them at most once a second; safe to use from several threads."""

    def __init__(self, clock: Clock, output: Output, *, pacer: Pacer | None = None) -> None:
        self._clock = clock
        self._pacer = pacer or Pacer(clock=clock)
        self._output = output
        self._started = clock.monotonic()
        self._said = float("-inf")
        self._samples: deque[tuple[float, int, int]] = deque()
        self._lock = threading.Lock()
        self.folders: list[FolderFigures] = []
        self.folders_created = 0

    def add(self, figures: Iterable[FolderFigures]) -> None:
        """Take the planned folders."""
        self.folders = list(figures)

    def tick(self, *, now: bool = False) -> None:
        """Say how far the run is, if it was not said within the last second."""
        moment = self._clock.monotonic()
        if not now and moment - self._said < _PROGRESS_SECONDS:
            return
        with self._lock:
            if now or moment - self._said >= _PROGRESS_SECONDS:
                self._said = moment
                self._output.progress(self.progress())

    @property
    def seconds(self) -> int:
        """How long the run has taken."""
        return int(self._clock.monotonic() - self._started)

    @property
    def copied(self) -> int:
        """Messages copied so far."""
        return sum(folder.copied for folder in self.folders)

    @property
    def dealt_with(self) -> int:
        """Messages copied or given up so far."""
        return sum(folder.dealt_with for folder in self.folders)

    def totals(self) -> Totals:
        """Return all figures added up."""
        folders = self.folders
        return Totals(
            folders=len(folders),
            folders_created=self.folders_created,
            messages=sum(f.messages for f in folders),
            copied=self.copied,
            already_present=sum(f.present or 0 for f in folders),
            skipped=sum(f.skipped_count for f in folders),
            flags_updated=sum(f.flags_updated for f in folders),
            bytes_total=sum(f.bytes_total or 0 for f in folders),
            bytes_copied=sum(f.copied_bytes for f in folders),
            bytes_read=self._pacer.bytes_read,
        )

    def skipped(self) -> list[SkippedMessage]:
        """Return the messages that could not be copied; the list is cut at 10,000."""
        found = (m for f in self.folders for m in f.skipped.values() if m is not UNNAMED)
        return list(islice(found, MOST_LISTED))

    def progress(self) -> Progress:
        """Return how far the run is."""
        totals = self.totals()
        messages = sum(f.completed for f in self.folders)
        size = sum(f.present_bytes + f.copied_bytes for f in self.folders)
        per_second, bytes_per_second = self._rates(messages, size)
        # Until a folder is opened its bytes are known only where STATUS tells them.
        by_bytes = all(f.bytes_total is not None for f in self.folders) and totals.bytes_total > 0
        done, whole = (size, totals.bytes_total) if by_bytes else (messages, totals.messages)
        rate = bytes_per_second if by_bytes else per_second
        now = datetime.fromtimestamp(self._clock.time(), tz=UTC)
        left = max(whole - done, 0) / rate if rate >= 1 else None
        if left is not None:
            left = max(left, self._least_seconds())
        return Progress(
            folders=Tally(total=totals.folders, completed=sum(f.done for f in self.folders)),
            messages=Tally(total=totals.messages, completed=messages),
            bytes=Tally(total=totals.bytes_total, completed=size),
            copied_messages=totals.copied,
            skipped=totals.skipped,
            percent=min(100, 100 * done // whole) if whole else self._percent_of_folders(),
            messages_per_second=round(per_second),
            bytes_per_second=round(bytes_per_second),
            estimated_completion_time=(
                now + timedelta(seconds=left) if left is not None and left < 10**8 else None
            ),
            update_time=now,
        )

    def _least_seconds(self) -> float:
        """How long what is known to be missing takes at least, by the limits."""
        known = [f for f in self.folders if f.present is not None]
        return self._pacer.least_seconds(
            messages=sum(f.messages - f.completed - f.skipped_count for f in known),
            size=sum((f.bytes_total or 0) - f.present_bytes - f.copied_bytes for f in known),
        )

    def _percent_of_folders(self) -> int:
        """All there is to say of a mailbox without messages."""
        return 100 if self.folders and all(f.done for f in self.folders) else 0

    def _rates(self, messages: int, size: int) -> tuple[float, float]:
        now = self._clock.monotonic()
        self._samples.append((now, messages, size))
        while len(self._samples) > 2 and now - self._samples[0][0] > _RATE_SECONDS:
            self._samples.popleft()
        then, old_messages, old_size = self._samples[0]
        if now - then < _PROGRESS_SECONDS / 2:
            return 0.0, 0.0
        elapsed = now - then
        return max(messages - old_messages, 0) / elapsed, max(size - old_size, 0) / elapsed

"""How a run goes by the resume state: one call before a folder's work, one after it."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from mailsync_syncjob.errors import EngineError
from mailsync_syncjob.resume import Done, Full, NewOnly, Unchanged

if TYPE_CHECKING:
    from mailsync_syncjob.deadline import Clock
    from mailsync_syncjob.imap.session import Session
    from mailsync_syncjob.ledger import Ledger
    from mailsync_syncjob.output import Output
    from mailsync_syncjob.plan import Task
    from mailsync_syncjob.tracker import FolderFigures

__all__ = ["Resuming"]

_SETTLE_SECONDS: Final = 10.0
"""How often, at most, a run waits for numbers that only a run after it needs."""


class Resuming:
    """The resume state in a run; safe to use from several threads.

    Parameters
    ----------
    ledger
        None for a run without a state.
    dry_run
        Whether nothing is to be noted.
    """

    def __init__(
        self, ledger: Ledger | None, *, output: Output, clock: Clock, dry_run: bool
    ) -> None:
        self._ledger = ledger
        self._output = output
        self._clock = clock
        self._dry_run = dry_run
        self._settled = clock.monotonic()
        self._pairs: set[tuple[bytes, bytes]] = set()
        self._decisions: Counter[type] = Counter()
        self._lock = threading.Lock()

    def begin(
        self, task: Task, raw: bytes | None, figures: FolderFigures
    ) -> Unchanged | NewOnly | None:
        """Return what is known of a folder's work; None for nothing.

        One that has not changed is done with this.

        Parameters
        ----------
        raw
            The destination folder; None for one that does not exist.
        """
        if self._ledger is None or raw is None:
            return None
        self._pairs.add((task.source_raw, raw))
        decision = self._ledger.decide(
            task.source_raw, raw, source=task.here, destination=task.there
        )
        with self._lock:
            self._decisions[type(decision)] += 1
        if isinstance(decision, Full):
            self._output.log("debug", f"{figures.source}: compared in full: {decision.reason}")
            return None
        if isinstance(decision, Unchanged):
            figures.unchanged(decision.numbers)
        return decision

    def finished(self, task: Task, raw: bytes | None, figures: FolderFigures) -> None:
        """Note what is certain of a folder whose work is over.

        One with messages that could not be copied is compared in full each time: they are tried
        again and named again. So is one with keywords that the destination does not keep.
        """
        sight = figures.sight
        if self._ledger is None or self._dry_run or raw is None or sight is None:
            return
        if figures.skipped_count or figures.keywords_refused or sight.destination is None:
            return
        done = Done(
            source=sight.source,
            listed=sight.listed,
            last_uid=sight.last_uid,
            size=figures.bytes_total or 0,
            destination=sight.destination,
            copied=figures.copied,
        )
        # A message that vanished was listed, and is not counted.
        if figures.messages == sight.listed:
            touched = bool(figures.copied or figures.flags_updated)
            self._ledger.done(task.source_raw, raw, done, touched=touched)

    def settle(self, destination: Session, *, last: bool) -> None:
        """Read the numbers of finished folders, when it is time to.

        Parameters
        ----------
        destination
            A session that is amid nothing.
        last
            Whether there is no later time.
        """
        if self._ledger is None or not (names := self._ledger.unsettled):
            return
        if not last and self._clock.monotonic() - self._settled < _SETTLE_SECONDS:
            return
        self._settled = self._clock.monotonic()
        # Without them the next run compares these folders in full: no reason to fail.
        with suppress(EngineError):
            self._ledger.settle(destination.standings(names, sizes=False))

    def complete(self) -> None:
        """Forget folders that are no more: all that there are were worked on."""
        if self._ledger is None:
            return
        self._output.log(
            "info",
            f"resume state: {self._decisions[Unchanged]} folders unchanged, "
            f"{self._decisions[NewOnly]} with new messages only, "
            f"{self._decisions[Full]} compared in full",
        )
        if not self._dry_run:
            self._ledger.keep_only(self._pairs)

    def state(self) -> str | None:
        """Return the state for the next run; None for a run without one."""
        if self._ledger is None:
            return None
        text, left_out = self._ledger.text()
        if left_out:
            self._output.log(
                "warning",
                f"the resume state has no room for {left_out} folders; they are compared in full",
            )
        return text

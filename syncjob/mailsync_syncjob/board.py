"""What there is to do, folder by folder, and who does it.

A folder is compared by one worker; what it lacks is copied by any of them; when all of that is
stored, one of them concludes it. After a lost connection the others at the folder go on; when they
are done it is compared anew, as nobody knows what is stored of that which was under way.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from mailsync_syncjob.folders import INBOX
from mailsync_syncjob.losses import Losses

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mailsync_syncjob.copier import Target
    from mailsync_syncjob.deadline import Stop
    from mailsync_syncjob.plan import Task
    from mailsync_syncjob.sharing import Shares, Supply
    from mailsync_syncjob.tracker import FolderFigures

__all__ = ["Board", "Call", "Doing", "FolderWork"]

_LOOK_UP_SECONDS: Final = 0.2


class Doing(Enum):
    """What a worker does at a folder."""

    COMPARE = auto()
    COPY = auto()
    CONCLUDE = auto()


@dataclass(slots=True, eq=False)
class FolderWork:
    """One folder's work; the board's, except for what the worker at it sets while comparing.

    Attributes
    ----------
    doubtful
        Whether messages are in doubt, which are copied last.
    """

    task: Task
    figures: FolderFigures
    due: Doing | None = Doing.COMPARE
    """What is to be done with it next; None when it is done."""
    supply: Supply | None = None
    target: Target | None = None
    uid_validity: int = 0
    doubtful: bool = False
    workers: int = 0
    again: bool = False
    losses: Losses = field(default_factory=Losses)
    lost: int = 0
    """How many lost connections were counted."""
    achieved: int = 0
    """Messages dealt with when the last one was counted."""


@dataclass(frozen=True, slots=True)
class Call:
    """Something for one worker to do."""

    work: FolderWork
    doing: Doing
    lost: int
    """Lost connections at the folder before it."""


class Board:
    """The work of a run; safe to use from several threads."""

    def __init__(self, works: Iterable[FolderWork], *, shares: Shares, stop: Stop) -> None:
        self._shares = shares
        self._works = sorted(works, key=_order)
        self._stop = stop
        self._changed = threading.Condition()

    def take(self, done: Call | None) -> Call | None:
        """Wait for something to do; None when all is done.

        Parameters
        ----------
        done
            What the worker was called for before, and has done; its folder is still open to it.

        Raises
        ------
        InterruptedRunError
            The run shall stop.
        """
        last = None if done is None else done.work
        with self._changed:
            # Together with taking the next, so that nobody else takes this folder from it.
            if last is not None:
                self._off(last)
            while True:
                self._stop.check()
                if self.done:
                    self._changed.notify_all()
                    return None
                work = self._next(last)
                if work is not None and work.due is not None:
                    work.workers += 1
                    return Call(work, work.due, work.lost)
                self._changed.wait(_LOOK_UP_SECONDS)

    def _next(self, last: FolderWork | None) -> FolderWork | None:
        if last is not None and _free(last) and last.due is not Doing.COMPARE:
            return last
        free = [work for work in self._works if _free(work) and self._pays(work)]
        return next(
            (
                work
                for doing in (Doing.CONCLUDE, Doing.COMPARE)
                for work in free
                if work.due is doing
            ),
            # None has a folder to itself: those help that have most to do.
            max(free, key=lambda work: work.supply.bytes if work.supply else 0, default=None),
        )

    def _pays(self, work: FolderWork) -> bool:
        """Whether a worker is to come to a folder that it has not open."""
        if work.due is not Doing.COPY or not work.workers or work.supply is None:
            return True
        return self._shares.pays(work.supply.messages, work.supply.bytes)

    @property
    def done(self) -> bool:
        """Whether all folders are done."""
        return all(work.due is None for work in self._works)

    def to_copy(self) -> tuple[int, int]:
        """Return how many messages and bytes are known to be missing at the destination."""
        with self._changed:
            lacking = [_lacking(work) for work in self._works]
        return sum(messages for messages, _ in lacking), sum(size for _, size in lacking)

    def share(
        self, work: FolderWork, supply: Supply, *, target: Target, uid_validity: int, doubtful: bool
    ) -> None:
        """Let all workers copy what a comparison found missing."""
        with self._changed:
            work.supply, work.target, work.uid_validity = supply, target, uid_validity
            work.doubtful = doubtful
            work.due = Doing.COPY
            self._changed.notify_all()

    def conclude(self, work: FolderWork) -> None:
        """Take note that nothing is left to do at a folder."""
        with self._changed:
            work.due = work.supply = None

    def lost(self, call: Call, *, closed: bool, forgiven: bool) -> Losses:
        """Take note of a connection that was lost at a folder; return its losses in a row.

        Parameters
        ----------
        closed
            Whether what is left of the folder must not be copied as it was compared.
        forgiven
            Whether it does not count where anything was achieved since the last one.
        """
        work = call.work
        with self._changed:
            # When a server goes down all workers lose their connections: that counts once.
            if work.lost == call.lost:
                achieved = work.figures.dealt_with
                moved, work.achieved = achieved > work.achieved, achieved
                work.losses.lost(moved=moved)
                if moved and forgiven:
                    work.losses.forget()
                work.lost += 1
            work.again = True
            if closed and work.supply is not None:
                work.supply.close()
            self._off(work)
            return replace(work.losses)

    def _off(self, work: FolderWork) -> None:
        """Take note that a worker is no longer at a folder, and of what is due with it next."""
        work.workers -= 1
        if not work.workers and work.due is not None:
            if work.again and (work.supply is None or not work.supply.messages):
                work.due, work.again = Doing.COMPARE, False
            elif work.due is Doing.COPY and not (work.supply and work.supply.messages):
                work.due = Doing.CONCLUDE
        self._changed.notify_all()


def _order(work: FolderWork) -> tuple[bool, int]:
    """INBOX first, as people look at it first; then the largest, so that none is left for last."""
    return work.task.source != (INBOX,), -work.figures.messages


def _lacking(work: FolderWork) -> tuple[int, int]:
    """Return how many messages and bytes a folder lacks at least."""
    if work.supply is not None:
        return work.supply.messages, work.supply.bytes
    here, there = work.task.here, work.task.there
    if work.due is None or here is None or not here.messages:
        return 0, 0
    messages = max(here.messages - (there.messages if there is not None else 0), 0)
    return messages, (here.size or 0) * messages // here.messages


def _free(work: FolderWork) -> bool:
    """Whether a worker may come to a folder."""
    if work.due is Doing.COPY:
        return work.supply is not None and work.supply.messages > 0
    return work.due is not None and not work.workers

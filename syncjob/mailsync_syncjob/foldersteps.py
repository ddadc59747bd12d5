"""What a worker does when it is called to a folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mailsync_api.report import SkippedMessage
from mailsync_syncjob.board import Doing
from mailsync_syncjob.errors import (
    CommandRefusedError,
    FolderGoneError,
    FolderReplacedError,
    ThrottledError,
)
from mailsync_syncjob.folderpass import FolderPass
from mailsync_syncjob.resume import Unchanged
from mailsync_syncjob.sharing import Supply

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mailsync_syncjob.board import Board, Call, FolderWork
    from mailsync_syncjob.compare import Item
    from mailsync_syncjob.deadline import Stop
    from mailsync_syncjob.destinationfolders import DestinationFolders
    from mailsync_syncjob.errors import ConnectionLostError
    from mailsync_syncjob.links import Pair
    from mailsync_syncjob.losses import Losses
    from mailsync_syncjob.manner import Manner
    from mailsync_syncjob.output import Output
    from mailsync_syncjob.pace import Pacer
    from mailsync_syncjob.resuming import Resuming
    from mailsync_syncjob.sharing import Shares
    from mailsync_syncjob.tracker import Tracker

__all__ = ["FolderSteps", "Means"]

_MOST_UNABLE: Final = 3
"""So often a server may be unable to open a folder for now."""


@dataclass(frozen=True, slots=True)
class Means:
    """What a worker has for one step."""

    pair: Pair
    there: bool
    """Whether the folder is open on its connections."""
    limit: int
    """How many bytes it may hold."""
    hands: Callable[[], int]
    """Tells how many workers there are."""


class FolderSteps:
    """The steps of a folder's work, for all workers of a run."""

    def __init__(  # noqa: PLR0913  all that the steps need
        self,
        board: Board,
        folders: DestinationFolders,
        *,
        shares: Shares,
        tracker: Tracker,
        pacer: Pacer,
        manner: Manner,
        resuming: Resuming,
        output: Output,
        stop: Stop,
        dry_run: bool,
    ) -> None:
        self._board = board
        self._folders = folders
        self._shares = shares
        self._tracker = tracker
        self._pacer = pacer
        self._manner = manner
        self._resuming = resuming
        self._output = output
        self._stop = stop
        self._dry_run = dry_run

    def do(self, call: Call, means: Means, *, shared: Callable[[], None]) -> None:
        """Do what a worker was called for.

        Parameters
        ----------
        shared
            Called when it is known what the folder lacks.

        Raises
        ------
        EngineError
            It is not done.
        """
        work = call.work
        step = FolderPass(
            means.pair,
            figures=work.figures,
            tracker=self._tracker,
            stop=self._stop,
            pacer=self._pacer,
            manner=self._manner,
            limit=means.limit,
        )
        try:
            if self._dry_run:
                self._count(work, step)
                self._done(work, means)
            elif call.doing is Doing.COMPARE:
                self._compare(work, step, means, shared)
            elif call.doing is Doing.COPY:
                self._copy(work, step, means)
            else:
                self._conclude(work, step, means)
        except CommandRefusedError as error:
            self._check_destination(work, error, means)
            if error.temporary and work.figures.unable < _MOST_UNABLE:
                work.figures.unable += 1
                raise ThrottledError(error.message, side=error.side) from None
            self._give_up(work, error, means)

    def _count(self, work: FolderWork, step: FolderPass) -> None:
        task = work.task
        raw = self._folders.look(task)
        self._tracker.folders_created = self._folders.created
        known = self._resuming.begin(task, raw, work.figures)
        if not isinstance(known, Unchanged):
            numbers = known.numbers if known else None
            step.count(task.source_raw, raw, expected=task.expected, numbers=numbers)

    def _compare(
        self, work: FolderWork, step: FolderPass, means: Means, shared: Callable[[], None]
    ) -> None:
        raw = self._folders.ensure(work.task, means.pair.destination)
        self._tracker.folders_created = self._folders.created
        known = self._resuming.begin(work.task, raw, work.figures)
        if isinstance(known, Unchanged):
            self._done(work, means)
            return
        found = step.compare(
            work.task.source_raw,
            raw,
            expected=work.task.expected,
            numbers=known.numbers if known else None,
        )
        supply = Supply(found.sure, self._shares)
        self._board.share(
            work,
            supply,
            target=found.target,
            uid_validity=found.uid_validity,
            doubtful=bool(found.doubtful),
        )
        shared()
        # While others may copy already; nobody else has these messages open for writing.
        step.add_flags(found.matched, found.target)

    def _copy(self, work: FolderWork, step: FolderPass, means: Means) -> None:
        supply, target = work.supply, work.target
        if supply is None or target is None:
            raise RuntimeError("a folder to copy that was not compared")
        if not means.there:
            step.join(work.task.source_raw, target, uid_validity=work.uid_validity)
        step.copy(_shares_of(supply, means.hands), target)

    def _conclude(self, work: FolderWork, step: FolderPass, means: Means) -> None:
        if work.target is None:
            raise RuntimeError("a folder to conclude that was not compared")
        if not means.there and work.figures.skipped:
            step.join(work.task.source_raw, work.target, uid_validity=work.uid_validity)
        step.conclude(work.task.source_raw, work.target, doubtful=work.doubtful)
        self._resuming.finished(work.task, work.target.raw, work.figures)
        self._done(work, means)

    def _done(self, work: FolderWork, means: Means) -> None:
        figures = work.figures
        figures.done = True
        self._board.conclude(work)
        self._resuming.settle(means.pair.destination, last=self._board.done)
        self._output.log(
            "info",
            f"{figures.source}: {figures.messages} messages, {figures.copied} "
            f"{'to copy' if self._dry_run else 'copied'}, {figures.present or 0} already there, "
            f"{figures.skipped_count} skipped",
        )
        self._tracker.tick()

    def _check_destination(
        self, work: FolderWork, error: CommandRefusedError, means: Means
    ) -> None:
        """Raise ``FolderGoneError`` if the destination folder was deleted since it was listed."""
        destination = means.pair.destination
        raw = self._folders.look(work.task)
        opening = error.side is destination.side and error.command != "CREATE"
        if opening and raw is not None and not self._dry_run and not destination.lists(raw):
            raise FolderGoneError(f"{error.message} (it was deleted)", side=error.side) from None

    def _give_up(self, work: FolderWork, error: CommandRefusedError, means: Means) -> None:
        """Report a folder that cannot be opened or created: all its messages are skipped."""
        figures = work.figures
        left = figures.messages - figures.completed - figures.skipped_count
        text = f"the {error.side} refused {error.command} of the folder: {error.text}"
        self._output.log("warning", f"{figures.source}: {text}")
        figures.skipped[("folder",)] = SkippedMessage(folder=figures.source, uid=0, reason=text)
        figures.uncounted = max(left - 1, 0)
        self._done(work, means)

    def lost(self, call: Call, error: ConnectionLostError, *, forgiven: bool) -> Losses:
        """Take note of a lost connection; return the folder's losses in a row."""
        if isinstance(error, FolderGoneError):
            self._folders.forget(call.work.task)
        closed = isinstance(error, FolderGoneError | FolderReplacedError)
        return self._board.lost(call, closed=closed, forgiven=forgiven)


def _shares_of(supply: Supply, hands: Callable[[], int]) -> Iterator[Sequence[Item]]:
    """Yield a worker's shares as it gets to them."""
    while share := supply.take(hands()):
        yield share

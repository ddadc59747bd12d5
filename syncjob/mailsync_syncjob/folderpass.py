"""One folder: compare both sides, copy what is missing, add flags."""

from __future__ import annotations

from array import array
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mailsync_syncjob.bothsides import BothSides
from mailsync_syncjob.copier import Target
from mailsync_syncjob.errors import (
    CommandRefusedError,
    ConnectionLostError,
    FolderReplacedError,
    ThrottledError,
)
from mailsync_syncjob.flags import is_keyword, missing_flags
from mailsync_syncjob.identity import UNKNOWN
from mailsync_syncjob.pipeline import PipelinedCopier
from mailsync_syncjob.watching import FolderWatch

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mailsync_api.state import FolderNumbers
    from mailsync_syncjob.compare import Comparison, Item, Pairs
    from mailsync_syncjob.deadline import Stop
    from mailsync_syncjob.imap.survey import Standing
    from mailsync_syncjob.links import Pair
    from mailsync_syncjob.manner import Manner
    from mailsync_syncjob.pace import Pacer
    from mailsync_syncjob.tracker import FolderFigures, Tracker

__all__ = ["Findings", "FolderPass"]

_LOOK_SECONDS: Final = 0.5
_QUIET_SECONDS: Final = 2.5
_LONGEST_QUIET_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Findings:
    """What a comparison found, and what is to be done about it."""

    sure: Sequence[Item]
    """Messages that the destination surely lacks."""
    doubtful: Sequence[Item]
    """Messages that may have been stored when a connection broke, or may yet be."""
    matched: Pairs
    target: Target
    uid_validity: int
    """Of the source folder."""


class FolderPass:
    """One worker's work on one folder, with the sessions of its own."""

    def __init__(  # noqa: PLR0913  all that a folder's work needs
        self,
        pair: Pair,
        *,
        figures: FolderFigures,
        tracker: Tracker,
        stop: Stop,
        pacer: Pacer,
        manner: Manner,
        limit: int,
    ) -> None:
        self._source = pair.source
        self._destination = pair.destination
        self._figures = figures
        self._stop = stop
        self._pacer = pacer
        self._manner = manner
        self._limit = limit
        self._watch = FolderWatch(figures, tracker)
        self._sides = BothSides(
            pair.source, pair.destination, watch=self._watch, stop=stop, pacer=pacer
        )

    def count(
        self,
        source_raw: bytes,
        destination_raw: bytes | None,
        *,
        expected: tuple[int, int] = (0, 0),
        numbers: FolderNumbers | None = None,
    ) -> None:
        """Compare the folder and count what a run would do.

        Parameters
        ----------
        destination_raw
            None for a folder that does not exist yet.
        expected
            How many messages the sides are thought to have, so that they are asked for at once.
        numbers
            At which it was complete, if only new messages seem to have come since.
        """
        compared = None
        if numbers is not None and destination_raw is not None:
            compared = self._sides.look_for_new(
                source_raw, destination_raw, numbers, read_only=True
            )
        if compared is None:
            compared = self._sides.compare(
                source_raw, destination_raw, read_only=True, expected=expected
            )
        missing = compared.comparison.missing
        self._watch.counted(len(missing), missing.total_bytes)
        self._watch.flags_updated(
            sum(
                bool(missing_flags(here, there, rules=compared.rules))
                for here, there in compared.comparison.matched.flags()
            )
        )

    def compare(
        self,
        source_raw: bytes,
        destination_raw: bytes,
        *,
        expected: tuple[int, int] = (0, 0),
        numbers: FolderNumbers | None = None,
    ) -> Findings:
        """Compare the folder, when it stands still; no other worker is at it.

        Parameters
        ----------
        expected
            How many messages the sides are thought to have, so that they are asked for at once.
        numbers
            At which it was complete, if only new messages seem to have come since.

        Raises
        ------
        CommandRefusedError
            One of the folders cannot be opened.
        EngineError
            The run cannot go on.
        """
        if self._figures.doubted:
            self._await_quiet(destination_raw)
        compared = None
        if numbers is not None:
            compared = self._sides.look_for_new(
                source_raw, destination_raw, numbers, read_only=False
            )
        if compared is None:
            compared = self._sides.compare(
                source_raw, destination_raw, read_only=False, expected=expected
            )
        sure, doubtful = self._split(compared.comparison)
        return Findings(
            sure,
            doubtful,
            compared.comparison.matched,
            Target(destination_raw, compared.rules),
            compared.uid_validity,
        )

    def join(self, source_raw: bytes, target: Target, *, uid_validity: int) -> None:
        """Open a folder that somebody else has compared.

        Raises
        ------
        FolderReplacedError
            It is not the one that was compared: there is nothing to copy by that comparison.
        """
        try:
            found = self._sides.open(source_raw, target.raw)
        except CommandRefusedError as error:
            raise FolderReplacedError(
                f"{error.side}: {error.message} ({self._figures.source})", side=error.side
            ) from None
        if found != uid_validity:
            raise FolderReplacedError(
                f"{self._source.side}: {self._figures.source} was replaced by another folder",
                side=self._source.side,
            )

    def copy(self, shares: Iterable[Sequence[Item]], target: Target) -> None:
        """Copy these messages; the folder is open on both sides.

        Raises
        ------
        EngineError
            The copying cannot go on; what was under way is in doubt.
        """
        copier = PipelinedCopier(
            self._source,
            self._destination,
            stop=self._stop,
            pacer=self._pacer,
            manner=self._manner,
            limit=self._limit,
        )
        try:
            copier.copy(shares, target=target, watch=self._watch)
        except (ConnectionLostError, ThrottledError) as error:
            self._watch.blame(error)
            raise

    def conclude(self, source_raw: bytes, target: Target, *, doubtful: bool) -> None:
        """Copy what is in doubt, if anything is, when all else is copied; nobody else is here."""
        if doubtful:
            # What the server stored late is there by now, if it is ever.
            compared = self._sides.compare(source_raw, target.raw, read_only=False)
            left = [item for part in self._split(compared.comparison) for item in part]
            if left:
                self.copy([left], target)
            self.add_flags(compared.comparison.matched, target)
        self._watch.name_skipped(self._source)

    def _split(self, comparison: Comparison) -> tuple[Sequence[Item], Sequence[Item]]:
        """Return the missing messages: those that surely are, and those that may be stored yet.

        With a message whose answer never came, all that look like it are in doubt: which of them
        the destination has is not known.
        """
        missing, matched = comparison.missing, comparison.matched.here
        skipped, doubted = self._figures.skipped, self._figures.doubted
        if skipped:
            for uid in matched.uids():
                # One that turned out to be there was stored after all.
                skipped.pop(uid, None)
            missing = missing.where(lambda item: item.uid not in skipped)
        if not doubted:
            return missing, ()
        known = (*comparison.missing.having(doubted), *matched.having(doubted))
        alike = {item.identity for item in known if item.identity != UNKNOWN}
        doubtful = [i for i in missing if i.uid in doubted or i.identity in alike]
        uids = {i.uid for i in doubtful}
        return missing.where(lambda item: item.uid not in uids), doubtful

    def _await_quiet(self, raw: bytes) -> None:
        """Wait until the destination folder stands still.

        A server may go on storing what it was sent although the connection broke. Nothing in IMAP
        tells when it is done, so the folder is watched for a while; one that others deliver to all
        the time is not waited for without end.
        """
        before: Standing | None = None
        quiet = waited = 0.0
        while quiet < _QUIET_SECONDS and waited < _LONGEST_QUIET_SECONDS:
            now = self._destination.standing(raw)
            if now is None:
                return  # opening it will say why
            quiet = quiet + _LOOK_SECONDS if now == before else 0.0
            before = now
            self._stop.pause(_LOOK_SECONDS)
            waited += _LOOK_SECONDS

    # --- flags

    def add_flags(self, matched: Pairs, target: Target) -> None:
        """Add what is missing, one command for all messages that lack the same."""
        lacking: dict[tuple[tuple[bytes, ...], tuple[bytes, ...]], tuple[bytes, ...]] = {}
        groups: defaultdict[tuple[bytes, ...], array[int]] = defaultdict(lambda: array("I"))
        for both, uid in zip(matched.flags(), matched.there.uids(), strict=True):
            if both not in lacking:
                here, there = both
                self._watch.keywords_refused(target.rules.dropped_keywords(here))
                lacking[both] = missing_flags(here, there, rules=target.rules)
            if lacking[both]:
                groups[lacking[both]].append(uid)
        for flags, uids in groups.items():
            self._stop.check()
            self._watch.flags_updated(self._add(uids, flags))

    def _add(self, uids: Sequence[int], flags: Sequence[bytes]) -> int:
        try:
            self._destination.add_flags(uids, flags)
        except CommandRefusedError:
            if len(flags) == 1:
                self._watch.keywords_refused([flag for flag in flags if is_keyword(flag)])
                return 0
            return max(self._add(uids, [flag]) for flag in flags)
        return len(uids)

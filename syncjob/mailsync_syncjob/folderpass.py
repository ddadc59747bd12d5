"""One folder: compare both sides, copy what is missing, add flags."""

from __future__ import annotations

from array import array
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from mailsync_syncjob.bothsides import UNKNOWN, BothSides
from mailsync_syncjob.copier import Target
from mailsync_syncjob.errors import CommandRefusedError, ConnectionLostError
from mailsync_syncjob.flags import is_keyword, missing_flags
from mailsync_syncjob.watching import FolderWatch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mailsync_syncjob.bothsides import Compared
    from mailsync_syncjob.compare import Comparison, Item, Pairs
    from mailsync_syncjob.copier import Copier
    from mailsync_syncjob.deadline import Stop
    from mailsync_syncjob.imap.session import Session
    from mailsync_syncjob.imap.survey import Standing
    from mailsync_syncjob.pace import Pacer
    from mailsync_syncjob.tracker import FolderFigures, Tracker

__all__ = ["FolderPass"]

_LOOK_SECONDS: Final = 0.5
_QUIET_SECONDS: Final = 2.5
_LONGEST_QUIET_SECONDS: Final = 60.0


class FolderPass:
    """Works on one folder."""

    def __init__(  # noqa: PLR0913  all that a folder's work needs
        self,
        *,
        source: Session,
        destination: Session,
        copier: Copier,
        figures: FolderFigures,
        tracker: Tracker,
        stop: Stop,
        pacer: Pacer | None = None,
    ) -> None:
        self._source = source
        self._destination = destination
        self._copier = copier
        self._figures = figures
        self._stop = stop
        self._watch = FolderWatch(figures, tracker)
        self._sides = BothSides(source, destination, watch=self._watch, stop=stop, pacer=pacer)

    def run(self, source_raw: bytes, destination_raw: bytes | None, *, dry_run: bool) -> None:
        """Bring the destination folder up to the source's.

        Parameters
        ----------
        destination_raw
            None for a folder that does not exist yet, which only a dry run meets.

        Raises
        ------
        CommandRefusedError
            One of the folders cannot be opened.
        EngineError
            The run cannot go on.
        """
        if self._figures.doubted and destination_raw is not None:
            self._await_quiet(destination_raw)
        compared = self._sides.compare(source_raw, destination_raw, read_only=dry_run)
        if dry_run:
            self._count_only(compared)
            return
        if destination_raw is None:
            raise RuntimeError("a folder to copy to")
        target = Target(destination_raw, compared.rules)
        sure, doubtful = self._split(compared.comparison)
        self._copy(sure, target)
        if sure and doubtful:
            # What the server stored late is there by now, if it is ever.
            compared = self._sides.compare(source_raw, destination_raw, read_only=False)
            doubtful = [item for part in self._split(compared.comparison) for item in part]
        self._copy(doubtful, target)
        self._watch.name_skipped(self._source)
        self._add_flags(compared.comparison.matched, target)

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

    def _copy(self, items: Sequence[Item], target: Target) -> None:
        try:
            self._copier.copy(items, target=target, watch=self._watch)
        except ConnectionLostError as error:
            self._watch.blame(error)
            raise

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

    def _add_flags(self, matched: Pairs, target: Target) -> None:
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

    def _count_only(self, compared: Compared) -> None:
        """Report what a run would do."""
        for item in compared.comparison.missing:
            self._watch.copied(item, item.size)
        self._watch.flags_updated(
            sum(
                bool(missing_flags(here, there, rules=compared.rules))
                for here, there in compared.comparison.matched.flags()
            )
        )

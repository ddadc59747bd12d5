"""One folder: compare both sides, copy what is missing, add flags."""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress
from dataclasses import replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from mailsync_api.report import SkippedMessage
from mailsync_syncjob.compare import Comparison, Item, compare, look_alikes
from mailsync_syncjob.copier import Target
from mailsync_syncjob.errors import (
    CommandRefusedError,
    ConnectionLostError,
    FolderGoneError,
    ProtocolError,
)
from mailsync_syncjob.flags import FlagRules, is_keyword, missing_flags
from mailsync_syncjob.identity import Identity, identify, identify_bare
from mailsync_syncjob.imap.fetch import FolderChanged
from mailsync_syncjob.texts import sanitise

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from mailsync_syncjob.copier import Copier
    from mailsync_syncjob.deadline import Stop
    from mailsync_syncjob.imap.fetch import Body, Metadata
    from mailsync_syncjob.imap.session import Session
    from mailsync_syncjob.tracker import FolderFigures, Tracker

__all__ = ["FolderPass"]

_ATTEMPTS: Final = 4
_MOST_NAMED: Final = 1000
_MOST_BROKEN: Final = 3
_DIGEST_BYTES: Final = 16
_LOOK_SECONDS: Final = 0.5
_QUIET_SECONDS: Final = 2.5
_LONGEST_QUIET_SECONDS: Final = 60.0
_UNKNOWN: Final = Identity(message_id=None, headers=None, sent=None)


class FolderPass:
    """Works on one folder; is also who follows the copying of its messages."""

    def __init__(  # noqa: PLR0913  all that a folder's work needs
        self,
        *,
        source: Session,
        destination: Session,
        copier: Copier,
        figures: FolderFigures,
        tracker: Tracker,
        stop: Stop,
    ) -> None:
        self._source = source
        self._destination = destination
        self._copier = copier
        self._figures = figures
        self._tracker = tracker
        self._stop = stop

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
        comparison, rules = self._read_both(source_raw, destination_raw, read_only=dry_run)
        if dry_run:
            self._count_only(comparison, rules)
            return
        if destination_raw is None:
            raise RuntimeError("a folder to copy to")
        target = Target(destination_raw, rules)
        sure, doubtful = self._split(comparison)
        self._copy(sure, target)
        if sure and doubtful:
            # What the server stored late is there by now, if it is ever.
            comparison, _ = self._read_both(source_raw, destination_raw, read_only=False)
            doubtful = [item for part in self._split(comparison) for item in part]
        self._copy(doubtful, target)
        self._name_skipped()
        self._add_flags(comparison.matched, target)

    def _split(self, comparison: Comparison) -> tuple[list[Item], list[Item]]:
        """Return the missing messages: those that surely are, and those that may be stored yet.

        With a message whose answer never came, all that look like it are in doubt: which of them
        the destination has is not known.
        """
        for item, _ in comparison.matched:
            # One that turned out to be there was stored after all.
            self._figures.skipped.pop(item.uid, None)
        missing = [i for i in comparison.missing if i.uid not in self._figures.skipped]
        doubted = self._figures.doubted
        if not doubted:
            return missing, []
        items = (*comparison.missing, *(item for item, _ in comparison.matched))
        alike = {i.identity for i in items if i.uid in doubted and i.identity is not _UNKNOWN}
        doubtful = [i for i in missing if i.uid in doubted or i.identity in alike]
        uids = {i.uid for i in doubtful}
        return [i for i in missing if i.uid not in uids], doubtful

    def _copy(self, items: Sequence[Item], target: Target) -> None:
        try:
            self._copier.copy(items, target=target, watch=self)
        except ConnectionLostError as error:
            self._blame(error)
            raise

    def _await_quiet(self, raw: bytes) -> None:
        """Wait until the destination folder stands still.

        A server may go on storing what it was sent although the connection broke. Nothing in IMAP
        tells when it is done, so the folder is watched for a while; one that others deliver to all
        the time is not waited for without end.
        """
        before: tuple[int, int | None] | None = None
        quiet = waited = 0.0
        while quiet < _QUIET_SECONDS and waited < _LONGEST_QUIET_SECONDS:
            try:
                now = self._destination.standing(raw)
            except CommandRefusedError:
                return  # opening it will say why
            quiet = quiet + _LOOK_SECONDS if now == before else 0.0
            before = now
            self._stop.pause(_LOOK_SECONDS)
            waited += _LOOK_SECONDS

    # --- reading

    def _read_both(
        self, source_raw: bytes, destination_raw: bytes | None, *, read_only: bool
    ) -> tuple[Comparison, FlagRules]:
        there: list[Item] = []
        rules = FlagRules(None)
        if destination_raw is not None:
            there, permanent = self._read(
                self._destination, destination_raw, read_only=read_only, brief=False
            )
            # EXAMINE says that no flags can be changed, which a dry run does not ask about.
            rules = FlagRules.of(None if read_only else permanent)
        here, _ = self._read(self._source, source_raw, read_only=True, brief=not there)
        comparison = compare(here, there)
        ours, theirs = look_alikes(comparison)
        if ours:
            comparison = compare(
                _with_digests(self._source, here, ours),
                _with_digests(self._destination, there, theirs),
            )
        matched = [item for item, _ in comparison.matched]
        self._figures.compared(
            messages=len(here) + len(self._figures.skipped.keys() - {i.uid for i in here}),
            bytes_total=sum(item.size for item in here),
            matched=len(matched),
            matched_bytes=sum(item.size for item in matched),
            extra=comparison.extra,
        )
        self._tracker.tick()
        return comparison, rules

    def _read(
        self, session: Session, raw: bytes, *, read_only: bool, brief: bool
    ) -> tuple[list[Item], tuple[bytes, ...] | None]:
        """Return a folder's messages and its PERMANENTFLAGS."""
        exists = 0
        items: list[Item] = []
        for attempt in range(_ATTEMPTS):
            opened = session.open(raw, read_only=read_only)
            exists = opened.exists
            try:
                items = self._items(session, exists, brief=brief)
            except FolderChanged:
                continue
            # Fewer than announced: somebody deletes, or the server does not answer for some.
            if len(items) == exists or attempt == _ATTEMPTS - 1:
                self._check_complete(session, exists, listed=len(items))
                return items, opened.permanent_flags
        raise ProtocolError(
            f"{session.side}: the folder changes faster than it can be read", side=session.side
        )

    def _items(self, session: Session, count: int, *, brief: bool) -> list[Item]:
        items: list[Item] = []
        bare: dict[int, int] = {}
        read = session.reader.brief if brief else session.reader.metadata
        interned: dict[tuple[bytes, ...], tuple[bytes, ...]] = {}
        for window in read(count):
            self._stop.check()
            for one in window:
                identity = _UNKNOWN if brief else identify(one.header)
                if not brief and identity.bare:
                    bare[one.uid] = len(items)
                items.append(_item(one, identity, interned.setdefault(one.flags, one.flags)))
            self._tracker.tick()
        for uid, header in (session.reader.headers(list(bare)) if bare else {}).items():
            if uid in bare:
                old = items[bare[uid]]
                items[bare[uid]] = Item(
                    old.uid, old.size, old.date, old.flags, identify_bare(header)
                )
        return items

    def _check_complete(self, session: Session, exists: int, *, listed: int) -> None:
        if listed == exists:
            return
        if session is self._destination:
            # Whatever it hides would be copied again.
            raise ProtocolError(
                f"{session.side}: of {exists} messages in {self._figures.destination} the server "
                f"lists only {listed}",
                side=session.side,
            )
        for number in range(exists - listed):
            self._skip(("unlisted", number), uid=0, size=0, reason="the source does not list it")

    def _blame(self, error: ConnectionLostError) -> None:
        """Remember what was being stored when a connection broke.

        One message at which it has broken too often is skipped, so that others can still be copied:
        some servers hang up on what they cannot store instead of refusing it. Of several it is not
        known which it was, so that they are stored singly from now on.
        """
        in_flight = frozenset(self._figures.in_flight)
        self._figures.in_flight.clear()
        if isinstance(error, FolderGoneError):
            return
        self._figures.doubted |= in_flight
        if len(in_flight) != 1:
            return
        (uid,) = in_flight
        self._figures.broke[uid] += 1
        if self._figures.broke[uid] >= _MOST_BROKEN:
            reason = f"the connection broke each time that it was stored: {error.message}"
            self._skip(uid, uid=uid, size=0, reason=reason)

    # --- copying; the methods of copier.Watch

    def suspected(self, item: Item) -> bool:
        """Whether a connection broke at this message, alone or with others."""
        return item.uid in self._figures.doubted

    def storing(self, item: Item, *, alone: bool = True) -> None:
        """Remember a message in case that the connection breaks at it."""
        if alone:
            self._figures.in_flight.clear()
        self._figures.in_flight.add(item.uid)

    def copied(self, item: Item, size: int) -> None:  # noqa: ARG002  what the source counts is told
        """Count a message that is stored."""
        self._figures.in_flight.discard(item.uid)
        self._figures.copied += 1
        self._figures.copied_bytes += item.size
        self._tracker.tick()

    def skipped(self, item: Item, reason: str) -> None:
        """Note a message that cannot be copied."""
        self._skip(item.uid, uid=item.uid, size=item.size, reason=reason)
        self._tracker.tick()

    def vanished(self, item: Item) -> None:
        """Leave out a message that was deleted at the source meanwhile."""
        self._figures.messages -= 1
        if self._figures.bytes_total is not None:
            self._figures.bytes_total -= item.size

    def keywords_refused(self, keywords: Sequence[bytes]) -> None:
        """Note keywords that the destination does not keep."""
        self._figures.keywords_refused.update(sanitise(word) for word in keywords)

    def _skip(self, key: object, *, uid: int, size: int, reason: str) -> None:
        self._figures.in_flight.discard(uid)
        self._figures.skipped[key] = SkippedMessage(
            folder=self._figures.source, uid=uid, size=size, reason=reason
        )

    def _name_skipped(self) -> None:
        """Add the Message-IDs of skipped messages, by which their senders know them."""
        skipped = self._figures.skipped
        uids = [m.uid for m in skipped.values() if m.uid and m.message_id is None]
        try:
            headers = self._source.reader.message_ids(uids[:_MOST_NAMED])
        except CommandRefusedError:
            return  # a source that cannot send a message may not send its header either
        for key, message in skipped.items():
            if message.uid in headers:
                _, _, value = headers[message.uid].partition(b":")
                skipped[key] = message.model_copy(update={"message_id": sanitise(value)})

    # --- flags

    def _add_flags(self, matched: Sequence[tuple[Item, Item]], target: Target) -> None:
        """Add what is missing, one command for all messages that lack the same."""
        groups: defaultdict[tuple[bytes, ...], list[int]] = defaultdict(list)
        for here, there in matched:
            self.keywords_refused(target.rules.dropped_keywords(here.flags))
            lacking = missing_flags(here.flags, there.flags, rules=target.rules)
            if lacking:
                groups[lacking].append(there.uid)
        for flags, uids in groups.items():
            self._stop.check()
            self._figures.flags_updated += self._add(uids, flags)
            self._tracker.tick()

    def _add(self, uids: Sequence[int], flags: Sequence[bytes]) -> int:
        try:
            self._destination.add_flags(uids, flags)
        except CommandRefusedError:
            if len(flags) == 1:
                self.keywords_refused([flag for flag in flags if is_keyword(flag)])
                return 0
            return max(self._add(uids, [flag]) for flag in flags)
        return len(uids)

    def _count_only(self, comparison: Comparison, rules: FlagRules) -> None:
        """Report what a run would do."""
        for item in comparison.missing:
            self._figures.copied += 1
            self._figures.copied_bytes += item.size
        self._figures.flags_updated = sum(
            bool(missing_flags(here.flags, there.flags, rules=rules))
            for here, there in comparison.matched
        )


def _with_digests(session: Session, items: Sequence[Item], uids: Collection[int]) -> list[Item]:
    """Return the items, those of these UIDs with digests; the folder is selected."""
    digests: dict[int, bytes] = {}
    # What the server refuses in company is asked for alone.
    for wanted in (sorted(uids), *([uid] for uid in sorted(uids))):
        if wanted[0] not in digests:
            with suppress(CommandRefusedError):
                digests |= {body.uid: _digest(body) for body in session.reader.bodies(wanted)}
    return [replace(i, digest=digests[i.uid]) if i.uid in digests else i for i in items]


def _digest(body: Body) -> bytes:
    digest = blake2b(digest_size=_DIGEST_BYTES)
    for chunk in body.chunks():
        digest.update(chunk)
    return digest.digest()


def _item(one: Metadata, identity: Identity, flags: tuple[bytes, ...]) -> Item:
    return Item(one.uid, one.size, one.date, flags, identity)

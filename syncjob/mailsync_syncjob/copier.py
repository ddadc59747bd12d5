"""Copying messages of one folder: one at a time, each confirmed before the next is stored.

``Copier`` is the seam at which a faster pipeline takes over; plan, comparison and report know
nothing else of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from mailsync_syncjob.errors import CommandRefusedError, FolderGoneError
from mailsync_syncjob.flags import is_keyword
from mailsync_syncjob.imap.syntax import date_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mailsync_syncjob.compare import Item
    from mailsync_syncjob.deadline import Stop
    from mailsync_syncjob.flags import FlagRules
    from mailsync_syncjob.imap.fetch import Body
    from mailsync_syncjob.imap.session import Session

__all__ = ["Copier", "SequentialCopier", "Target", "Watch"]

_BATCH_MESSAGES: Final = 200
_BATCH_BYTES: Final = 64 << 20


@dataclass(slots=True)
class Target:
    """The destination folder; it is selected."""

    raw: bytes
    rules: FlagRules
    """What flags it keeps; narrowed when it refuses some."""


class Watch(Protocol):
    """Who follows the copying."""

    def copied(self, item: Item, size: int) -> None:
        """Take note that a message is stored. May raise to stop the copying."""

    def skipped(self, item: Item, reason: str) -> None:
        """Take note that a message cannot be copied. May raise to stop the copying."""

    def vanished(self, item: Item) -> None:
        """Take note that a message was deleted at the source meanwhile."""

    def keywords_refused(self, keywords: Sequence[bytes]) -> None:
        """Take note that the destination does not keep these keywords."""


class Copier(Protocol):
    """Copies messages of the folders that are selected on both sides."""

    def copy(self, items: Sequence[Item], *, target: Target, watch: Watch) -> None:
        """Copy these messages and tell ``watch`` of each.

        Raises
        ------
        EngineError
            The copying cannot go on. What ``watch`` was told of is stored; a message in flight may
            or may not be.
        """


class SequentialCopier:
    """One connection a side, many messages a FETCH, one APPEND in flight."""

    def __init__(self, source: Session, destination: Session, *, stop: Stop) -> None:
        self._source = source
        self._destination = destination
        self._stop = stop

    def copy(self, items: Sequence[Item], *, target: Target, watch: Watch) -> None:
        """Copy these messages and tell ``watch`` of each."""
        for batch in _batches(items):
            left = self._pass(batch, target=target, watch=watch)
            # What the source refused in company, or did not send, is asked for alone.
            for item in left.values():
                self._singly(item, target=target, watch=watch)

    def _pass(self, batch: Sequence[Item], *, target: Target, watch: Watch) -> dict[int, Item]:
        """Copy a batch and return what is left of it, by UID."""
        left = {item.uid: item for item in batch}
        bodies = self._source.reader.bodies([item.uid for item in batch])
        while True:
            try:
                body = next(bodies, None)
            except CommandRefusedError:
                return left
            if body is None:
                return left
            item = left[body.uid]
            if body.size == 0 < item.size:
                continue  # a glitch of some servers; alone they send it
            if self._store(item, body, target=target, watch=watch):
                del left[body.uid]

    def _singly(self, item: Item, *, target: Target, watch: Watch) -> None:
        reader = self._source.reader
        reason = "the source sends no content for it"
        # Twice: a large message is not held, so a second way to store it needs it sent again.
        for _ in range(2):
            stored = False
            try:
                # To the end also when it is stored: the rest of the answer must be read.
                for body in reader.bodies([item.uid]):
                    if not stored and (body.size or not item.size):
                        stored = self._store(item, body, target=target, watch=watch, last=True)
            except CommandRefusedError as error:
                reason = f"the source refuses to send it: {error.text}"
            if stored:
                return
        if reader.present(item.uid):
            watch.skipped(item, reason)
        else:
            watch.vanished(item)

    def _store(
        self, item: Item, body: Body, *, target: Target, watch: Watch, last: bool = False
    ) -> bool:
        """Store a message; false to be given it once more."""
        with self._stop.storing():
            return self._try_to_store(item, body, target=target, watch=watch, last=last)

    def _try_to_store(
        self, item: Item, body: Body, *, target: Target, watch: Watch, last: bool
    ) -> bool:
        """Store a message, without its keywords if need be."""
        date = date_time(*item.date) if item.date else None
        flags = target.rules.kept(item.flags)
        keywords = tuple(flag for flag in flags if is_keyword(flag))
        writer = self._destination.writer
        try:
            writer.append(target.raw, body, flags=flags, date=date)
        except CommandRefusedError as error:
            if error.code == "TRYCREATE":
                raise FolderGoneError(
                    f"{error.side}: a folder was deleted while messages were copied to it",
                    side=error.side,
                ) from None
            if not keywords:
                watch.skipped(item, error.text)
                return True
            if body.data is None:
                # It is passed through and gone: it comes again, then without these keywords.
                self._refuse(keywords, target=target, watch=watch)
                if last:
                    watch.skipped(item, error.text)
                return last
        else:
            watch.copied(item, body.size)
            return True
        plain = tuple(flag for flag in flags if not is_keyword(flag))
        try:
            stored = writer.append(target.raw, body, flags=plain, date=date)
        except CommandRefusedError as error:
            watch.skipped(item, error.text)
            return True
        self._try_keywords(stored.uid, keywords, target=target, watch=watch)
        watch.copied(item, body.size)
        return True

    def _try_keywords(
        self, uid: int | None, keywords: tuple[bytes, ...], *, target: Target, watch: Watch
    ) -> None:
        """Find out which keywords the destination does not take; the message is stored."""
        refused = list(keywords)
        if uid is not None:
            for keyword in keywords:
                try:
                    self._destination.add_flags([uid], [keyword])
                except CommandRefusedError:
                    continue
                refused.remove(keyword)
        self._refuse(refused, target=target, watch=watch)

    def _refuse(self, keywords: Sequence[bytes], *, target: Target, watch: Watch) -> None:
        target.rules = target.rules.without(keywords)
        if keywords:
            watch.keywords_refused(keywords)


def _batches(items: Sequence[Item]) -> Iterator[list[Item]]:
    """Cut by number and by size; a huge message is alone."""
    batch: list[Item] = []
    size = 0
    for item in items:
        full = len(batch) >= _BATCH_MESSAGES or size + item.size > _BATCH_BYTES
        if batch and full:
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += item.size
    if batch:
        yield batch

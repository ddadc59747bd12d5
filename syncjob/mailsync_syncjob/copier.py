"""Copying messages of one folder: one at a time, each confirmed before the next is stored.

``Copier`` is the seam at which a faster pipeline takes over; plan, comparison and report know
nothing else of it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Final, Protocol

from mailsync_syncjob.batching import fetch_batches
from mailsync_syncjob.errors import (
    CommandRefusedError,
    ConnectionLostError,
    FolderGoneError,
    ThrottledError,
    UnreachableError,
)
from mailsync_syncjob.flags import is_keyword
from mailsync_syncjob.imap.syntax import date_time
from mailsync_syncjob.pace import Pacer

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mailsync_syncjob.compare import Item
    from mailsync_syncjob.deadline import Stop
    from mailsync_syncjob.flags import FlagRules
    from mailsync_syncjob.imap.append import Appended
    from mailsync_syncjob.imap.fetch import Body
    from mailsync_syncjob.imap.session import Session

__all__ = ["Copier", "SequentialCopier", "Target", "Watch", "check_folder"]

_WAITS: Final = (1.0, 3.0)
_MOST_UNABLE: Final = 5


@dataclass(slots=True)
class Target:
    """The destination folder; it is selected."""

    raw: bytes
    rules: FlagRules
    """What flags it keeps; narrowed when it refuses some."""


class Watch(Protocol):
    """Who follows the copying."""

    def suspected(self, item: Item) -> bool:
        """Whether a connection broke at this message and others; it is to be stored alone."""

    def storing(self, item: Item, *, alone: bool = True) -> None:
        """Take note that a message is about to be stored, with those before it or alone."""

    def copied(self, item: Item, size: int) -> None:
        """Take note that a message is stored."""

    def skipped(self, item: Item, reason: str) -> None:
        """Take note that a message cannot be copied."""

    def vanished(self, item: Item) -> None:
        """Take note that a message was deleted at the source meanwhile."""

    def keywords_refused(self, keywords: Sequence[bytes]) -> None:
        """Take note that the destination does not keep these keywords."""


class Copier(Protocol):
    """Copies messages of the folders that are selected on both sides."""

    def copy(self, shares: Iterable[Sequence[Item]], *, target: Target, watch: Watch) -> None:
        """Copy these messages, each share as it is due, and tell ``watch`` of each.

        Raises
        ------
        EngineError
            The copying cannot go on. What ``watch`` was told of is stored; a message in flight may
            or may not be.
        """


class SequentialCopier:
    """One connection a side, many messages a FETCH, one APPEND in flight."""

    def __init__(
        self, source: Session, destination: Session, *, stop: Stop, pacer: Pacer | None = None
    ) -> None:
        self._source = source
        self._destination = destination
        self._stop = stop
        self._pacer = pacer or Pacer(clock=stop.clock)
        self._without_keywords: set[int] = set()
        """UIDs of messages to be stored without keywords, after a refusal with them."""
        self._waited: Counter[int] = Counter()
        """How often a message that is not held was waited for, by UID."""
        self._unable = 0
        """How many messages in a row the destination was temporarily unable to store."""
        self._unready = 0
        """How often in a row the source was temporarily unable to send a message."""

    def copy(self, shares: Iterable[Sequence[Item]], *, target: Target, watch: Watch) -> None:
        """Copy these messages and tell ``watch`` of each."""
        for batch in chain.from_iterable(map(fetch_batches, shares)):
            left = self._pass(batch, target=target, watch=watch)
            # What the source refused in company, or did not send, is asked for alone.
            for item in left.values():
                self.fetch(item, target=target, watch=watch)

    def _pass(self, batch: Sequence[Item], *, target: Target, watch: Watch) -> dict[int, Item]:
        """Copy a batch and return what is left of it, by UID."""
        left = {item.uid: item for item in batch}
        self._await_turn(batch)
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
            if self.store(item, body, target=target, watch=watch):
                del left[body.uid]

    def fetch(self, item: Item, *, target: Target, watch: Watch) -> None:
        """Fetch a message alone, and store it."""
        reader = self._source.reader
        empty = False
        reason = "the source sends no content for it"
        # Again: a large message is not held, so another attempt to store it needs it sent again.
        for _ in range(2 + len(_WAITS)):
            stored = given = False
            self._await_turn([item])
            try:
                # To the end also when it is stored: the rest of the answer must be read.
                for body in reader.bodies([item.uid]):
                    if not stored and (body.size or not item.size):
                        given = True
                        stored = self.store(item, body, target=target, watch=watch)
            except CommandRefusedError as error:
                reason = f"the source refuses to send it: {error.text}"
                if error.temporary:
                    self._await_source(error)
            if stored:
                return
            if not given and empty:
                break
            empty = not given
        if reader.present(item.uid):
            watch.skipped(item, reason)
            self._stop.check()
        else:
            watch.vanished(item)

    def _await_turn(self, batch: Sequence[Item]) -> None:
        size = sum(item.size for item in batch)
        self._stop.pause(self._pacer.admit(messages=len(batch), size=size))

    def store(
        self,
        item: Item,
        body: Body,
        *,
        target: Target,
        watch: Watch,
        refusal: CommandRefusedError | None = None,
    ) -> bool:
        """Store or skip a message; false to be given it once more.

        Parameters
        ----------
        refusal
            Why it was refused already, as it is: another attempt would be in vain.
        """
        watch.storing(item)
        with self._stop.storing():
            if refusal is None:
                refusal = self._append(item, body, target=target, watch=watch)
            again = refusal is not None and self._comes_again(item, body, refusal)
            # The server does not say which part it dislikes: keywords are what it can do without.
            if (
                refusal is not None
                and not again
                and item.uid not in self._without_keywords
                and any(is_keyword(flag) for flag in target.rules.kept(item.flags))
            ):
                self._without_keywords.add(item.uid)
                if body.data is None:
                    return False  # it was passed through and is gone
                refusal = self._append(item, body, target=target, watch=watch)
        if again:
            self._stop.pause(_WAITS[self._waited[item.uid] - 1])
            return False
        if refusal is not None:
            self._check_able(refusal)
            watch.skipped(item, refusal.text)
        self._stop.check()
        return True

    def _comes_again(self, item: Item, body: Body, refusal: CommandRefusedError) -> bool:
        """Whether a message that passed through is worth being sent once more, after a while."""
        if not refusal.temporary or body.data is not None or self._waited[item.uid] >= len(_WAITS):
            return False
        self._waited[item.uid] += 1
        return True

    def _append(
        self, item: Item, body: Body, *, target: Target, watch: Watch
    ) -> CommandRefusedError | None:
        """Store a message; return why it was refused."""
        flags = target.rules.kept(item.flags)
        held_back: tuple[bytes, ...] = ()
        if item.uid in self._without_keywords:
            held_back = tuple(flag for flag in flags if is_keyword(flag))
            flags = tuple(flag for flag in flags if not is_keyword(flag))
        try:
            stored = self._append_patiently(item, body, target=target, flags=flags)
        except CommandRefusedError as error:
            check_folder(error)
            return error
        if held_back:
            self._try_keywords(stored.uid, held_back, target=target, watch=watch)
        self._unable = self._unready = 0
        watch.copied(item, body.size)
        return None

    def _append_patiently(
        self, item: Item, body: Body, *, target: Target, flags: Sequence[bytes]
    ) -> Appended:
        """Store a message, a few times while the server says that it is only now unable to."""
        date = date_time(*item.date) if item.date else None
        waits = list(_WAITS)
        while True:
            try:
                return self._destination.writer.append(target.raw, body, flags=flags, date=date)
            except CommandRefusedError as error:
                if not (error.temporary and waits and body.data is not None):
                    raise
                self._stop.pause(waits.pop(0))

    def _await_source(self, refusal: CommandRefusedError) -> None:
        """Wait for a source that is temporarily unable; ask for a rest if it stays so."""
        self._unready += 1
        if self._unready > _MOST_UNABLE:
            raise ThrottledError(refusal.message, side=refusal.side)
        self._stop.pause(_WAITS[0])

    def _check_able(self, refusal: CommandRefusedError) -> None:
        """Give up on a server that is temporarily unable to store anything.

        With a bug of its own it may be only this session that is spoilt: Dovecot's are, whose
        folder was deleted and made anew by somebody else.
        """
        if refusal.code == "SERVERBUG":
            raise ConnectionLostError(
                f"{refusal.side}: the server has an internal fault: {refusal.text}",
                side=refusal.side,
                said=True,
            )
        self._unable = self._unable + 1 if refusal.temporary else 0
        if self._unable > _MOST_UNABLE:
            raise UnreachableError(
                f"{refusal.side}: the server is temporarily unable to store messages: "
                f"{refusal.text}",
                side=refusal.side,
            )

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


def check_folder(error: CommandRefusedError) -> None:
    """Raise ``FolderGoneError`` if a message was refused because its folder is gone."""
    if error.code == "TRYCREATE":
        raise FolderGoneError(
            f"{error.side}: a folder was deleted while messages were copied to it",
            side=error.side,
        ) from None

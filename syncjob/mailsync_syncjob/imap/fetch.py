"""Reading messages: metadata in windows, bodies as a stream.

Windows are of message numbers, not UIDs: numbers have no holes, and while FETCH commands follow
each other they cannot shift (RFC 9051 section 7.5.1 forbids EXPUNGE during FETCH).
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from mailsync_syncjob.errors import CommandRefusedError
from mailsync_syncjob.identity import UNKNOWN, Identity, identify
from mailsync_syncjob.imap.channel import MAX_LONG_ANSWER, MAX_UNTAGGED, Command, Response
from mailsync_syncjob.imap.parse import FetchItems, parse_any_fetch, parse_fetch
from mailsync_syncjob.imap.syntax import parse_date_time, sequence_sets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mailsync_syncjob.deadline import Patience
    from mailsync_syncjob.imap.channel import Channel

__all__ = [
    "IDENTITY_HEADERS",
    "MOST_OF_WINDOW",
    "WINDOW",
    "Body",
    "FolderChanged",
    "Metadata",
    "Reader",
]

IDENTITY_HEADERS: Final = (b"MESSAGE-ID", b"DATE", b"FROM", b"TO", b"CC", b"SUBJECT")
"""The header fields that a message is recognised by."""

_BRIEF: Final = b"(UID FLAGS INTERNALDATE RFC822.SIZE)"
_WITH_HEADERS: Final = b"(UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[HEADER.FIELDS (%s)])" % (
    b" ".join(IDENTITY_HEADERS)
)
WINDOW: Final = 1000
"""How many messages are asked for in one FETCH of metadata."""
# A window's headers are not held. Those of mail to thousands of people take 100 KB each.
MOST_OF_WINDOW: Final = max(MAX_LONG_ANSWER, WINDOW << 18)
"""How many bytes may answer it."""
_CHANGES: Final = 50_000
"""Of so many messages at a time it is asked what has changed, which is little as a rule."""
_CHUNK: Final = 1 << 16
_BODY_LITERAL: Final = re.compile(rb"BODY\[(?:HEADER)?\] ~?\{\d+\+?\}$", re.IGNORECASE)
_EXPUNGE: Final = re.compile(rb"\d+ EXPUNGE$", re.IGNORECASE)


class FolderChanged(Exception):  # noqa: N818  not an error: the folder is read again
    """Message numbers shifted while the folder was read."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a folder's listing says of one message."""

    uid: int
    size: int
    date: tuple[int, int] | None
    """Seconds since 1970 and the zone's offset in minutes; None where the server's was none."""
    flags: tuple[bytes, ...]
    identity: Identity
    """Of its identity headers, where they were asked for."""


@dataclass(slots=True)
class Body:
    """A message's bytes: held, or passed through from the connection as they come."""

    uid: int
    size: int
    data: bytes | None = None
    _channel: Channel | None = None
    _patience: Patience | None = None
    _left: int = field(default=0)

    def chunks(self) -> Iterator[bytes]:
        """Yield all bytes; those of a streamed body only once."""
        if self.data is not None:
            yield self.data
            return
        if self._channel is None or self._patience is None:
            raise RuntimeError("a streamed body without a connection")
        while self._left:
            with self._channel.wire.within(self._patience.command):
                chunk = self._channel.wire.read_some(min(_CHUNK, self._left))
            self._left -= len(chunk)
            yield chunk

    def drain(self) -> None:
        """Read and drop what nobody read, so that the connection can go on."""
        if self.data is None:
            for _ in self.chunks():
                pass


@dataclass(slots=True)
class _Asked:
    """A window that was asked for, and its answers when they have been read."""

    command: Command
    tag: bytes
    answers: dict[int, FetchItems] | None = None
    identities: dict[int, Identity] = field(default_factory=dict)


class Reader:
    """Reads messages of the selected folder.

    Parameters
    ----------
    hold_bytes
        Messages up to this size are held in memory, larger ones are passed through.
    """

    def __init__(self, channel: Channel, *, patience: Patience, hold_bytes: int) -> None:
        self._channel = channel
        self._patience = patience
        self._hold = hold_bytes
        self._ahead: _Asked | None = None

    def first(self, count: int, *, brief: bool) -> Command:
        """Return the command for the first window of so many messages, to be sent with others."""
        return _window_command(_window(1, count), _BRIEF if brief else _WITH_HEADERS)

    def expect(self, command: Command, tag: bytes) -> None:
        """Take note that a window was asked for; its answer is the next one that is due."""
        self._ahead = _Asked(command, tag)

    def forget(self) -> None:
        """Read and drop what was asked for ahead and nobody wants any more."""
        with suppress(FolderChanged):
            self._settle()
        self._ahead = None

    def metadata(self, count: int) -> Iterator[list[Metadata]]:
        """Yield the metadata of messages 1 to ``count`` in windows.

        Numbers that the server gives no answer for are asked for once more; those that stay
        unanswered are missing from the window.

        Raises
        ------
        FolderChanged
            Message numbers shifted; start again.
        """
        return self._windows(count, _WITH_HEADERS)

    def brief(self, count: int, *, start: int = 1) -> Iterator[list[Metadata]]:
        """Yield metadata without headers: for messages whose copies cannot exist yet."""
        return self._windows(count, _BRIEF, start=start)

    def changed(self, count: int, *, since: int) -> bool:
        """Whether flags of messages 1 to ``count`` have changed since a modification sequence.

        Raises
        ------
        CommandRefusedError
            The server does not know them after all.
        FolderChanged
            Message numbers shifted; start again.
        """
        wanted = b"(UID FLAGS) (CHANGEDSINCE %d)" % since  # RFC 7162 section 3.1.4.1
        for first in range(1, count + 1, _CHANGES):
            last = min(first + _CHANGES - 1, count)
            answers = self._listing(b"FETCH", b"%d:%d" % (first, last), wanted)
            if any(first <= number <= last for number in answers):
                return True
        return False

    def _windows(self, count: int, wanted: bytes, *, start: int = 1) -> Iterator[list[Metadata]]:
        for first in range(start, count + 1, WINDOW):
            window = _window(first, count)
            asked = self._ask(_window_command(window, wanted))
            if window.stop <= count:
                # The server is at the next window while this one is read and taken apart.
                following = _window_command(_window(window.stop, count), wanted)
                self._ahead = self._ask(following)
            try:
                found = _of(window, self._answers(asked))
                for text in sequence_sets([n for n in window if n not in found]):
                    again = self._listing(b"FETCH", text, wanted, identities=asked.identities)
                    found |= _of(window, again)
            except (CommandRefusedError, FolderChanged):
                self.forget()
                raise
            identities = asked.identities
            yield [self._complete(found[n], identities.get(n, UNKNOWN)) for n in sorted(found)]

    def _ask(self, command: Command) -> _Asked:
        """Ask for a window, unless that was done ahead."""
        ahead = self._ahead
        if ahead is not None and ahead.command == command:
            self._ahead = None
            return ahead
        self._settle()
        self._ahead = None
        with self._channel.wire.within(self._patience.command):
            return _Asked(command, self._channel.send(*command.words))

    def _answers(self, asked: _Asked) -> dict[int, FetchItems]:
        if asked.answers is None:
            with self._channel.wire.within(self._patience.window, at_most=MOST_OF_WINDOW):
                asked.answers = self._fetched(asked.tag, asked.identities)
        return asked.answers

    def _settle(self) -> None:
        """Read the answers to what was asked for ahead, so that something else can be said."""
        if self._ahead is not None and self._ahead.answers is None:
            try:
                self._answers(self._ahead)
            except CommandRefusedError:
                self._ahead.answers = {}  # asked for again where it matters, it says why

    def headers(self, uids: Sequence[int]) -> Iterator[Body]:
        """Yield whole headers as if they were bodies; a message that is gone is left out."""
        return self._parts(uids, b"HEADER", _no_matter)

    def message_ids(self, uids: Sequence[int]) -> dict[int, bytes]:
        """Return the Message-ID header fields by UID, as they came."""
        result: dict[int, bytes] = {}
        wanted = b"(UID BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])"
        for numbers in sequence_sets(uids):
            for items in self._listing(b"UID FETCH", numbers, wanted).values():
                if items.uid is not None and items.body:
                    result[items.uid] = items.body
        return result

    def present(self, uid: int) -> bool:
        """Whether the folder still has a message of this UID."""
        found = self._listing(b"UID FETCH", b"%d" % uid, b"(UID)")
        return any(items.uid == uid for items in found.values())

    def _listing(
        self,
        verb: bytes,
        numbers: bytes,
        wanted: bytes,
        *,
        identities: dict[int, Identity] | None = None,
    ) -> dict[int, FetchItems]:
        """Return the answers by message number; several for one number are merged."""
        self._settle()
        with self._channel.wire.within(self._patience.window, at_most=MOST_OF_WINDOW):
            tag = self._channel.send(verb, numbers, wanted)
            return self._fetched(tag, identities)

    def _fetched(self, tag: bytes, identities: dict[int, Identity] | None) -> dict[int, FetchItems]:
        """Read a command's answers.

        Parameters
        ----------
        identities
            Where to put what headers tell of a message, instead of keeping them: they may be large.
        """
        found: dict[int, FetchItems] = {}
        changed = False
        count = 0
        while isinstance(response := self._channel.next_answer(tag, command="FETCH"), Response):
            count += 1
            if count > MAX_UNTAGGED:
                raise self._channel.violation(f"more than {MAX_UNTAGGED} answers to FETCH")
            items = self._items(response.parts)
            if items is None:
                # The connection is of use only at the command's end.
                changed = changed or bool(_EXPUNGE.fullmatch(response.text))
            elif items.uid is not None:
                if identities is not None and items.has_body:
                    identities[items.sequence] = identify(items.body or b"")
                    items = items._replace(body=None)
                found[items.sequence] = _merge(found.get(items.sequence), items)
            elif items.has_body or items.size is not None:
                raise self._channel.violation("FETCH data without the UID that was asked for")
            # else: news of a flag, which nobody asked for
        if changed:
            raise FolderChanged
        return found

    def _items(self, parts: list[bytes], *, partial: bool = False) -> FetchItems | None:
        try:
            return parse_any_fetch(parts, partial=True) if partial else parse_fetch(parts)
        except ValueError as error:
            raise self._channel.violation(f"a FETCH answer that is none: {error}") from None

    def _complete(self, items: FetchItems, identity: Identity) -> Metadata:
        return Metadata(
            uid=items.uid or 0,
            size=items.size or 0,
            date=parse_date_time(items.internal_date) if items.internal_date else None,
            flags=items.flags or (),
            identity=identity,
        )

    def bodies(
        self, uids: Sequence[int], *, reserve: Callable[[int], None] | None = None
    ) -> Iterator[Body]:
        """Yield the bodies of these messages in the server's order.

        Messages that are missing are left out. A body that is not held must be used before the next
        one is asked for.

        Parameters
        ----------
        reserve
            Called with a body's size before it is read into memory; may wait for room.

        Raises
        ------
        CommandRefusedError
            The server cannot send one of them; those before it were yielded.
        """
        return self._parts(uids, b"", reserve or _no_matter)

    def _parts(
        self,
        uids: Sequence[int],
        section: bytes,
        reserve: Callable[[int], None],
    ) -> Iterator[Body]:
        pending = set(uids)
        wanted = b"(UID BODY.PEEK[%s])" % section
        for numbers in sequence_sets(uids):
            yield from self._stream(numbers, wanted, pending, reserve)

    def _stream(
        self, numbers: bytes, wanted: bytes, pending: set[int], reserve: Callable[[int], None]
    ) -> Iterator[Body]:
        self._settle()
        with self._channel.wire.within(self._patience.command):
            tag = self._channel.send(b"UID FETCH", numbers, wanted)
        while (body := self._next(tag, pending, reserve)) is not None:
            yield body
            body.drain()
            if body.data is None:
                self._skip_rest()

    def _next(self, tag: bytes, pending: set[int], reserve: Callable[[int], None]) -> Body | None:
        """Return the next body that is wanted, None at the command's end.

        One deadline holds until it begins: other answers without end do not keep the run waiting.
        """
        channel = self._channel
        with channel.wire.within(self._patience.command):
            while True:
                first = channel.read_text()
                text, size = first
                if size is not None and text.startswith(b"* ") and _BODY_LITERAL.search(text):
                    if size <= self._hold:
                        reserve(size)
                    body = self._body(text[2:], size)
                    if body.uid in pending:
                        pending.discard(body.uid)
                        return body
                    body.drain()
                    if body.data is None:
                        self._skip_rest()
                    continue
                response = channel.read_response(first=first)
                if response.kind == "tagged":
                    channel.check_tagged(response, tag=tag, command="FETCH")
                    return None
                items = self._items(response.parts) if response.kind == "untagged" else None
                # A body as a quoted string or NIL: the grammar allows both (nstring).
                if items and items.has_body and items.uid in pending:
                    pending.discard(items.uid)
                    data = items.body or b""
                    return Body(items.uid, len(data), data)

    def _body(self, text: bytes, size: int) -> Body:
        """Return the body whose literal comes next; text is the answer up to its size."""
        if size <= self._hold:
            with self._channel.wire.within(self._patience.transfer(size)):
                data = self._channel.wire.read(size)
                rest = self._rest()
            items = self._items([text, data, *rest])
            return Body(self._uid(items), size, data)
        items = self._items([text], partial=True)
        return Body(self._uid(items), size, None, self._channel, self._patience, size)

    def _uid(self, items: FetchItems | None) -> int:
        if items is None or items.uid is None:
            raise self._channel.violation("a message without the UID that was asked for")
        return items.uid

    def _rest(self) -> list[bytes]:
        """Return what follows a literal up to the answer's end."""
        text, size = self._channel.read_text()
        parts = [text]
        while size is not None:
            if size > self._hold:
                raise self._channel.violation("a second large literal in one FETCH answer")
            parts.append(self._channel.wire.read(size))
            text, size = self._channel.read_text()
            parts.append(text)
        return parts

    def _skip_rest(self) -> None:
        with self._channel.wire.within(self._patience.command):
            self._rest()


def _window(first: int, count: int) -> range:
    """Return the numbers of the window that begins so."""
    return range(first, min(first + WINDOW, count + 1))


def _window_command(window: range, wanted: bytes) -> Command:
    (numbers,) = sequence_sets(window)
    return Command.of(b"FETCH", numbers, wanted)


def _of(window: range, answers: dict[int, FetchItems]) -> dict[int, FetchItems]:
    """Return the answers to what was asked; news of another message's flags is one too."""
    return {n: a for n, a in answers.items() if n in window and a.size is not None}


def _no_matter(_: int) -> None:
    """Take any size."""


def _merge(old: FetchItems | None, new: FetchItems) -> FetchItems:
    """Join two answers for one message; servers may split them (Gmail does)."""
    if old is None:
        return new
    return FetchItems(
        sequence=new.sequence,
        uid=new.uid,
        flags=new.flags if new.flags is not None else old.flags,
        internal_date=new.internal_date or old.internal_date,
        size=new.size if new.size is not None else old.size,
        has_body=new.has_body or old.has_body,
        body=new.body if new.has_body else old.body,
    )

"""Writing messages, byte for byte."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mailsync_syncjob.errors import ConnectionLostError
from mailsync_syncjob.imap.channel import MAX_SHORT_ANSWER
from mailsync_syncjob.imap.syntax import astring

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mailsync_syncjob.deadline import Patience
    from mailsync_syncjob.imap.channel import Channel
    from mailsync_syncjob.imap.fetch import Body

__all__ = ["Appended", "Writer"]

_SMALL_LITERAL: Final = 4096  # RFC 7888 section 4, LITERAL-


@dataclass(frozen=True, slots=True)
class Appended:
    """A stored message."""

    uid: int | None
    """Its UID, where the server says it (UIDPLUS)."""


class Writer:
    """Stores messages in folders of one server."""

    def __init__(
        self, channel: Channel, *, patience: Patience, capabilities: frozenset[str]
    ) -> None:
        self._channel = channel
        self._patience = patience
        self._free_literals = "LITERAL+" in capabilities
        self._small_literals = "LITERAL-" in capabilities

    def append(
        self, mailbox: bytes, body: Body, *, flags: Sequence[bytes], date: bytes | None
    ) -> Appended:
        """Store one message and wait until the server has confirmed it.

        Parameters
        ----------
        flags
            Checked against the grammar by the caller.
        date
            INTERNALDATE as a quoted date-time; None leaves it to the server.

        Raises
        ------
        CommandRefusedError
            The server refused the message; the body may be partly unread.
        OverQuotaError, ThrottledError, ConnectionLostError
            As the server's answer means. After a lost connection the message may be stored.
        """
        channel = self._channel
        free = self._free_literals or (self._small_literals and body.size <= _SMALL_LITERAL)
        words = [b"APPEND", astring(mailbox)]
        if flags:
            words.append(b"(" + b" ".join(flags) + b")")
        if date:
            words.append(date)
        words.append(b"{%d%s}" % (body.size, b"+" if free else b""))
        seconds = self._patience.transfer(body.size)
        with channel.wire.within(seconds, at_most=MAX_SHORT_ANSWER):
            try:
                tag = self._send(words, body, free=free)
            except ConnectionLostError:
                channel.last_words()
                raise
            outcome = channel.finish(tag, command="APPEND")
        return Appended(_append_uid(outcome.status.code, outcome.status.arguments))

    def _send(self, words: Sequence[bytes], body: Body, *, free: bool) -> bytes:
        channel = self._channel
        tag = channel.next_tag()
        head = b" ".join((tag, *words)) + b"\r\n"
        if free and body.data is not None:
            # One write, so that a small message is one segment.
            channel.wire.write(head + body.data + b"\r\n")
            return tag
        channel.wire.write(head)
        if not free:
            channel.await_continuation(tag, command="APPEND")
        for chunk in body.chunks():
            channel.wire.write(chunk)
        channel.wire.write(b"\r\n")
        return tag


def _append_uid(code: str, arguments: bytes) -> int | None:
    """RFC 4315 section 3: ``[APPENDUID uidvalidity uid]``."""
    words = arguments.split()
    if code != "APPENDUID" or len(words) != 2 or not words[1].isdigit():
        return None
    return int(words[1])

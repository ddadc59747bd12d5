"""Writing messages, byte for byte."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from mailsync_syncjob.errors import ConnectionLostError
from mailsync_syncjob.imap.canary import framing_kept
from mailsync_syncjob.imap.channel import MAX_SHORT_ANSWER
from mailsync_syncjob.imap.literals import (
    NONE_FREE,
    Literals,
    append_count,
    append_uid,
    attributes,
    hearing,
)
from mailsync_syncjob.imap.stream import Stream
from mailsync_syncjob.imap.syntax import astring

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from mailsync_syncjob.deadline import Patience
    from mailsync_syncjob.imap.channel import Channel
    from mailsync_syncjob.imap.fetch import Body

__all__ = ["Appended", "Batch", "Writer"]

_WRITE_BYTES: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Appended:
    """A stored message."""

    uid: int | None
    """Its UID, where the server says it (UIDPLUS)."""


class Writer:
    """Stores messages in folders of one server.

    Attributes
    ----------
    batches
        Whether the server takes several messages in one command (RFC 3502).
    announced
        What literals the server says that it takes unasked. Each one is asked for nevertheless
        before ``trust`` was called: announced is not enough.
    """

    def __init__(
        self, channel: Channel, *, patience: Patience, capabilities: frozenset[str]
    ) -> None:
        self._channel = channel
        self._patience = patience
        self._literals = NONE_FREE
        self.announced = Literals.of(capabilities)
        self.batches = "MULTIAPPEND" in capabilities

    @property
    def trusted(self) -> Literals:
        """What literals are sent unasked."""
        return self._literals

    def trust(self) -> None:
        """Send literals unasked from now on, as far as the server announced that it takes them."""
        self._literals = self.announced

    def keeps_framing(self) -> bool:
        """Try with what is harmless whether literals that come unasked are kept apart.

        Raises
        ------
        ConnectionLostError
            The connection broke, which says nothing about it.
        """
        return framing_kept(self._channel, self._patience)

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
        free = self._literals.free(body.size)
        words = [b"APPEND", astring(mailbox), *attributes(body, flags, date, free=free)]
        seconds = self._patience.transfer(body.size)
        with channel.wire.within(seconds, at_most=MAX_SHORT_ANSWER):
            with hearing(channel):
                tag = self._send(words, body, free=free)
            outcome = channel.finish(tag, command="APPEND")
        return Appended(append_uid(outcome.status.code, outcome.status.arguments))

    def batch(self, mailbox: bytes) -> Batch:
        """Begin a command that stores several messages; it is sent as they come."""
        return Batch(self._channel, mailbox, patience=self._patience, literals=self._literals)

    def stream(self, mailbox: bytes, *, seconds: float | None = None) -> Stream:
        """Begin to store messages each in a command of its own, several of them under way.

        Parameters
        ----------
        seconds
            How long the server may take for one message, beside the time for its bytes.
        """
        patience = self._patience
        if seconds is not None:
            patience = replace(patience, command=min(seconds, patience.command))
        return Stream(self._channel, mailbox, patience=patience, literals=self._literals)

    def _send(self, words: Sequence[bytes], body: Body, *, free: bool) -> bytes:
        channel = self._channel
        tag = channel.next_tag()
        head = b" ".join((tag, *words)) + b"\r\n"
        if free and body.data is not None and body.size <= _WRITE_BYTES:
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


class Batch:
    """A MULTIAPPEND under way: the server stores all of its messages or none (RFC 3502).

    After any error the command is over, or the connection is.

    Attributes
    ----------
    messages, bytes
        What was added to it.
    """

    def __init__(
        self, channel: Channel, mailbox: bytes, *, patience: Patience, literals: Literals
    ) -> None:
        self._channel = channel
        self._patience = patience
        self._literals = literals
        self._tag = channel.next_tag()
        self._out = bytearray(self._tag + b" APPEND " + astring(mailbox))
        self.messages = 0
        self.bytes = 0

    def add(self, body: Body, *, flags: Sequence[bytes], date: bytes | None) -> None:
        """Send one more message, which is held in memory.

        Raises
        ------
        CommandRefusedError
            The server refused it and with it those before it.
        OverQuotaError, ThrottledError, ConnectionLostError
            As the server's answer means. After a lost connection nothing of it is stored.
        """
        data = body.data
        if data is None:
            raise RuntimeError("a message in a batch that is not held")
        free = self._literals.free(body.size)
        self.messages += 1
        self.bytes += body.size
        self._out += b" " + b" ".join(attributes(body, flags, date, free=free)) + b"\r\n"
        with self._within(body.size), hearing(self._channel):
            if not free:
                self._flush()
                self._channel.await_continuation(self._tag, command="APPEND")
            self._out += data
            if len(self._out) >= _WRITE_BYTES:
                self._flush()

    def finish(self) -> None:
        """End the command and wait until the server has confirmed all of it.

        Raises
        ------
        CommandRefusedError
            The server refused it; none of its messages is stored.
        OverQuotaError, ThrottledError
            As ``CommandRefusedError``, and what it means.
        ConnectionLostError
            All of its messages may be stored, or none; or the server confirmed another number.
        """
        self._out += b"\r\n"
        with self._within(self.bytes):
            with hearing(self._channel):
                self._flush()
            outcome = self._channel.finish(self._tag, command="APPEND")
        confirmed = append_count(outcome.status.code, outcome.status.arguments)
        if confirmed not in {None, self.messages}:
            raise ConnectionLostError(
                f"{self._channel.side}: the server confirmed {confirmed} messages of "
                f"{self.messages} in one APPEND",
                side=self._channel.side,
            )

    def _within(self, size: int) -> AbstractContextManager[object]:
        seconds = self._patience.transfer(size)
        return self._channel.wire.within(seconds, at_most=MAX_SHORT_ANSWER)

    def _flush(self) -> None:
        self._channel.wire.write(self._out)
        self._out.clear()

"""APPENDs under way, several at a time, each answered for itself (RFC 9051 section 5.5).

Where literals may be sent unasked, commands follow each other without waiting. Where each has to be
asked for, the next command goes with the end of the one before, so that the confirmation of the one
and the consent to the other come together: a message costs one round trip instead of two. No more
than one command waits for consent at any time, so that it is clear whose it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mailsync_syncjob.errors import CommandRefusedError, OverQuotaError, ThrottledError
from mailsync_syncjob.imap.channel import MAX_SHORT_ANSWER
from mailsync_syncjob.imap.literals import Literals, append_uid, attributes, hearing
from mailsync_syncjob.imap.syntax import astring

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from mailsync_syncjob.deadline import Patience
    from mailsync_syncjob.imap.channel import Channel, Response
    from mailsync_syncjob.imap.fetch import Body

__all__ = ["Refusal", "Settled", "Stream"]

_WRITE_BYTES: Final = 1 << 16

Refusal = CommandRefusedError | OverQuotaError | ThrottledError
"""What a command may be answered with that the connection survives."""


@dataclass(frozen=True, slots=True)
class Settled:
    """A message whose answer has come.

    Attributes
    ----------
    key
        What the message was sent as.
    refusal
        Why it is not stored; None if it is.
    asked
        Whether it was refused before any of its bytes were sent.
    """

    key: int
    uid: int | None = None
    refusal: Refusal | None = None
    asked: bool = False


class Stream:
    """Messages on their way into one folder.

    After a lost connection all that are under way may be stored, or not.
    """

    def __init__(
        self,
        channel: Channel,
        mailbox: bytes,
        *,
        patience: Patience,
        literals: Literals,
    ) -> None:
        self._channel = channel
        self._head = b" APPEND " + astring(mailbox) + b" "
        self._patience = patience
        self._literals = literals
        self._out = bytearray()
        self._under_way: dict[bytes, tuple[int, int]] = {}
        """Key and size by tag."""
        self._settled: list[Settled] = []

    @property
    def messages(self) -> int:
        """How many messages are under way."""
        return len(self._under_way)

    @property
    def size(self) -> int:
        """The bytes of the messages that are under way."""
        return sum(size for _, size in self._under_way.values())

    def send(self, key: int, body: Body, *, flags: Sequence[bytes], date: bytes | None) -> None:
        """Send one more message, which is held in memory; its end may wait for what follows.

        Raises
        ------
        ConnectionLostError, ProtocolError
            The connection is of no more use.
        """
        data = body.data
        if data is None:
            raise RuntimeError("a message among others that is not held")
        free = self._literals.free(body.size)
        tag = self._channel.next_tag()
        self._out += (
            tag + self._head + b" ".join(attributes(body, flags, date, free=free)) + b"\r\n"
        )
        self._under_way[tag] = (key, body.size)
        if not free and not self._consented(tag):
            return
        if body.size < _WRITE_BYTES:
            self._out += data
        else:
            self._flush(data)
        self._out += b"\r\n"
        if free and len(self._out) >= _WRITE_BYTES:
            self._flush()

    def settled(self, *, wait: bool) -> list[Settled]:
        """Return the messages whose answers have come since the last time.

        Parameters
        ----------
        wait
            Send what is left to be sent, and wait for one answer if none has come.
        """
        if wait:
            self._flush()
        with self._within():
            while self._under_way and self._channel.wire.ready():
                self._note(self._channel.read_response())
        while wait and self._under_way and not self._settled:
            self._await_answer()
        settled, self._settled = self._settled, []
        return settled

    def _consented(self, tag: bytes) -> bool:
        """Wait until the server asks for a literal; false if it refuses the command instead."""
        self._flush()
        with self._within():
            while tag in self._under_way:
                response = self._channel.read_response()
                if response.kind == "continue":
                    return True
                self._note(response, asking=tag)
        return False

    def _await_answer(self) -> None:
        self._flush()
        before = len(self._under_way)
        with self._within():
            while len(self._under_way) == before:
                self._note(self._channel.read_response())

    def _note(self, response: Response, *, asking: bytes = b"") -> None:
        """Take an answer; news of the folder is none."""
        if response.kind == "continue":
            raise self._channel.violation("a continuation that APPEND does not ask for")
        if response.kind == "tagged":
            self._settle(response, asked=response.tag == asking)

    def _settle(self, response: Response, *, asked: bool) -> None:
        """Note the answer to one of the commands."""
        found = self._under_way.pop(response.tag, None)
        if found is None:
            raise self._channel.violation("the end of a command that is not under way")
        key, _ = found
        try:
            status = self._channel.check_tagged(response, tag=response.tag, command="APPEND")
        except (CommandRefusedError, OverQuotaError, ThrottledError) as refusal:
            self._settled.append(Settled(key, refusal=refusal, asked=asked))
            return
        if asked:
            raise self._channel.violation("the end of APPEND before its data")
        self._settled.append(Settled(key, append_uid(status.code, status.arguments)))

    def _flush(self, data: bytes = b"") -> None:
        """Send what was put together, and this after it."""
        with self._within(), hearing(self._channel):
            for part in (self._out, data):
                if part:
                    self._channel.wire.write(part)
        self._out.clear()

    def _within(self) -> AbstractContextManager[object]:
        seconds = self._patience.transfer(self.size)
        return self._channel.wire.within(seconds, at_most=MAX_SHORT_ANSWER)

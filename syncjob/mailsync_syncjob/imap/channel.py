"""Commands and answers on a wire, one after the other or several under way at once."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from mailsync_syncjob.errors import (
    CommandRefusedError,
    ConnectionLostError,
    OverQuotaError,
    ProtocolError,
    ThrottledError,
)
from mailsync_syncjob.texts import Meaning, StatusText, parse_status_text, sanitise

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mailsync_syncjob.imap.wire import Wire
    from mailsync_syncjob.party import Party

__all__ = [
    "MAX_LONG_ANSWER",
    "MAX_SHORT_ANSWER",
    "MAX_SMALL_LITERAL",
    "MAX_SMALL_TALK",
    "MAX_UNTAGGED",
    "Channel",
    "Command",
    "Flight",
    "Outcome",
    "Response",
    "farewell_error",
    "status_error",
]

MAX_SMALL_LITERAL: Final = 4 << 20
"""The largest literal that is held outside message bodies: headers, names, flags."""
MAX_SMALL_TALK: Final = 64 << 10
"""How many bytes a server may say in each step up to the login; real ones say a few thousand."""
MAX_SHORT_ANSWER: Final = 256 << 10
"""How many bytes may answer a command about one folder, or about the server."""
MAX_LONG_ANSWER: Final = 64 << 20
"""How many bytes may list all folders, or a window of messages with their headers."""

_LITERAL: Final = re.compile(rb"\{(\d{1,20})\+?\}$")
_STATUS: Final = re.compile(rb"(OK|NO|BAD|BYE|PREAUTH)(?: (.*))?$", re.IGNORECASE | re.DOTALL)
_HIDDEN: Final = "(its words came before TLS and are not shown)"
_READING: Final = frozenset(
    {"FETCH", "SELECT", "EXAMINE", "STATUS", "LIST", "LSUB", "NAMESPACE", "LOGIN", "AUTHENTICATE"}
)
# More than any account has folders; each held answer costs some 300 bytes, however short it is.
MAX_UNTAGGED: Final = 100_000
# What is sent before anything is read. It fits into the buffers of any connection, so that a server
# which waits for its answers to be read does not keep us waiting for our commands to be read.
_FLIGHT_BYTES: Final = 8 << 10


@dataclass(frozen=True, slots=True)
class Response:
    """One whole answer: text and literals in turn, text first."""

    kind: Literal["untagged", "continue", "tagged"]
    tag: bytes
    parts: list[bytes]

    @property
    def text(self) -> bytes:
        """The first line after the tag."""
        return self.parts[0]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A command that succeeded."""

    untagged: list[Response]
    status: StatusText


@dataclass(frozen=True, slots=True)
class Command:
    """A command to be sent with others."""

    name: str
    """What messages call it."""
    words: tuple[bytes, ...]

    @classmethod
    def of(cls, *words: bytes) -> Command:
        """Return a command that is called by its first word."""
        return cls(words[0].decode("ascii"), words)


@dataclass(slots=True)
class Flight:
    """What came back for commands that were under way at once."""

    untagged: list[Response] = field(default_factory=list)
    """All answers; which command each belongs to, it says itself."""
    ends: dict[Command, StatusText | CommandRefusedError] = field(default_factory=dict)

    def refusal(self, command: Command) -> CommandRefusedError | None:
        """Return why a command was refused, None for one that was not."""
        end = self.ends[command]
        return end if isinstance(end, CommandRefusedError) else None

    def check(self, *commands: Command) -> None:
        """Raise the first refusal of these commands, if there is one."""
        for command in commands:
            if (refusal := self.refusal(command)) is not None:
                raise refusal


class Channel:
    """One connection's dialogue.

    Parameters
    ----------
    trusted
        Whether the server's words may be shown: false before STARTTLS, where anybody on the way may
        have written them.
    masked_words
        Secrets that must not be repeated from the server's words.
    """

    def __init__(
        self, wire: Wire, *, side: Party, trusted: bool, masked_words: tuple[str, ...] = ()
    ) -> None:
        self.wire = wire
        self.side = side
        self._trusted = trusted
        self._masked = masked_words
        # A prefix nobody can guess: an answer written before its command is recognised.
        self._prefix = b"m" + secrets.token_hex(3).encode("ascii")
        self._count = 0

    def mask(self, *words: str) -> None:
        """Mask more secrets from now on: those that were got after connecting."""
        self._masked = (*words, *self._masked)

    def shown(self, text: str) -> str:
        """Return words of the server's, wherever they were, made safe to show."""
        return sanitise(text, secrets=self._masked) if text else ""

    def send(self, *words: bytes) -> bytes:
        """Send one command line and return its tag."""
        tag = self.next_tag()
        self.wire.write(b" ".join((tag, *words)) + b"\r\n")
        return tag

    def send_all(self, *commands: Command) -> list[bytes]:
        """Send command lines at once, few and short ones, and return their tags."""
        tags = [self.next_tag() for _ in commands]
        lines = [
            b" ".join((tag, *command.words)) for tag, command in zip(tags, commands, strict=True)
        ]
        self.wire.write(b"".join(line + b"\r\n" for line in lines))
        return tags

    def next_tag(self) -> bytes:
        """Return a tag that was not used yet."""
        self._count += 1
        return b"%s%d" % (self._prefix, self._count)

    def read_text(self) -> tuple[bytes, int | None]:
        """Return one line without its end, and the size of the literal that follows it."""
        line = self.wire.readline().rstrip(b"\r\n")
        found = _LITERAL.match(line, max(line.rfind(b"{"), 0)) if line.endswith(b"}") else None
        return line, int(found[1]) if found else None

    def read_response(self, *, first: tuple[bytes, int | None] | None = None) -> Response:
        """Return one whole answer, small literals included.

        Raises
        ------
        ProtocolError
            It is no IMAP answer, or a literal is too large for what it is.
        ConnectionLostError, ThrottledError
            It is a BYE.
        """
        line, size = first if first is not None else self.read_text()
        tag, _, rest = line.partition(b" ")
        parts = [rest]
        while size is not None:
            if size > MAX_SMALL_LITERAL:
                raise self.violation(f"a literal of {size} bytes where none is expected")
            parts.append(self.wire.read(size))
            text, size = self.read_text()
            parts.append(text)
        if tag == b"*":
            self._check_farewell(rest)
            return Response("untagged", tag, parts)
        if tag == b"+":
            return Response("continue", tag, parts)
        if not tag.startswith(self._prefix):
            raise self.violation("a line that answers no command")
        return Response("tagged", tag, parts)

    def finish(self, tag: bytes, *, command: str) -> Outcome:
        """Read until the command's end and return the answers up to it.

        Raises
        ------
        CommandRefusedError
            It was answered NO or BAD (or another error, where the text means more).
        """
        untagged: list[Response] = []
        while isinstance(answer := self.next_answer(tag, command=command), Response):
            untagged.append(answer)
            if len(untagged) > MAX_UNTAGGED:
                raise self.violation(f"more than {MAX_UNTAGGED} answers to {command}")
        return Outcome(untagged, answer)

    def next_answer(self, tag: bytes, *, command: str) -> Response | StatusText:
        """Return the next answer before the command's end, or that end.

        Raises
        ------
        CommandRefusedError
            It was answered NO or BAD (or another error, where the text means more).
        """
        response = self.read_response()
        if response.kind == "untagged":
            return response
        if response.kind == "continue":
            raise self.violation(f"a continuation that {command} does not ask for")
        return self.check_tagged(response, tag=tag, command=command)

    def run(self, *words: bytes, command: str) -> Outcome:
        """Send a command and read until its end."""
        return self.finish(self.send(*words), command=command)

    def fly(self, commands: Sequence[Command]) -> Flight:
        """Send commands without waiting for each one's answer, and read until all are answered.

        They must not depend on each other's success, nor refer to message numbers: a server may
        take them in another order, and answer them in another one (RFC 9051 section 5.5).

        Raises
        ------
        EngineError
            Any error but a refusal, which the flight holds.
        """
        flight = Flight()
        under_way: dict[bytes, Command] = {}
        waiting = list(reversed(commands))
        size = 0
        while waiting or under_way:
            together: list[Command] = []
            while waiting and (not (under_way or together) or size < _FLIGHT_BYTES):
                together.append(waiting.pop())
                size += _length(together[-1])
            if together:
                under_way.update(zip(self.send_all(*together), together, strict=True))
            response = self.read_response()
            if response.kind == "untagged":
                flight.untagged.append(response)
                if len(flight.untagged) > MAX_UNTAGGED:
                    raise self.violation(f"more than {MAX_UNTAGGED} answers to {commands[0].name}")
                continue
            if response.kind == "continue":
                raise self.violation(f"a continuation that {commands[0].name} does not ask for")
            command = under_way.pop(response.tag, None)
            if command is None:
                raise self.violation("the end of a command that is not under way")
            size -= _length(command)
            try:
                end: StatusText | CommandRefusedError = self.check_tagged(
                    response, tag=response.tag, command=command.name
                )
            except CommandRefusedError as refusal:
                end = refusal
            flight.ends[command] = end
        return flight

    def await_continuation(self, tag: bytes, *, command: str) -> None:
        """Read until the server asks for the command's data.

        Raises
        ------
        CommandRefusedError
            It was answered NO or BAD instead (or another error, where the text means more).
        """
        while True:
            response = self.read_response()
            if response.kind == "continue":
                return
            if response.kind == "tagged":
                self.check_tagged(response, tag=tag, command=command)
                raise self.violation(f"the end of {command} before its data")

    def last_words(self, *, seconds: float = 1.0) -> None:
        """Look for a BYE that a closing server may have left behind; raise what it means.

        A write to a connection that the server has closed fails before the BYE is read, and the BYE
        is what says whether to wait or to connect again.
        """
        try:
            with self.wire.within(seconds):
                while True:
                    self.read_response()
        except ConnectionLostError as error:
            if error.said:
                raise

    def check_tagged(self, response: Response, *, tag: bytes, command: str) -> StatusText:
        """Return the text of a tagged OK.

        Raises
        ------
        CommandRefusedError
            It is NO or BAD.
        ProtocolError
            It answers another command, or is no status at all.
        """
        if response.tag != tag:
            raise self.violation("the end of a command that is not under way")
        word, status = self.status(response.text)
        if word == "OK":
            return status
        if word not in {"NO", "BAD"}:
            raise self.violation(f"{command} ended with neither OK, NO nor BAD")
        raise status_error(command, status=status, side=self.side, bad=word == "BAD")

    def status(self, text: bytes) -> tuple[str, StatusText]:
        """Take apart ``OK text`` and its like; the word is empty when it is none of them."""
        found = _STATUS.match(text)
        if found is None:
            return "", StatusText(code="", arguments=b"", text="")
        word = found[1].decode("ascii").upper()
        status = parse_status_text(found[2] or b"", secrets=self._masked)
        if not self._trusted:
            status = StatusText(code=status.code, arguments=status.arguments, text=_HIDDEN)
        return word, status

    def violation(self, what: str) -> ProtocolError:
        """Return the error for a broken protocol."""
        return ProtocolError(
            f"{self.side}: the server broke the IMAP protocol: it sent {what}", side=self.side
        )

    def _check_farewell(self, text: bytes) -> None:
        if text[:3].upper() != b"BYE":
            return
        word, status = self.status(text)
        if word == "BYE":
            raise farewell_error(status, side=self.side)


def _length(command: Command) -> int:
    return sum(len(word) + 1 for word in command.words)


def farewell_error(status: StatusText, *, side: Party) -> ThrottledError | ConnectionLostError:
    """Return what a BYE means."""
    message = f"{side}: the server ended the session: {status.text}"
    if status.meaning is Meaning.THROTTLED:
        return ThrottledError(message, side=side, retry_after_seconds=status.retry_after_seconds)
    expired = status.meaning is Meaning.EXPIRED
    return ConnectionLostError(message, side=side, said=True, expired=expired)


def status_error(
    command: str, *, status: StatusText, side: Party, bad: bool = False
) -> CommandRefusedError | ConnectionLostError | ThrottledError | OverQuotaError:
    """Return what a NO or BAD means."""
    message = f"{side}: the server refused {command}: {status.text}"
    if status.meaning is Meaning.THROTTLED or _is_rate(command, status):
        return ThrottledError(message, side=side, retry_after_seconds=status.retry_after_seconds)
    if status.meaning is Meaning.OVER_QUOTA:
        return OverQuotaError(
            f"{message}; raise the mailbox's quota, then start the run again", side=side
        )
    if status.meaning is Meaning.EXPIRED and not command.startswith(("AUTHENTICATE", "LOGIN")):
        # A session whose token has ended is of no more use; a new one has a new token.
        return ConnectionLostError(message, side=side, said=True, expired=True)
    return CommandRefusedError(command, side=side, code=status.code, text=status.text, bad=bad)


def _is_rate(command: str, status: StatusText) -> bool:
    """Whether a limit is one of how much is asked for, not of what one message or name may be."""
    return status.code == "LIMIT" and command.partition(" ")[0] in _READING

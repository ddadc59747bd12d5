"""A server with the fault of Apache James 3.8.1: it announces LITERAL+ and loses framing.

As observed: where two small APPENDs with literals that come unasked arrive together, the bytes of
the first are run as commands, line by line, and its tag is never answered; the others are stored.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from typing_extensions import override

from tests.support.scripted import HungUpError, TinyServer

if TYPE_CHECKING:
    from tests.support.scripted import Peer

__all__ = ["Muddled"]

_LITERAL = re.compile(rb"\{(\d+)(\+?)\}\r\n$")
_PIECE = 1 << 16


@dataclass
class Muddled(TinyServer):
    """A server that loses framing.

    Attributes
    ----------
    commands
        All that was run as a command, without literals.
    """

    capabilities: bytes = b"IMAP4rev1 AUTH=PLAIN SASL-IR LITERAL+ UIDPLUS"
    commands: list[bytes] = field(default_factory=list)

    @override
    def __call__(self, peer: Peer) -> None:
        peer.send(self.greeting)
        incoming = _Incoming(peer)
        while True:
            line = incoming.line()
            self.commands.append(line)
            while found := _LITERAL.search(line):
                if found[2] and incoming.another_append(int(found[1])):
                    line = b""  # the literal is what comes next, and is taken for commands
                    break
                if not found[2]:
                    peer.send(b"+ go on\r\n")
                line += incoming.exactly(int(found[1])) + incoming.line()
            if line:
                self._run(peer, line)

    def _run(self, peer: Peer, line: bytes) -> None:
        tag, _, rest = line.removesuffix(b"\r\n").partition(b" ")
        words = rest.upper().split(b" ")
        name = b" ".join(words[:2]) if words[0] == b"UID" else words[0]
        answer = self.answers.get(name) or self._defaults().get(name)
        if name == b"NOOP":
            peer.send(tag + b" OK NOOP completed.\r\n")
        elif name == b"APPEND" and b'"INBOX"' not in rest.partition(b"{")[0]:
            peer.send(tag + b" NO [TRYCREATE] APPEND failed. No such mailbox.\r\n")
        elif answer is None:
            peer.send(b"* BAD failed. Unknown command.\r\n")
        else:
            answer(peer, tag, rest)


class _Incoming:
    """What a client sends, in the pieces in which it arrives."""

    def __init__(self, peer: Peer) -> None:
        self._socket = peer.socket
        self._buffer = b""
        self._muddled = False
        """Whether it has lost count in what is in the buffer: it does so once."""

    def line(self) -> bytes:
        """Return one line."""
        while b"\r\n" not in self._buffer:
            self._fill()
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line + b"\r\n"

    def exactly(self, size: int) -> bytes:
        """Return so many bytes."""
        while len(self._buffer) < size:
            self._fill()
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def another_append(self, size: int) -> bool:
        """Whether another APPEND has arrived behind a literal of this size."""
        if self._muddled or b" APPEND " not in self._buffer[size + 2 :].partition(b"\r\n")[0]:
            return False
        self._muddled = True
        return True

    def _fill(self) -> None:
        if not self._buffer:
            self._muddled = False
        data = self._socket.recv(_PIECE)
        if not data:
            raise HungUpError
        self._buffer += data

"""A proxy that understands enough of IMAP to interrupt a run at an exact place.

It counts, for each side, the pieces that pass: a command line, a literal, an answer. At one of them
it does what a test wants instead of passing it on.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import BinaryIO

__all__ = ["Piece", "Plan", "Proxy", "Way", "proxied"]

_SERVER_SECONDS = 20.0
_LITERAL = re.compile(rb"\{(\d+)(\+?)\}\r\n$")


class Way(Enum):
    """How a run is interrupted."""

    KILL = "SIGKILL"
    CUT = "cut"
    NO = "NO"
    BAD = "BAD"
    BYE = "BYE"
    SILENCE = "silence"


@dataclass(frozen=True, slots=True)
class Piece:
    """What passes, in one direction."""

    from_client: bool
    data: bytes
    begins: bool = True
    """Whether a command or an answer begins with it."""

    @property
    def tag(self) -> bytes:
        """The command's tag."""
        return self.data.partition(b" ")[0]

    @property
    def takes_answer(self) -> bool:
        """Whether it is a command that may be answered NO instead of being passed on."""
        return self.from_client and self.begins and b" " in self.data

    @property
    def tells(self) -> bool:
        """Whether it is more than news: something of a command, or the end of its answer."""
        return self.from_client or not self.data.startswith(b"* ")

    @property
    def ends_append(self) -> bool:
        """Whether it is the answer to an APPEND."""
        return not self.from_client and b"APPENDUID" in self.data


@dataclass(slots=True)
class Plan:
    """Where and how to interrupt; without a way it only counts."""

    way: Way | None = None
    at: int = 0
    kill: Callable[[], None] = lambda: None
    pieces: list[Piece] = field(default_factory=list)
    done: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def meets(self, piece: Piece) -> bool:
        """Count a piece; true for the one to interrupt at.

        Of several connections another piece may pass at this place than in the run that was
        recorded. Only a command can be refused, so that the next one is taken then.
        """
        refused = self.way in {Way.NO, Way.BAD}
        with self._lock:
            self.pieces.append(piece)
            if self.way is None or self.done or len(self.pieces) <= self.at:
                return False
            if refused and not piece.takes_answer:
                return False
            self.done = True
            return True


class _GoneError(Exception):
    """The connection has ended."""


class _Link:
    """One connection through the proxy."""

    def __init__(self, client: socket.socket, address: tuple[str, int], plan: Plan) -> None:
        self._client = client
        self._server = socket.create_connection(address)
        for sock in (self._client, self._server):
            with suppress(OSError):  # a killed client is gone already
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._plan = plan
        self._silent = False

    def up(self) -> None:
        """Pass on what the client says."""
        with self._client.makefile("rb") as file:
            begins = True
            for line in iter(file.readline, b""):
                answered = self._pass(Piece(from_client=True, data=line, begins=begins), file)
                literal = None if answered else _LITERAL.search(line)
                begins = literal is None
                if literal is not None:
                    data = _exactly(file, int(literal[1]))
                    self._pass(Piece(from_client=True, data=data, begins=False), file)
        raise _GoneError

    def down(self) -> None:
        """Pass on what the server says, one whole answer at a time."""
        with self._server.makefile("rb") as file:
            for line in iter(file.readline, b""):
                whole = line
                while found := _LITERAL.search(whole):
                    whole += _exactly(file, int(found[1])) + file.readline()
                self._pass(Piece(from_client=False, data=whole), file)
        raise _GoneError

    def _pass(self, piece: Piece, file: BinaryIO) -> bool:
        """Pass a piece on, or interrupt; true for a command that was answered here instead."""
        if self._plan.meets(piece):
            return self._interrupt(piece, file)
        if piece.from_client:
            self._server.sendall(piece.data)
        elif not self._silent:
            self._client.sendall(piece.data)
        return False

    def _interrupt(self, piece: Piece, file: BinaryIO) -> bool:
        match self._plan.way:
            case Way.NO | Way.BAD as way:
                self._swallow(piece.data, file)
                self._client.sendall(b"%s %s injected\r\n" % (piece.tag, way.value.encode()))
                return True
            case Way.SILENCE:
                self._silent = True
                return False
            case Way.KILL:
                self._plan.kill()
            case Way.BYE:
                self._client.sendall(b"* BYE injected\r\n")
            case _:
                pass
        raise _GoneError

    def _swallow(self, line: bytes, file: BinaryIO) -> None:
        """Read the rest of a command that the client sends without being asked for it."""
        while (found := _LITERAL.search(line)) and found[2]:
            _exactly(file, int(found[1]))
            line = file.readline()

    def end(self) -> None:
        """End it for the client, and let the server see that it has heard all."""
        with suppress(OSError):
            self._client.shutdown(socket.SHUT_RDWR)
        self._client.close()
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """End it, and wait until the server is done with what it was sent."""
        self.end()
        self._server.settimeout(_SERVER_SECONDS)
        with suppress(OSError):
            while self._server.recv(1 << 16):
                pass
        self._server.close()


class Proxy:
    """Listens on loopback for one side."""

    def __init__(self, address: tuple[str, int], plan: Plan) -> None:
        self._address = address
        self._plan = plan
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._links: list[_Link] = []
        self.port: int = self._listener.getsockname()[1]
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def close(self) -> None:
        """End all of its connections.

        The next run finds a server that has dealt with the one before. That a killed run's server
        may still be storing is the one case that is known to be open (docs/architecture.md): with
        a machine that is busy enough, every table would have some of it.
        """
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join(_SERVER_SECONDS)
        for link in self._links:
            link.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                link = _Link(client, self._address, self._plan)
                self._links.append(link)
                for work in (link.up, link.down):
                    threading.Thread(target=_until_gone, args=(link, work), daemon=True).start()


def _until_gone(link: _Link, work: Callable[[], None]) -> None:
    with suppress(_GoneError, OSError, ValueError):
        work()
    link.end()


def _exactly(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) != size:
        raise _GoneError
    return data


@contextmanager
def proxied(address: tuple[str, int], plan: Plan) -> Iterator[Proxy]:
    """Run a proxy for as long as the block lasts."""
    proxy = Proxy(address, plan)
    try:
        yield proxy
    finally:
        proxy.close()

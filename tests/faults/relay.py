"""A relay between the engine and a server, on which something goes wrong in the middle.

It understands enough of IMAP to know what passes: a command line, a literal, an answer. Whatever is
to go wrong begins with one of those.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import IO

__all__ = ["GREETING", "Link", "Piece", "Relay", "Trouble", "relayed"]

_LITERAL = re.compile(rb"\{(\d+)\+?\}\r\n$")
_SMALL_BUFFER = 4096
_LOOK_UP_SECONDS = 0.05


class GoneError(Exception):
    """The connection has ended."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What passes, in one direction: a line, or a line with its literals from a server."""

    from_client: bool
    data: bytes
    literal: bool = False
    """Whether it is a literal of the client's, without a line."""

    def says(self, *words: bytes) -> bool:
        """Whether it is a line of the client's that holds one of these words."""
        return self.from_client and not self.literal and any(word in self.data for word in words)

    def answers(self, *words: bytes) -> bool:
        """Whether it is the server's and holds one of these words."""
        return not self.from_client and any(word in self.data for word in words)


GREETING = Piece(from_client=False, data=b"")
"""Stands for the moment after connecting."""


@dataclass
class Trouble:
    """What goes wrong.

    Attributes
    ----------
    begins
        Whether it goes wrong at a piece.
    act
        What happens then, before the piece is passed on.
    times
        How often it happens; None for each time.
    after
        How many such pieces pass before it.
    idle
        After how many seconds without a word of the client's a connection is closed; None if never.
    farewell
        What is said then.
    """

    begins: Callable[[Piece], bool] = lambda _: False
    act: Callable[[Link], None] = lambda _: None
    times: int | None = None
    after: int = 0
    idle: float | None = None
    farewell: bytes = b""
    happened: int = 0
    errors: list[Exception] = field(default_factory=list)
    _met: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def meet(self, link: Link, piece: Piece) -> None:
        """Let a piece come by."""
        with self._lock:
            if not self.begins(piece):
                return
            self._met += 1
            if self._met <= self.after:
                return
            if self.times is not None and self.happened >= self.times:
                return
            self.happened += 1
        try:
            self.act(link)
        except GoneError:
            raise
        except Exception as error:
            # Shown by the test: else it would look like a server that says nothing.
            self.errors.append(error)
            raise GoneError from error


class Link:
    """One connection through the relay."""

    def __init__(self, client: socket.socket, address: tuple[str, int], trouble: Trouble) -> None:
        self._client = client
        self._server = socket.create_connection(address)
        for sock in (self._client, self._server):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._trouble = trouble
        self._frozen = False
        self._over = False
        self._up_rate: float | None = None
        self._down_rate: float | None = None
        self._last = time.monotonic()

    # --- what may happen to it

    def freeze(self) -> None:
        """Neither take nor give anything any more: the peer is gone and no packet says so."""
        self._frozen = True

    def drip_down(self, bytes_per_second: float = 1) -> None:
        """Let the server's bytes come one by one."""
        self._down_rate = bytes_per_second

    def drip_up(self, bytes_per_second: float = 1) -> None:
        """Take the client's bytes one by one."""
        self._up_rate = bytes_per_second

    def say(self, text: bytes) -> None:
        """Say something in the server's name."""
        self._client.sendall(text)

    def cut(self) -> None:
        """End it."""
        raise GoneError

    # --- the threads

    def up(self) -> None:
        """Pass on what the client says."""
        with self._client.makefile("rb") as file:
            while line := self._line(file):
                self._last = time.monotonic()
                self._pass(Piece(from_client=True, data=line))
                if found := _LITERAL.search(line):
                    data = self._exactly(file, int(found[1]))
                    self._pass(Piece(from_client=True, data=data, literal=True))
        raise GoneError

    def down(self) -> None:
        """Pass on what the server says, one whole answer at a time."""
        self._trouble.meet(self, GREETING)
        with self._server.makefile("rb") as file:
            while whole := file.readline():
                while found := _LITERAL.search(whole):
                    literal = file.read(int(found[1]))
                    whole += literal + (rest := file.readline())
                    if not rest:
                        break  # the server closed the connection amid an answer
                self._pass(Piece(from_client=False, data=whole))
        raise GoneError

    def watch(self) -> None:
        """Close it when the client is silent for too long."""
        idle = self._trouble.idle
        while not self._over:
            if idle is not None and time.monotonic() - self._last > idle:
                self._trouble.happened += 1
                self.say(self._trouble.farewell)
                raise GoneError
            time.sleep(_LOOK_UP_SECONDS)

    def _pass(self, piece: Piece) -> None:
        self._trouble.meet(self, piece)
        rate = self._up_rate if piece.from_client else self._down_rate
        target = self._server if piece.from_client else self._client
        if rate is None:
            self._wait_while_frozen()
            target.sendall(piece.data)
            return
        for at in range(len(piece.data)):
            self._wait_while_frozen()
            target.sendall(piece.data[at : at + 1])
            self._nap(1 / rate)

    def _line(self, file: IO[bytes]) -> bytes:
        self._wait_while_frozen()
        return file.readline()

    def _exactly(self, file: IO[bytes], size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            self._wait_while_frozen()
            if self._up_rate is not None:
                self._nap(1 / self._up_rate)
            piece = file.read(min(size - len(data), _SMALL_BUFFER if self._up_rate is None else 1))
            if not piece:
                raise GoneError
            data += piece
        return bytes(data)

    def _wait_while_frozen(self) -> None:
        while self._frozen:
            self._nap(_LOOK_UP_SECONDS)

    def _nap(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if self._over:
                raise GoneError
            time.sleep(min(left, _LOOK_UP_SECONDS))

    def close(self) -> None:
        """End it on both sides."""
        self._over = True
        for sock in (self._client, self._server):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()


class Relay:
    """Listens on loopback for one side."""

    def __init__(self, address: tuple[str, int], trouble: Trouble) -> None:
        self._address = address
        self._trouble = trouble
        self._listener = socket.socket()
        # What is not taken from the client stays with it, and not in this socket.
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_BUFFER)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen()
        self._links: list[Link] = []
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """End all of its connections."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for link in self._links:
            link.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    link = Link(client, self._address, self._trouble)
                except OSError:
                    client.close()  # the server is not there
                    continue
                self._links.append(link)
                for work in (link.up, link.down, link.watch):
                    threading.Thread(target=_until_gone, args=(link, work), daemon=True).start()


def _until_gone(link: Link, work: Callable[[], None]) -> None:
    with suppress(GoneError, OSError, ValueError):
        work()
    link.close()


@contextmanager
def relayed(address: tuple[str, int], trouble: Trouble) -> Iterator[Relay]:
    """Run a relay for as long as the block lasts."""
    relay = Relay(address, trouble)
    try:
        yield relay
    finally:
        relay.close()

"""A line to a server that is slow, and that is cut when a connection's time is over."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Line", "run_line"]

_PIECE: Final = 4096


@dataclass
class Line:
    """A running line.

    Attributes
    ----------
    host, port
        Where it begins.
    connections
        How many were made.
    cuts
        How many of them were cut because their time was over.
    carried
        How many went through, in both directions.
    """

    host: str
    port: int
    connections: int = 0
    cuts: int = 0
    carried: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    said: list[tuple[float, int, bytes]] = field(default_factory=list)
    """What clients said: when (``time.monotonic``), on which connection, and what."""


@contextlib.contextmanager
def run_line(
    to: tuple[str, int],
    *,
    bytes_per_second: int,
    end: Callable[[float], float | None],
    host: str = "127.0.0.2",
) -> Iterator[Line]:
    """Forward connections for as long as the block lasts.

    Parameters
    ----------
    bytes_per_second
        How fast the server's bytes come through; the client's are not held up.
    end
        When a connection that was made at a time is cut, in seconds since 1970; None as long as
        that is not known.
    """
    listener = socket.create_server((host, 0))
    line = Line(host, listener.getsockname()[1])
    over = threading.Event()

    def forward(client: socket.socket, number: int) -> None:
        with contextlib.suppress(OSError), client, socket.create_connection(to) as server:
            begin = due = time.time()
            until: float | None = None
            while not over.is_set():
                now = time.time()
                until = until or end(begin)
                if until is not None and now >= until:
                    with line.lock:
                        line.cuts += 1
                    return
                # While the server's bytes have to wait, only the client is listened to.
                wanted = [client, server] if now >= due else [client]
                readable, _, _ = select.select(wanted, [], [], min(max(due - now, 0.01), 0.05))
                for sock in readable:
                    data = sock.recv(_PIECE)
                    if sock is client:
                        line.said.append((time.monotonic(), number, data))
                    if not data:
                        return
                    (client if sock is server else server).sendall(data)
                    with line.lock:
                        line.carried += len(data)
                    if sock is server:
                        due = max(due, now) + len(data) / bytes_per_second

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                with line.lock:
                    line.connections += 1
                    number = line.connections
                threading.Thread(target=forward, args=(client, number), daemon=True).start()

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield line
    finally:
        over.set()
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join(5)

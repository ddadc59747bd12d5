"""A link with latency: a proxy, in a process of its own, that passes bytes on later.

Each direction is late by half the round trip, in order, with any number of bytes at a time. A new
connection costs its handshake too: the server sees it when the packet that ends it would arrive.
"""

from __future__ import annotations

import argparse
import asyncio
import selectors
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import cast

from typing_extensions import override

__all__ = ["delayed", "main"]


@contextmanager
def delayed(address: tuple[str, int], *, milliseconds: float) -> Iterator[int]:
    """Run the proxy for as long as the block lasts; gives its port, on the server's own address.

    Parameters
    ----------
    address
        Host and port of the server, on loopback.
    milliseconds
        The round trip.
    """
    host, port = address
    command = [sys.executable, "-m", "tests.bench.delay", host, str(port), str(milliseconds)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            assert said.strip().isdigit(), f"the proxy before {host}:{port} did not start"
            yield int(said)
        finally:
            process.kill()


def main() -> None:
    """Serve until killed; the port is printed."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.delay", description=__doc__)
    parser.add_argument("host", help="of the server; the proxy listens there too")
    parser.add_argument("port", type=int, help="of the server")
    parser.add_argument("milliseconds", type=float, help="the round trip")
    parser.add_argument("--listen", type=int, default=0, help="a port; any free one by default")
    options = parser.parse_args()
    # epoll waits for whole milliseconds, too coarse a clock for this; select does not.
    loop = asyncio.SelectorEventLoop(selectors.SelectSelector())
    with suppress(KeyboardInterrupt):
        loop.run_until_complete(_serve(options))


async def _serve(options: argparse.Namespace) -> None:
    half = options.milliseconds / 2000
    server = await asyncio.get_running_loop().create_server(
        lambda: _Accepted((options.host, options.port), half=half), options.host, options.listen
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


class _End(asyncio.Protocol):
    """One end of a connection: what it hears happens at the other end, later."""

    def __init__(self, *, half: float, other: _End | None = None) -> None:
        self.transport: asyncio.Transport | None = None
        self.other = other
        self._half = half
        self._loop = asyncio.get_running_loop()
        self._under_way: deque[tuple[float, Callable[[asyncio.Transport], object]]] = deque()
        self._not_before = 0.0

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    @override
    def data_received(self, data: bytes) -> None:
        self._later(lambda there: there.write(data))

    @override
    def eof_received(self) -> bool:
        self._later(lambda there: there.write_eof())
        return True  # the other direction stays open

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._later(lambda there: there.close())

    @override
    def pause_writing(self) -> None:
        # Who does not read holds up who writes, as on any link.
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    @override
    def resume_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.resume_reading()

    def arrived(self) -> None:
        """Let happen at the other end what is due."""
        there = self.other.transport if self.other is not None else None
        if there is None:
            return  # called again when it is there
        while self._under_way and self._under_way[0][0] <= self._loop.time():
            _, work = self._under_way.popleft()
            # An end that is gone already needs to be told nothing.
            with suppress(OSError):
                if not there.is_closing():
                    work(there)
        if self._under_way:
            self._loop.call_at(self._under_way[0][0], self.arrived)

    def _later(self, work: Callable[[asyncio.Transport], object]) -> None:
        due = max(self._loop.time() + self._half, self._not_before)
        self._under_way.append((due, work))
        if len(self._under_way) == 1:
            self._loop.call_at(due, self.arrived)


class _Accepted(_End):
    """The client's end, which opens the server's."""

    def __init__(self, address: tuple[str, int], *, half: float) -> None:
        super().__init__(half=half)
        self._address = address
        self._dialling: asyncio.Task[None] | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        # The client took itself for connected at once: a whole round trip too early.
        self._not_before = self._loop.time() + 3 * self._half
        self._dialling = self._loop.create_task(self._dial())

    async def _dial(self) -> None:
        assert self.transport is not None
        await asyncio.sleep(3 * self._half)
        try:
            _, self.other = await self._loop.create_connection(
                lambda: _End(half=self._half, other=self), *self._address
            )
        except OSError:
            self.transport.close()
            return
        if self._under_way:
            self.arrived()


if __name__ == "__main__":
    main()

"""The proxy that stands for a distant server: late, and nothing else."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.bench.delay import delayed
from tests.support.poll import wait_until

_HOST = "127.0.0.2"


@pytest.fixture
def echo() -> Iterator[tuple[str, int]]:
    """Serve echoes; a client that says no more is told so."""
    with socket.create_server((_HOST, 0)) as server:

        def answer(client: socket.socket) -> None:
            with client:
                while data := client.recv(1 << 16):
                    client.sendall(data)

        def serve() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return  # the fixture is over
                threading.Thread(target=answer, args=(client,), daemon=True).start()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def _received(client: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count and (piece := client.recv(1 << 16)):
        data += piece
    return bytes(data)


def test_every_answer_takes_a_round_trip(echo: tuple[str, int]) -> None:
    # Never less; how much more is the machine's affair.
    with delayed(echo, milliseconds=30) as port:
        began = time.monotonic()
        with socket.create_connection((_HOST, port)) as client:
            for number in range(4):
                client.sendall(b"%d" % number)
                assert client.recv(1) == b"%d" % number
        # The first has to wait for the connection's own handshake.
        assert time.monotonic() - began >= 5 * 0.030


@pytest.mark.parametrize("milliseconds", [0, 5])
def test_bytes_arrive_whole_and_in_order(echo: tuple[str, int], milliseconds: int) -> None:
    data = b"".join(b"%07d\n" % number for number in range(400_000))
    with delayed(echo, milliseconds=milliseconds) as port:
        clients = [socket.create_connection((_HOST, port)) for _ in range(3)]
        threads = [threading.Thread(target=each.sendall, args=(data,)) for each in clients]
        for thread in threads:
            thread.start()
        results: list[bytes] = [b""] * len(clients)

        def read(number: int) -> None:
            results[number] = _received(clients[number], len(data))

        readers = [threading.Thread(target=read, args=(number,)) for number in range(len(clients))]
        for thread in readers:
            thread.start()
        for thread in (*threads, *readers):
            thread.join()
        assert results == [data] * len(clients)
        for client in clients:
            client.close()


def test_an_end_is_passed_on_after_what_was_said(echo: tuple[str, int]) -> None:
    with (
        delayed(echo, milliseconds=5) as port,
        socket.create_connection((_HOST, port)) as client,
    ):
        client.sendall(b"last words")
        client.shutdown(socket.SHUT_WR)
        assert _received(client, 1 << 20) == b"last words"


def test_a_server_that_is_not_there_ends_the_connection() -> None:
    with socket.create_server((_HOST, 0)) as gone:
        address = gone.getsockname()
    with (
        delayed(address, milliseconds=0) as port,
        socket.create_connection((_HOST, port)) as client,
    ):
        client.settimeout(10)
        assert client.recv(1) == b""


def test_it_ends_with_its_block(echo: tuple[str, int]) -> None:
    with delayed(echo, milliseconds=0) as port:
        pass

    def refused() -> bool:
        try:
            socket.create_connection((_HOST, port)).close()
        except ConnectionRefusedError:
            return True
        return False

    assert wait_until(refused, what=f"port {port} to be closed")

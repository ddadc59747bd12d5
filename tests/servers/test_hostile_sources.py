"""Hostile sources and real Dovecots: nothing reaches them but well-formed commands and messages."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

import pytest

from mailsync_api.endpoint import Side
from mailsync_api.exitcodes import EXIT_TABLE
from tests.support.checker import read_mailbox
from tests.support.dialogue import faults_of
from tests.support.dovecot import REUSED, Dovecot, Settings, run_dovecot
from tests.support.hostile.sources import MAILS, SOURCES, HostileSource
from tests.support.mailbox import load, plain_message
from tests.support.recorded import PASSWORD, FastClock, endpoint, patience, run_between
from tests.support.scripted import serve

pytestmark = pytest.mark.servers

_MASKED: dict[str, Sequence[str]] = {
    "batches": (),
    "unasked literals": ("MULTIAPPEND",),
    "one by one": ("MULTIAPPEND", "LITERAL+"),
}
_SOON = patience(command=0.7, slowest_bytes_per_second=1_000_000)
_LATE = patience(command=20, window=20)
_KEPT = plain_message(1, path=("Keep",))
_USERS = [f"user{number}" for number in range(len(SOURCES))]


@pytest.fixture(scope="module", params=_MASKED, ids=str)
def destination(request: pytest.FixtureRequest) -> Iterator[Dovecot]:
    masked = tuple(_MASKED[request.param])
    users = dict.fromkeys(_USERS, PASSWORD)
    settings = Settings(users=users, clear_text_logins=True, masked=masked, extra=REUSED)
    with run_dovecot(settings) as server:
        yield server


@pytest.mark.parametrize(
    ("source", "user"),
    list(zip(SOURCES, _USERS, strict=True)),
    ids=[source.name for source in SOURCES],
)
def test_nothing_but_messages_arrives(
    destination: Dovecot, source: HostileSource, user: str
) -> None:
    with destination.login(user, PASSWORD) as session:
        load(session, [_KEPT])
        before = {path: Counter(found) for path, found in read_mailbox(session).items()}
    with ExitStack() as stack:
        server = source.make()
        script = stack.enter_context(serve(server))
        streams = stack.enter_context(_recorded(destination))
        report, _ = run_between(
            endpoint(script.port),
            endpoint(streams.port, side=Side.DESTINATION, username=user),
            clock=FastClock(),
            patient=_SOON if source.slow else _LATE,
        )
    with destination.login(user, PASSWORD) as session:
        after = {path: Counter(found) for path, found in read_mailbox(session).items()}
    verdict = report.verdict
    assert (verdict.exit_code, verdict.reason) == (source.code, EXIT_TABLE[source.code].reason), (
        verdict.message,
        report.skipped,
    )
    assert source.copied in {None, verdict.totals.copied}
    allowed = {*MAILS.values(), *source.also}
    assert [fault for said in streams.said for fault in faults_of(bytes(said), allowed)] == []
    assert after["Keep",] == before["Keep",]


class _Streams:
    """A line to a server that keeps what the client says, connection by connection."""

    def __init__(self, to: tuple[str, int]) -> None:
        self._to = to
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.said: list[bytearray] = []
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for sock in (self._listener, *self._sockets):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._to)
                self._sockets += (client, server)
                for sock in (client, server):
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                said = bytearray()
                self.said.append(said)
                for ends in ((client, server, said), (server, client, None)):
                    threading.Thread(target=_forward, args=ends, daemon=True).start()


def _forward(here: socket.socket, there: socket.socket, kept: bytearray | None) -> None:
    with suppress(OSError):
        while data := here.recv(1 << 16):
            if kept is not None:
                kept += data
            there.sendall(data)
        there.shutdown(socket.SHUT_WR)


@contextmanager
def _recorded(server: Dovecot) -> Iterator[_Streams]:
    streams = _Streams((server.host, server.port))
    try:
        yield streams
    finally:
        streams.close()

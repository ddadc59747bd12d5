"""Time is bounded, and a wish to stop is heard."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from typing_extensions import override

from mailsync_api.endpoint import Side
from mailsync_syncjob.deadline import Clock, Deadline, Stop
from mailsync_syncjob.errors import ConnectionLostError, InterruptedRunError, ProtocolError
from mailsync_syncjob.imap.wire import MAX_LINE_BYTES, Wire

if TYPE_CHECKING:
    from collections.abc import Iterator


class _HandClock(Clock):
    """A clock that sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0

    @override
    def monotonic(self) -> float:
        return self.now

    @override
    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_a_deadline_is_over_when_its_time_has_passed() -> None:
    clock = _HandClock()
    deadline = Deadline(5, now=clock.monotonic)
    clock.now = 4
    assert deadline.left() == 1
    clock.now = 6
    assert deadline.left() < 0


def test_waiting_ends_at_once_when_nothing_is_in_flight() -> None:
    stop = Stop(_HandClock(), grace_seconds=20)
    stop.check_waiting()
    stop.request()
    with pytest.raises(InterruptedRunError):
        stop.check_waiting()


def test_a_message_in_flight_has_its_grace_period() -> None:
    clock = _HandClock()
    stop = Stop(clock, grace_seconds=20)
    with stop.storing():
        stop.request()
        clock.now = 19
        stop.request()  # asking again does not start it anew
        stop.check_waiting()
        clock.now = 21
        with pytest.raises(InterruptedRunError):
            stop.check_waiting()


def test_a_pause_ends_when_the_run_shall_stop() -> None:
    clock = _HandClock()
    stop = Stop(clock)
    stop.pause(5)
    assert clock.now == pytest.approx(5)
    stop.request()
    with pytest.raises(InterruptedRunError):
        stop.pause(1000)
    assert clock.now == pytest.approx(5)


@pytest.fixture
def ends() -> Iterator[tuple[Wire, socket.socket]]:
    ours, theirs = socket.socketpair()
    clock = Clock()
    with ours, theirs:
        yield Wire(ours, side=Side.SOURCE, clock=clock, stop=Stop(clock)), theirs


def test_bytes_are_read_exactly(ends: tuple[Wire, socket.socket]) -> None:
    wire, peer = ends
    peer.sendall(b"* OK line\r\n12345rest\r\nx")
    with wire.within(5):
        assert wire.readline() == b"* OK line\r\n"
        assert wire.read(5) == b"12345"
        assert wire.read_some(2) == b"re"
        assert wire.readline() == b"st\r\n"
    assert wire.buffered == 1


def test_a_line_in_many_pieces_is_one_line(ends: tuple[Wire, socket.socket]) -> None:
    wire, peer = ends
    line = b"x" * 50_000 + b"\r\n"

    def dribble() -> None:
        for start in range(0, len(line), 1000):
            peer.sendall(line[start : start + 1000])

    thread = threading.Thread(target=dribble)
    thread.start()
    with wire.within(5):
        assert wire.readline() == line
    thread.join()


def test_much_is_written_while_the_other_side_reads_slowly(
    ends: tuple[Wire, socket.socket],
) -> None:
    wire, peer = ends
    received = bytearray()

    def read() -> None:
        while len(received) < 3_000_000:
            received.extend(peer.recv(5000))

    thread = threading.Thread(target=read)
    thread.start()
    with wire.within(20):
        wire.write(b"0123456789" * 300_000)
    thread.join(20)
    assert bytes(received) == b"0123456789" * 300_000


def test_silence_ends_at_the_deadline(ends: tuple[Wire, socket.socket]) -> None:
    wire, _ = ends
    with wire.within(0.1), pytest.raises(ConnectionLostError, match="no complete answer"):
        wire.readline()


def test_a_peer_that_has_vanished_is_not_waited_for_as_long_as_a_large_message_may_take() -> None:
    ours, theirs = socket.socketpair()
    clock = Clock()
    with ours, theirs:
        wire = Wire(ours, side=Side.SOURCE, clock=clock, stop=Stop(clock), silence=0.1)
        theirs.sendall(b"the beginning of ")
        with wire.within(3600), pytest.raises(ConnectionLostError, match="nothing came or went"):
            wire.read(1 << 20)
        with wire.within(3600), pytest.raises(ConnectionLostError, match="nothing came or went"):
            wire.write(bytes(8 << 20))


def test_a_closed_connection_is_an_end_not_an_empty_line(
    ends: tuple[Wire, socket.socket],
) -> None:
    wire, peer = ends
    peer.sendall(b"half a line")
    peer.close()
    with wire.within(5), pytest.raises(ConnectionLostError, match="closed"):
        wire.readline()


def test_an_endless_line_is_refused(ends: tuple[Wire, socket.socket]) -> None:
    wire, peer = ends

    def pour() -> None:
        with suppress(OSError):
            peer.sendall(b"x" * 20 * MAX_LINE_BYTES)

    thread = threading.Thread(target=pour)
    thread.start()
    with wire.within(10), pytest.raises(ProtocolError):
        wire.readline()
    wire.close()
    thread.join(5)

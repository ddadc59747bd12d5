"""COMPRESS=DEFLATE: the same bytes, fewer of them on the way, and no more than was allowed."""

from __future__ import annotations

import socket
import zlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsync_api.endpoint import Side
from mailsync_api.exitcodes import ExitCode
from mailsync_syncjob.deadline import Clock, Stop
from mailsync_syncjob.errors import ConnectionLostError, ProtocolError
from mailsync_syncjob.imap.deflate import Deflate
from mailsync_syncjob.imap.wire import Wire
from tests.support.between import MAILS, both
from tests.support.scripted import TinyServer, says

if TYPE_CHECKING:
    from collections.abc import Iterator


def _all(deflate: Deflate) -> bytes:
    found = b""
    while piece := deflate.unpack():
        assert len(piece) <= 1 << 16
        found += piece
    return found


@given(st.lists(st.binary(max_size=2000), max_size=10), st.integers(1, 50))
def test_what_was_packed_comes_out_in_whatever_pieces_it_arrives(
    words: list[bytes], step: int
) -> None:
    ours, theirs = Deflate(), Deflate()
    for word in words:
        packed = ours.pack(word)
        found = b""
        for at in range(0, len(packed), step):
            theirs.feed(packed[at : at + step])
            found += _all(theirs)
        # All of it, before anything follows: the other side waits for nothing.
        assert found == word


@pytest.mark.parametrize("size", [(1 << 16) - 1, 1 << 16, (1 << 16) + 1, 10 << 20])
def test_a_long_piece_comes_out_whole_without_anything_behind_it(size: int) -> None:
    ours, theirs = Deflate(), Deflate()
    theirs.feed(ours.pack(bytes(size)))
    assert _all(theirs) == bytes(size)


@pytest.fixture
def wire() -> Iterator[tuple[Wire, socket.socket]]:
    ours, theirs = socket.socketpair()
    clock = Clock()
    with ours, theirs:
        wire = Wire(ours, side=Side.SOURCE, clock=clock, stop=Stop(clock))
        wire.compress()
        yield wire, theirs


def test_a_bomb_is_unpacked_no_further_than_an_answer_may_be_long(
    wire: tuple[Wire, socket.socket],
) -> None:
    compressed, theirs = wire
    theirs.sendall(Deflate().pack(bytes(1 << 30))[: 200 << 10])
    with pytest.raises(ProtocolError), compressed.within(10.0, at_most=1 << 20):
        compressed.read(1 << 30)
    assert compressed.buffered <= 1 << 20


def test_a_broken_stream_ends_the_connection(wire: tuple[Wire, socket.socket]) -> None:
    compressed, theirs = wire
    theirs.sendall(b"* OK this is clear text\r\n")
    with pytest.raises(ProtocolError, match="compressed"), compressed.within(5.0):
        compressed.readline()


def test_a_stream_that_ends_is_broken(wire: tuple[Wire, socket.socket]) -> None:
    compressed, theirs = wire
    packer = zlib.compressobj(wbits=-15)
    theirs.sendall(packer.compress(b"* BYE\r\n") + packer.flush(zlib.Z_FINISH))
    with compressed.within(5.0):
        assert compressed.readline() == b"* BYE\r\n"
        with pytest.raises(ProtocolError, match="ended"):
            compressed.readline()


def test_an_end_of_the_connection_is_one_still(wire: tuple[Wire, socket.socket]) -> None:
    compressed, theirs = wire
    theirs.close()
    with pytest.raises(ConnectionLostError), compressed.within(5.0):
        compressed.readline()


def test_what_comes_right_behind_the_consent_is_compressed() -> None:
    ours, theirs = socket.socketpair()
    clock = Clock()
    with ours, theirs:
        wire = Wire(ours, side=Side.SOURCE, clock=clock, stop=Stop(clock))
        theirs.sendall(b"a OK go on\r\n" + Deflate().pack(b"* 1 EXISTS\r\n"))
        with wire.within(5.0):
            assert wire.readline() == b"a OK go on\r\n"
            wire.compress()
            assert wire.ready()
            assert wire.readline() == b"* 1 EXISTS\r\n"


@pytest.mark.parametrize(
    ("capabilities", "answer"),
    [
        (b"IMAP4rev1 SASL-IR AUTH=PLAIN", b"OK go on"),
        (b"IMAP4rev1 SASL-IR AUTH=PLAIN COMPRESS=DEFLATE", b"NO no"),
    ],
)
def test_where_it_is_not_to_be_had_the_run_goes_on_without_and_says_so(
    capabilities: bytes, answer: bytes
) -> None:
    destination = TinyServer(capabilities=capabilities)
    destination.answers[b"COMPRESS"] = says(end=answer)
    with both(destination=destination) as pair:
        report, output = pair.run(server={"compression": "Deflate"})
    assert report.verdict.exit_code is ExitCode.DONE
    assert [body for _, body in destination.appended] == list(MAILS.values())
    assert any("without compression" in text for _, text in output.logs)

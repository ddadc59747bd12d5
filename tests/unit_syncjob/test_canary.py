"""Literals that come unasked: tried with what is harmless before a message goes that way."""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING

import pytest
from typing_extensions import override

from mailsync_api.endpoint import Side
from mailsync_api.exitcodes import ExitCode
from mailsync_syncjob.deadline import Clock, Stop
from mailsync_syncjob.errors import ConnectionLostError
from mailsync_syncjob.imap.canary import framing_kept
from mailsync_syncjob.imap.channel import Channel
from mailsync_syncjob.imap.wire import Wire
from tests.support.between import MAILS, both, mail
from tests.support.muddled import Muddled
from tests.support.recorded import patience
from tests.support.scripted import TinyServer, serve

if TYPE_CHECKING:
    from tests.support.scripted import Peer

_UNASKED = re.compile(rb"\{\d+\+\}\r\n")
_TRAPS = (
    b"a1 DELETE INBOX\r\n",
    b"a1 NOOP\r\n" * 40,
    b"a1 DELETE INBOX\r\na2 APPEND INBOX {3}\r\nabc\r\n" * 20,
    b"* BYE\r\nm1 OK done\r\n{5}\r\nx DELETE INBOX\r\n",
)


def _traps(count: int) -> dict[int, bytes]:
    return {n: mail(n, _TRAPS[n % len(_TRAPS)]) for n in range(1, count + 1)}


@pytest.mark.parametrize("more", [b"", b" MULTIAPPEND"])
def test_a_server_that_loses_framing_is_found_out_and_runs_no_line_of_a_message(
    more: bytes,
) -> None:
    mails = _traps(40)
    destination = Muddled()
    destination.capabilities += more
    with both(TinyServer(mails), destination) as pair:
        report, output = pair.run()
    assert report.verdict.exit_code is ExitCode.DONE, output.logs
    assert [body for _, body in destination.appended] == list(mails.values())
    assert b"NOOP" in b"".join(destination.commands)  # it does lose framing: the canary's lines
    for body in mails.values():
        assert not set(body.splitlines(keepends=True)) & set(destination.commands) - {b"\r\n"}
    assert not any(b"DELETE" in command for command in destination.commands)
    # Nothing but the canary came unasked.
    unasked = [line for line in destination.commands if _UNASKED.search(line)]
    assert all(b"mailsync-canary" in line for line in unasked)
    assert any("takes what is sent that way for commands" in text for _, text in output.logs)


def test_the_twin_of_the_fault_would_run_lines_of_messages() -> None:
    destination = Muddled()
    body = b"a1 DELETE INBOX\r\n"
    append = b'y%d APPEND "INBOX" {%d+}\r\n%s\r\n'
    with serve(destination) as script, socket.create_connection(("127.0.0.1", script.port)) as sock:
        sock.sendall(b"".join(append % (n, len(body), body) for n in (1, 2)))
        with sock.makefile("rb") as file:
            answers = [file.readline() for _ in range(3)]
        sock.shutdown(socket.SHUT_RDWR)
    assert [answer.partition(b" ")[0] for answer in answers] == [b"*", b"*", b"*"]
    assert body in destination.commands


def test_it_is_tried_once_and_only_where_something_is_stored() -> None:
    destination = TinyServer()
    with both(destination=destination) as pair:
        pair.run()
        assert pair.destination_script.said.count(b'"mailsync-canary-') == 4
        destination.messages = dict(MAILS)
        pair.run()
        assert pair.destination_script.said.count(b'"mailsync-canary-') == 4


@pytest.mark.parametrize(
    "capabilities", [b"IMAP4rev1 AUTH=PLAIN SASL-IR", b"IMAP4rev1 MULTIAPPEND"]
)
def test_what_is_not_announced_is_not_tried(capabilities: bytes) -> None:
    destination = TinyServer(capabilities=capabilities + b" AUTH=PLAIN SASL-IR")
    with both(destination=destination) as pair:
        report, _ = pair.run()
    assert report.verdict.totals.copied == len(MAILS)
    assert b"canary" not in pair.destination_script.said
    assert not _UNASKED.search(pair.destination_script.said)


def test_one_message_alone_is_stored_without_a_trial() -> None:
    with both(TinyServer({1: mail(1)})) as pair:
        report, _ = pair.run()
    assert report.verdict.totals.copied == 1
    assert not _UNASKED.search(pair.destination_script.said)


@pytest.mark.parametrize(
    ("append", "line", "kept"),
    [
        (b"%s NO [TRYCREATE] none\r\n", b"", True),
        (b"%s BAD none\r\n", b"", True),
        (b"* 3 EXISTS\r\n%s NO none\r\n", b"", True),
        (b"%s NO none\r\n", b"%s OK NOOP done\r\n", False),
        (b"", b"%s OK NOOP done\r\n", False),
        (b"", b"%s BAD what\r\n", False),
        (b"", b"* BAD what\r\n", False),
        (b"", b"", False),
        (b"+ go on\r\n", b"", False),
        (b"bogus\r\n", b"", False),
    ],
)
def test_what_a_server_makes_of_the_canary_decides(
    append: bytes,
    line: bytes,
    kept: bool,  # noqa: FBT001  a column of the table
) -> None:
    assert _trial(append, line)[0] is kept


def test_a_folder_that_a_server_made_for_the_canary_is_deleted_and_no_other() -> None:
    kept, said = _trial(b"%s OK stored\r\n", b"")
    assert kept
    (name,) = set(re.findall(rb'APPEND "(mailsync-canary-[0-9a-f]{16})"', said))
    assert re.findall(rb" DELETE (.*)\r\n", said) == [b'"%s"' % name]


def test_a_server_that_hangs_up_on_it_gets_its_mail_all_the_same() -> None:
    tried: list[bytes] = []

    class Allergic(TinyServer):
        """Hangs up on folders that it does not have."""

        @override
        def refused(self, peer: Peer, tag: bytes) -> None:
            tried.append(tag)
            peer.close()

    destination = Allergic()
    with both(destination=destination) as pair:
        report, output = pair.run()
    assert report.verdict.exit_code is ExitCode.DONE, output.logs
    assert [body for _, body in destination.appended] == list(MAILS.values())
    assert len(tried) == 2
    assert report.verdict.strategy is not None
    assert report.verdict.strategy.canary == "Lost"


def test_a_connection_that_breaks_says_nothing_about_framing() -> None:
    with pytest.raises(ConnectionLostError):
        _trial(b"* BYE\r\n", b"")


def test_the_canary_is_harmless_line_by_line() -> None:
    _, said = _trial(b"%s NO none\r\n", b"")
    bodies = re.sub(rb"\S+ APPEND \"mailsync-canary-\w+\" \{\d+\+\}\r\n", b"", said)
    assert {line.partition(b" ")[2] for line in bodies.splitlines()} == {b"NOOP", b""}
    sizes = [int(size) for size in re.findall(rb"\{(\d+)\+\}", said)]
    assert len(sizes) > 2
    assert max(sizes) <= 4096


def _trial(append: bytes, line: bytes) -> tuple[bool, bytes]:
    """Return what the canary finds out, and what was sent."""

    def dialogue(peer: Peer) -> None:
        while True:
            tag, rest = peer.command()
            lines = rest.split(b"\r\n")[1:]
            said = append if rest.startswith(b"APPEND") else b"%s OK done\r\n"
            peer.send(said.replace(b"%s", tag))
            for one in lines:
                peer.send(line.replace(b"%s", one.partition(b" ")[0]))

    clock = Clock()
    with serve(dialogue) as script, socket.create_connection(("127.0.0.1", script.port)) as sock:
        wire = Wire(sock, side=Side.DESTINATION, clock=clock, stop=Stop(clock))
        channel = Channel(wire, side=Side.DESTINATION, trusted=True)
        kept = framing_kept(channel, patience(command=0.5))
        sock.close()
    return kept, script.said

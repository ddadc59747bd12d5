"""Without MULTIAPPEND: several APPENDs under way, each answered for itself."""

from __future__ import annotations

import select
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from mailsync_api.endpoint import Compression, Side
from mailsync_api.exitcodes import ExitCode
from mailsync_syncjob.deadline import Clock, Stop
from mailsync_syncjob.errors import ProtocolError
from mailsync_syncjob.imap import session
from mailsync_syncjob.imap.wire import Wire
from tests.support.between import MAILS, both, mail
from tests.support.recorded import patience
from tests.support.scripted import TinyServer, messages_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.scripted import Answer, Peer

_PLUS = b"IMAP4rev1 AUTH=PLAIN SASL-IR LITERAL+ UIDPLUS"
_MINUS = b"IMAP4rev1 AUTH=PLAIN SASL-IR LITERAL- UIDPLUS"
_ASKED = b"IMAP4rev1 AUTH=PLAIN SASL-IR UIDPLUS"
_SOON = 0.05
_MANY = {uid: mail(uid) for uid in range(1, 41)}


def _bodies(server: TinyServer) -> list[bytes]:
    return [body for _, body in server.appended]


@pytest.mark.parametrize("capabilities", [_PLUS, _MINUS])
def test_commands_follow_each_other_without_answers(capabilities: bytes) -> None:
    destination = TinyServer(capabilities=capabilities)
    waiting: list[tuple[bytes, bytes]] = []

    def reluctant(peer: Peer, tag: bytes, rest: bytes) -> None:
        waiting.append((tag, rest))
        if len(waiting) in {32, 40}:  # nothing is answered before so many have come
            for each in waiting[len(destination.appended) :]:
                destination.append(peer, *each)

    destination.answers[b"APPEND"] = reluctant
    with both(TinyServer(dict(_MANY)), destination) as pair:
        report, output = pair.run()
    assert report.verdict.exit_code is ExitCode.DONE, output.logs
    assert _bodies(destination) == list(_MANY.values())
    assert report.verdict.totals.copied == 40


def test_a_command_goes_with_the_end_of_the_one_before_where_literals_are_asked_for() -> None:
    destination = TinyServer(capabilities=_ASKED)
    together: list[bool] = []

    def slow(peer: Peer, tag: bytes, rest: bytes) -> None:
        together.append(peer.says_more(_SOON))
        destination.append(peer, tag, rest)

    destination.answers[b"APPEND"] = slow
    with both(TinyServer(dict(MAILS)), destination) as pair:
        report, output = pair.run()
    assert report.verdict.exit_code is ExitCode.DONE, output.logs
    assert _bodies(destination) == list(MAILS.values())
    assert together == [True, True, False]
    assert any("with the end of the one before" in text for _, text in output.logs)


@pytest.mark.parametrize("end", [b"NO [CANNOT] not that one", b"BAD not that one"])
@pytest.mark.parametrize("capabilities", [_PLUS, _ASKED])
def test_a_refused_message_costs_only_itself(capabilities: bytes, end: bytes) -> None:
    destination = TinyServer(capabilities=capabilities)

    def choosy(peer: Peer, tag: bytes, rest: bytes) -> None:
        if b"<20@x>" in rest:
            peer.send(tag + b" " + end + b"\r\n")
        else:
            destination.append(peer, tag, rest)

    destination.answers[b"APPEND"] = choosy
    with both(TinyServer(dict(_MANY)), destination) as pair:
        report, _ = pair.run()
    assert report.verdict.exit_code is ExitCode.SKIPPED_ITEMS
    (skipped,) = report.skipped
    assert (skipped.uid, skipped.reason) == (20, "not that one")
    assert sorted(_bodies(destination)) == sorted(b for uid, b in _MANY.items() if uid != 20)
    assert report.verdict.totals.copied == 39


def test_nothing_is_sent_of_a_message_that_is_refused_instead_of_asked_for() -> None:
    large = mail(2, b"x" * 5000)
    mails = {1: mail(1), 2: large, 3: mail(3)}

    def consents(line: bytes) -> bytes:
        if b"{%d}" % len(large) in line:
            return line.partition(b" ")[0] + b" NO [TOOBIG] too large\r\n"
        return b"+ go on\r\n"

    destination = TinyServer(capabilities=_ASKED, consents=consents)
    with both(TinyServer(mails), destination) as pair:
        report, _ = pair.run()
    assert report.verdict.exit_code is ExitCode.SKIPPED_ITEMS
    assert [(m.uid, m.reason) for m in report.skipped] == [(2, "too large")]
    assert _bodies(destination) == [mails[1], mails[3]]
    assert b"xxxx" not in pair.destination_script.said


def test_answers_may_come_in_any_order() -> None:
    destination = TinyServer()
    waiting: list[tuple[bytes, bytes]] = []

    def backwards(peer: Peer, tag: bytes, rest: bytes) -> None:
        waiting.append((tag, rest))
        if len(waiting) == len(MAILS):
            for each in reversed(waiting):
                destination.append(peer, *each)

    destination.answers[b"APPEND"] = backwards
    with both(destination=destination) as pair:
        report, _ = pair.run()
    assert report.verdict.exit_code is ExitCode.DONE
    assert sorted(_bodies(destination)) == sorted(MAILS.values())


@pytest.mark.parametrize("answer", [b"+ more\r\n", b"x1 OK done\r\n"])
def test_an_answer_to_nothing_ends_the_run(answer: bytes) -> None:
    destination = TinyServer()
    destination.answers[b"APPEND"] = lambda peer, *_: peer.send(answer)
    with both(destination=destination) as pair:
        report, _ = pair.run()
    assert report.verdict.exit_code is ExitCode.PROTOCOL


def test_what_does_not_fit_any_more_ends_the_run_with_what_did() -> None:
    destination = TinyServer()

    def small(peer: Peer, tag: bytes, rest: bytes) -> None:
        if len(destination.appended) < 7:
            destination.append(peer, tag, rest)
        else:
            peer.send(tag + b" NO [OVERQUOTA] full\r\n")

    destination.answers[b"APPEND"] = small
    with both(TinyServer(dict(_MANY)), destination) as pair:
        report, _ = pair.run()
    assert report.verdict.exit_code is ExitCode.OVER_QUOTA
    assert report.verdict.totals.copied == 7


def test_a_server_that_asks_to_wait_is_told_of_after_what_was_under_way() -> None:
    destination = TinyServer()

    def busy(peer: Peer, tag: bytes, rest: bytes) -> None:
        if b"<3@x>" in rest:
            peer.send(tag + b" NO [THROTTLED] Suggested Backoff Time: 300000 milliseconds\r\n")
        else:
            destination.append(peer, tag, rest)

    destination.answers[b"APPEND"] = busy
    with both(TinyServer(dict(_MANY)), destination) as pair:
        report, _ = pair.run()
    assert report.verdict.exit_code is ExitCode.THROTTLED
    assert report.verdict.totals.copied == len(destination.appended) > 2


def test_a_temporary_refusal_is_waited_out() -> None:
    destination = TinyServer()
    refused: list[bytes] = []

    def busy(peer: Peer, tag: bytes, rest: bytes) -> None:
        if b"<2@x>" in rest and len(refused) < 2:
            refused.append(rest)
            peer.send(tag + b" NO [UNAVAILABLE] not now\r\n")
        else:
            destination.append(peer, tag, rest)

    destination.answers[b"APPEND"] = busy
    with both(destination=destination) as pair:
        report, _ = pair.run()
    assert report.verdict.exit_code is ExitCode.DONE
    assert sorted(_bodies(destination)) == sorted(MAILS.values())


@pytest.mark.parametrize("times", [1, 2, 9])
def test_a_message_that_passes_through_is_waited_for_too(
    monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    monkeypatch.setattr(session, "HOLD_BYTES", 1000)
    mails = {1: mail(1), 2: mail(2, b"x" * 2000), 3: mail(3)}
    destination = TinyServer()
    refused: list[bytes] = []

    def busy(peer: Peer, tag: bytes, rest: bytes) -> None:
        if b"<2@x>" in rest and len(refused) < times:
            refused.append(rest)
            peer.send(tag + b" NO [UNAVAILABLE] not now\r\n")
        else:
            destination.append(peer, tag, rest)

    destination.answers[b"APPEND"] = busy
    with both(TinyServer(mails), destination) as pair:
        report, _ = pair.run()
    stored = sorted(mails.values()) if times < 9 else [mails[1], mails[3]]
    assert sorted(_bodies(destination)) == stored
    assert [m.reason for m in report.skipped] == ([] if times < 9 else ["not now"])
    assert len(refused) == min(times, 3)


def _confused(kind: str) -> Callable[[TinyServer], Answer]:
    """Return a server that cannot take a command before it has answered the last one."""

    def make(destination: TinyServer) -> Answer:
        def answer(peer: Peer, tag: bytes, rest: bytes) -> None:
            if not peer.says_more(_SOON):
                destination.append(peer, tag, rest)
                destination.messages[len(destination.messages) + 1] = messages_of(rest)[0][1]
            elif kind == "bad":
                peer.send(tag + b" BAD what comes there\r\n")
            elif kind == "silent":
                peer.wait_for_hang_up()
            else:
                peer.close()

        return answer

    return make


@pytest.mark.parametrize("kind", ["bad", "silent", "closes"])
@pytest.mark.parametrize("capabilities", [_PLUS, _ASKED])
def test_where_it_is_not_understood_messages_go_one_at_a_time(
    capabilities: bytes, kind: str
) -> None:
    mails = {uid: mail(uid) for uid in range(1, 13)}
    destination = TinyServer(capabilities=capabilities)
    destination.answers[b"APPEND"] = _confused(kind)(destination)
    with both(TinyServer(mails), destination) as pair:
        report, output = pair.run(patient=patience(command=2.0))
    assert report.verdict.exit_code is ExitCode.DONE, output.logs
    assert sorted(_bodies(destination)) == sorted(mails.values())
    if kind == "bad" or capabilities == _ASKED:
        assert any("one message at a time from now on" in text for _, text in output.logs)
    # else: all of them were in doubt after the first time, and went one at a time for that


def test_both_sides_may_talk_at_once() -> None:
    ours, theirs = socket.socketpair()
    for sock in (ours, theirs):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    clock = Clock()
    wire = Wire(ours, side=Side.DESTINATION, clock=clock, stop=Stop(clock))
    said = b"* news\r\n" * 30_000
    heard: list[bytes] = []

    def serve() -> None:
        theirs.sendall(said)  # it does not listen before it has said all of it
        while len(b"".join(heard)) < 1 << 20:
            heard.append(theirs.recv(1 << 16))

    thread = threading.Thread(target=serve)
    thread.start()
    with wire.within(10.0, at_most=1 << 20):
        wire.write(bytes(1 << 20))
        assert wire.read(len(said)) == said
    thread.join()
    assert b"".join(heard) == bytes(1 << 20)
    wire.close()
    theirs.close()


def test_a_server_that_talks_without_end_is_not_listened_to_without_end() -> None:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    clock = Clock()
    wire = Wire(ours, side=Side.DESTINATION, clock=clock, stop=Stop(clock))

    def talk() -> None:
        while not stop.is_set():
            if select.select([], [theirs], [], 0.1)[1]:
                try:
                    theirs.send(b"* news\r\n" * 100)
                except OSError:
                    return

    stop = threading.Event()
    thread = threading.Thread(target=talk)
    thread.start()
    with pytest.raises(ProtocolError), wire.within(10.0, at_most=1 << 18):
        wire.write(bytes(1 << 24))
    stop.set()
    thread.join()
    wire.close()
    theirs.close()


@pytest.mark.parametrize(
    ("capabilities", "storing", "literals", "canary", "messages"),
    [
        (_PLUS + b" MULTIAPPEND", "MultiAppend", "LITERAL+", "Kept", 50),
        (_ASKED + b" MULTIAPPEND", "MultiAppend", "AskedFor", "", 50),
        (_PLUS, "Pipelined", "LITERAL+", "Kept", 1),
        (_MINUS, "Pipelined", "LITERAL-", "Kept", 1),
        (_ASKED, "Chained", "AskedFor", "", 1),
    ],
)
def test_the_report_says_how_messages_were_stored(
    capabilities: bytes, storing: str, literals: str, canary: str, messages: int
) -> None:
    destination = TinyServer(capabilities=capabilities)
    with both(destination=destination) as pair:
        report, output = pair.run()
    strategy = report.verdict.strategy
    assert strategy is not None
    assert (strategy.storing, strategy.literals, strategy.canary) == (storing, literals, canary)
    assert strategy.batch_messages == messages
    assert strategy.destination_connections == 1
    assert sum("destination: storing" in text for _, text in output.logs) == 1


def test_the_report_says_what_was_learnt() -> None:
    destination = TinyServer(capabilities=_ASKED)
    destination.answers[b"APPEND"] = _confused("bad")(destination)
    with both(destination=destination) as pair:
        report, _ = pair.run()
    strategy = report.verdict.strategy
    assert strategy is not None
    assert strategy.storing == "Single"
    assert strategy.source_compression is Compression.NONE

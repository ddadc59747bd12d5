"""Whole runs with MULTIAPPEND: all of a batch or none, and one bad message costs only itself."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from mailsync_api.exitcodes import ExitCode
from tests.support.between import MAILS, both, mail
from tests.support.recorded import patience
from tests.support.scripted import TinyServer, messages_of, says

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.scripted import Answer, Peer

_MANY = b"IMAP4rev1 AUTH=PLAIN SASL-IR LITERAL+ UIDPLUS MULTIAPPEND"
_UNASKED = re.compile(rb"\{(\d+)\+\}\r\n")


def _destination(**answers: Answer) -> TinyServer:
    named = {name.encode(): answer for name, answer in answers.items()}
    return TinyServer(capabilities=_MANY, answers=named)


def _commands(said: bytes) -> int:
    return len(re.findall(rb"^m\w+ APPEND ", said, re.MULTILINE))


def _bodies(server: TinyServer) -> list[bytes]:
    return [body for _, body in server.appended]


def _store(server: TinyServer, rest: bytes) -> None:
    """Let what an APPEND holds be in the folder."""
    for _, body in messages_of(rest):
        server.messages[len(server.messages) + 1] = body


def test_messages_go_in_one_command_with_flags_and_dates_of_their_own() -> None:
    source = TinyServer(dict(MAILS))

    def listing(peer: Peer, tag: bytes, rest: bytes) -> None:
        flags = (b"\\Seen", b"", b"\\Flagged work")
        for number, (uid, body) in enumerate(MAILS.items(), start=1):
            header = b"HEADER" in rest
            peer.send(TinyServer.line(number, uid, body, header=header, flags=flags[number - 1]))
        peer.send(tag + b" OK done\r\n")

    source.answers[b"FETCH"] = listing
    with both(source, _destination()) as pair:
        report, _ = pair.run()
    assert report.verdict.exit_code is ExitCode.DONE
    assert _commands(pair.destination_script.said_in_earnest) == 1
    assert _bodies(pair.destination) == list(MAILS.values())
    words = [command for command, _ in pair.destination.appended]
    assert [word.strip() for word in words] == [
        b'APPEND "INBOX" (\\Seen) " 1-Jan-2024 00:00:00 +0000"',
        b'" 1-Jan-2024 00:00:00 +0000"',
        b'(\\Flagged work) " 1-Jan-2024 00:00:00 +0000"',
    ]


def test_a_command_takes_fifty_messages() -> None:
    mails = {uid: mail(uid) for uid in range(1, 131)}
    with both(TinyServer(mails), _destination()) as pair:
        report, _ = pair.run()
    assert report.verdict.totals.copied == 130
    assert _commands(pair.destination_script.said_in_earnest) == 3
    assert _bodies(pair.destination) == list(mails.values())


def test_a_refused_batch_is_stored_one_by_one_and_the_bad_message_named() -> None:
    destination = _destination()

    def choosy(peer: Peer, tag: bytes, rest: bytes) -> None:
        if b"<2@x>" in rest:
            peer.send(tag + b" NO [CANNOT] not that one\r\n")
        else:
            destination.append(peer, tag, rest)

    destination.answers[b"APPEND"] = choosy
    with both(destination=destination) as pair:
        report, _ = pair.run()
    assert report.verdict.exit_code is ExitCode.SKIPPED_ITEMS
    (skipped,) = report.skipped
    assert (skipped.uid, skipped.reason, skipped.message_id) == (2, "not that one", "<2@x>")
    assert _bodies(destination) == [MAILS[1], MAILS[5]]
    assert report.verdict.totals.copied == 2


def test_of_a_batch_that_does_not_fit_as_many_are_stored_as_do() -> None:
    destination = _destination()

    def small(peer: Peer, tag: bytes, rest: bytes) -> None:
        if len(destination.appended) + len(messages_of(rest)) > 2:
            peer.send(tag + b" NO [OVERQUOTA] Quota exceeded\r\n")
        else:
            destination.append(peer, tag, rest)

    destination.answers[b"APPEND"] = small
    with both(destination=destination) as pair:
        report, _ = pair.run()
    assert report.verdict.exit_code is ExitCode.OVER_QUOTA
    assert _bodies(destination) == [MAILS[1], MAILS[2]]
    assert report.verdict.totals.copied == 2


@pytest.mark.parametrize("end", [b"NO no", b"BAD what", b"NO [UNAVAILABLE] later"])
def test_a_server_that_refuses_every_batch_still_gets_every_message(end: bytes) -> None:
    mails = {uid: mail(uid) for uid in range(1, 121)}
    destination = _destination()

    def singly(peer: Peer, tag: bytes, rest: bytes) -> None:
        if len(messages_of(rest)) > 1:
            peer.send(tag + b" " + end + b"\r\n")
        else:
            destination.append(peer, tag, rest)

    destination.answers[b"APPEND"] = singly
    with both(TinyServer(mails), destination) as pair:
        report, _ = pair.run()
    assert report.verdict.exit_code is ExitCode.DONE
    assert _bodies(destination) == list(mails.values())
    # It learns: few of 120 messages are sent in vain.
    assert _commands(pair.destination_script.said_in_earnest) < 120 + 30


def test_a_refused_keyword_costs_no_message_of_its_batch() -> None:
    destination = _destination()

    def listing(peer: Peer, tag: bytes, rest: bytes) -> None:
        for number, (uid, body) in enumerate(MAILS.items(), start=1):
            flags = b"\\Seen bad.word" if uid == 2 else b"good"
            header = b"HEADER" in rest
            peer.send(TinyServer.line(number, uid, body, header=header, flags=flags))
        peer.send(tag + b" OK done\r\n")

    def choosy(peer: Peer, tag: bytes, rest: bytes) -> None:
        if any(b"bad.word" in words for words, _ in messages_of(rest)):
            peer.send(tag + b" NO keyword refused\r\n")
        else:
            destination.append(peer, tag, rest)

    destination.answers |= {b"APPEND": choosy, b"UID STORE": says(end=b"NO refused")}
    source = TinyServer(dict(MAILS), answers={b"FETCH": listing})
    with both(source, destination) as pair:
        report, _ = pair.run()
    assert report.verdict.exit_code is ExitCode.DONE
    assert report.folders[0].keywords_refused == ["bad.word"]
    assert _bodies(destination) == list(MAILS.values())
    assert [b"(good)" in words for words, _ in destination.appended] == [True, False, True]


@pytest.mark.parametrize("capability", [b"LITERAL+", b"LITERAL-", b"ID"])
@pytest.mark.parametrize("many", [b"MULTIAPPEND", b"X-NONE"])
def test_literals_are_sent_unasked_only_where_and_as_far_as_announced(
    capability: bytes, many: bytes
) -> None:
    sizes = (10, 4096, 4097, 50_000)
    mails = {n: mail(n) + b"x" * (size - len(mail(n))) for n, size in enumerate(sizes, start=1)}
    destination = TinyServer(
        capabilities=b"IMAP4rev1 AUTH=PLAIN SASL-IR " + capability + b" " + many
    )
    with both(TinyServer(mails), destination) as pair:
        report, _ = pair.run()
    assert report.verdict.exit_code is ExitCode.DONE
    assert _bodies(destination) == list(mails.values())
    unasked = [int(size) for size in _UNASKED.findall(pair.destination_script.said_in_earnest)]
    lengths = [len(body) for body in mails.values()]
    allowed = {b"LITERAL+": 1 << 30, b"LITERAL-": 4096, b"ID": -1}[capability]
    assert unasked == [size for size in lengths if size <= allowed]


def _vanish_before(_: TinyServer) -> Answer:
    def answer(peer: Peer, *_: bytes) -> None:
        peer.close()

    return answer


def _vanish_after(destination: TinyServer) -> Answer:
    def answer(peer: Peer, _: bytes, rest: bytes) -> None:
        _store(destination, rest)
        peer.close()

    return answer


def _never_answer(destination: TinyServer) -> Answer:
    def answer(peer: Peer, _: bytes, rest: bytes) -> None:
        _store(destination, rest)
        peer.wait_for_hang_up()

    return answer


def _say_bye(destination: TinyServer) -> Answer:
    def answer(peer: Peer, _: bytes, rest: bytes) -> None:
        _store(destination, rest)
        peer.send(b"* BYE restarting\r\n")
        peer.close()

    return answer


def _confirm_fewer(destination: TinyServer) -> Answer:
    def answer(peer: Peer, tag: bytes, rest: bytes) -> None:
        (_, body), *_ = messages_of(rest)
        destination.messages[len(destination.messages) + 1] = body
        peer.send(tag + b" OK [APPENDUID 7 1] stored\r\n")

    return answer


@pytest.mark.parametrize(
    "fault", [_vanish_before, _vanish_after, _never_answer, _say_bye, _confirm_fewer]
)
def test_after_an_answer_that_never_came_the_folder_is_compared_anew(
    fault: Callable[[TinyServer], Answer],
) -> None:
    destination = _destination()
    broken = fault(destination)
    sizes: list[int] = []

    def once(peer: Peer, tag: bytes, rest: bytes) -> None:
        sizes.append(len(messages_of(rest)))
        if len(sizes) == 1:
            broken(peer, tag, rest)
            return
        _store(destination, rest)
        destination.append(peer, tag, rest)

    destination.answers[b"APPEND"] = once
    with both(destination=destination) as pair:
        report, output = pair.run(patient=patience(command=1.0))
    assert report.verdict.exit_code is ExitCode.DONE, output.logs
    assert sorted(destination.messages.values()) == sorted(MAILS.values())
    assert report.verdict.totals.copied == 3
    # What was in doubt is not put at risk together again.
    assert all(size == 1 for size in sizes[1:])


def test_what_the_server_stores_late_is_waited_for() -> None:
    destination = _destination()
    late: list[bytes] = []
    looks: list[int] = []

    def append(peer: Peer, tag: bytes, rest: bytes) -> None:
        if not late:
            late.append(rest)
            peer.close()
            return
        if len(looks) < 3:
            _store(destination, late[0])
        _store(destination, rest)
        destination.append(peer, tag, rest)

    def status(peer: Peer, tag: bytes, rest: bytes) -> None:
        if b"UIDNEXT" in rest:
            looks.append(1)
            if len(looks) == 3:
                _store(destination, late[0])
        count = len(destination.messages)
        line = b"STATUS INBOX (MESSAGES %d UIDNEXT %d)" % (count, count + 1)
        says(line)(peer, tag, rest)

    destination.answers |= {b"APPEND": append, b"STATUS": status}
    with both(destination=destination) as pair:
        report, _ = pair.run()
    assert report.verdict.exit_code is ExitCode.DONE
    assert sorted(destination.messages.values()) == sorted(MAILS.values())


def test_a_folder_that_never_stands_still_is_not_waited_for_without_end() -> None:
    destination = _destination()
    calls: list[int] = []

    def append(peer: Peer, tag: bytes, rest: bytes) -> None:
        calls.append(1)
        if len(calls) == 1:
            peer.close()
        else:
            destination.append(peer, tag, rest)

    looks: list[int] = []

    def status(peer: Peer, tag: bytes, rest: bytes) -> None:
        looks.append(1)
        says(b"STATUS INBOX (MESSAGES 0 UIDNEXT %d)" % len(looks))(peer, tag, rest)

    destination.answers |= {b"APPEND": append, b"STATUS": status}
    with both(destination=destination) as pair:
        report, _ = pair.run()
    assert report.verdict.exit_code is ExitCode.DONE
    assert len(destination.appended) == 3
    assert len(looks) > 100


def test_what_is_in_doubt_is_stored_last_and_after_another_comparison() -> None:
    mails = {uid: mail(uid) for uid in range(1, 71)}
    destination = _destination()
    late: list[bytes] = []

    def append(peer: Peer, tag: bytes, rest: bytes) -> None:
        if not late:
            late.append(rest)
            peer.close()
            return
        _store(destination, rest)
        destination.append(peer, tag, rest)
        if len(late) == 1:
            # Long after the folder seemed to stand still.
            _store(destination, late[0])
            late.append(b"")

    destination.answers[b"APPEND"] = append
    with both(TinyServer(mails), destination) as pair:
        report, _ = pair.run()
    assert report.verdict.exit_code is ExitCode.DONE
    assert sorted(destination.messages.values()) == sorted(mails.values())


def test_a_message_that_the_destination_hangs_up_on_does_not_block_its_batch() -> None:
    destination = _destination()

    def allergic(peer: Peer, tag: bytes, rest: bytes) -> None:
        if b"<2@x>" in rest:
            peer.send(b"* BYE Invalid character in literal\r\n")
            peer.close()
            return
        _store(destination, rest)
        destination.append(peer, tag, rest)

    destination.answers[b"APPEND"] = allergic
    with both(destination=destination) as pair:
        report, _ = pair.run()
    assert report.verdict.exit_code is ExitCode.SKIPPED_ITEMS
    (skipped,) = report.skipped
    assert skipped.uid == 2
    assert "Invalid character" in skipped.reason
    assert sorted(destination.messages.values()) == sorted([MAILS[1], MAILS[5]])


def test_a_batch_whose_source_breaks_is_stored_as_far_as_it_came() -> None:
    source = TinyServer(dict(MAILS))
    calls: list[int] = []

    def bodies(peer: Peer, tag: bytes, rest: bytes) -> None:
        calls.append(1)
        if len(calls) > 1:
            source.bodies(peer, tag, rest)
            return
        peer.send(b"* 1 FETCH (UID 1 BODY[] {%d}\r\n%s)\r\n" % (len(MAILS[1]), MAILS[1]))
        peer.send(b"* 2 FETCH (UID 2 BODY[] {5000}\r\nonly the beginning")
        peer.close()

    source.answers[b"UID FETCH"] = bodies
    destination = _destination()

    def append(peer: Peer, tag: bytes, rest: bytes) -> None:
        _store(destination, rest)
        destination.append(peer, tag, rest)

    destination.answers[b"APPEND"] = append
    with both(source, destination) as pair:
        report, _ = pair.run()
    assert report.verdict.exit_code is ExitCode.DONE
    assert sorted(_bodies(destination)) == sorted(MAILS.values())


def test_a_folder_that_is_gone_is_made_again() -> None:
    destination = _destination()
    calls: list[int] = []

    def append(peer: Peer, tag: bytes, rest: bytes) -> None:
        calls.append(1)
        if len(calls) == 1:
            peer.send(tag + b" NO [TRYCREATE] no such folder\r\n")
        else:
            destination.append(peer, tag, rest)

    destination.answers[b"APPEND"] = append
    with both(destination=destination) as pair:
        report, _ = pair.run()
    assert report.verdict.exit_code is ExitCode.DONE
    assert _bodies(destination) == list(MAILS.values())


def test_look_alikes_of_which_some_are_there_are_told_apart_by_their_bytes() -> None:
    head = b"From: root@example.org\r\nSubject: Cron job\r\n\r\n"
    a, b = head + b"a\r\n", head + b"b\r\n"
    destination = _destination()
    destination.messages = {1: a, 2: a}
    with both(TinyServer({1: a, 2: b, 3: a}), destination) as pair:
        report, _ = pair.run()
    assert report.verdict.totals.copied == 1
    assert _bodies(destination) == [b]

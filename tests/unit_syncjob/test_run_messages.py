"""Whole runs in which messages are cut, swapped, refused, or hung up on."""

from __future__ import annotations

import pytest

from mailsync_api.exitcodes import ExitCode
from tests.support.between import MAILS, both, mail
from tests.support.scripted import Peer, TinyServer, numbers


def test_a_plain_run_copies_bytes_dates_and_ids() -> None:
    with both() as pair:
        report, _ = pair.run()
    assert report.verdict.exit_code is ExitCode.DONE, report
    assert [body.removesuffix(b"\r\n") for _, body in pair.destination.appended] == [
        body.removesuffix(b"\r\n") for body in MAILS.values()
    ]
    assert b'" 1-Jan-2024 00:00:00 +0000"' in pair.destination.appended[0][0]


def test_a_body_for_another_message_is_not_stored() -> None:
    def bodies(peer: Peer, tag: bytes, _: bytes) -> None:
        peer.send(b"* 9 FETCH (UID 99 BODY[] {6}\r\nwrong!)\r\n" + tag + b" OK done\r\n")

    with both(TinyServer(dict(MAILS), answers={b"UID FETCH": bodies})) as pair:
        report, _ = pair.run()
    assert pair.destination.appended == []
    assert report.verdict.totals.copied == 0
    assert report.verdict.exit_code is not ExitCode.INTERNAL


def test_a_body_without_its_uid_ends_the_run() -> None:
    def bodies(peer: Peer, tag: bytes, _: bytes) -> None:
        peer.send(b"* 1 FETCH (BODY[] {6}\r\nwrong!)\r\n" + tag + b" OK done\r\n")

    with both(TinyServer(dict(MAILS), answers={b"UID FETCH": bodies})) as pair:
        report, _ = pair.run()
    assert report.verdict.exit_code is ExitCode.PROTOCOL
    assert pair.destination.appended == []


@pytest.mark.parametrize(
    ("line", "sent"),
    [
        (b'* 1 FETCH (UID 1 BODY[] "quoted \\"body\\"")\r\n', b'quoted "body"'),
        (b"* 1 FETCH (BODY[] {4}\r\nlate UID 1)\r\n", b"late"),
        (b"* 1 FETCH (UID 1 BODY[] {4}\r\nbody FLAGS (\\Seen))\r\n", b"body"),
        (b"* 1 FETCH (UID 1)\r\n* 1 FETCH (UID 1 BODY[] {4}\r\nbody)\r\n", b"body"),
    ],
    ids=["quoted", "UID after the body", "flags after the body", "two answers"],
)
def test_bodies_in_every_form_of_the_grammar(line: bytes, sent: bytes) -> None:
    def bodies(peer: Peer, tag: bytes, _: bytes) -> None:
        peer.send(line + tag + b" OK done\r\n")

    with both(TinyServer({1: mail(1)}, answers={b"UID FETCH": bodies})) as pair:
        report, _ = pair.run()
    assert report.verdict.exit_code is ExitCode.DONE
    assert [body for _, body in pair.destination.appended] == [sent]


def test_a_cut_in_the_middle_of_a_body_stores_nothing_of_it() -> None:
    def cut(peer: Peer, _: bytes, __: bytes) -> None:
        peer.send(b"* 1 FETCH (UID 1 BODY[] {5000}\r\nonly the beginning")
        peer.close()

    with both(TinyServer(dict(MAILS), answers={b"UID FETCH": cut})) as pair:
        report, _ = pair.run()
    assert report.verdict.exit_code is ExitCode.CONNECTION_LOST
    assert pair.destination.appended == []
    # A first attempt and five more, no endless loop.
    assert len(pair.source_script.peers) == 6


def test_a_stored_message_whose_confirmation_is_lost_is_not_stored_twice() -> None:
    destination = TinyServer()

    def store_and_vanish(peer: Peer, tag: bytes, rest: bytes) -> None:
        body = rest.partition(b"\r\n")[2]
        destination.messages[len(destination.messages) + 1] = body
        if len(destination.messages) == 2:
            peer.close()
            return
        peer.send(tag + b" OK stored\r\n")

    destination.answers[b"APPEND"] = store_and_vanish
    with both(destination=destination) as pair:
        report, output = pair.run()
    assert report.verdict.exit_code is ExitCode.DONE, output.logs
    assert len(destination.messages) == 3
    assert report.verdict.totals.copied == 3
    assert report.verdict.totals.already_present == 0


def test_refused_messages_are_named_and_the_others_copied() -> None:
    destination = TinyServer()

    def choosy(peer: Peer, tag: bytes, rest: bytes) -> None:
        if b"<2@x>" in rest:
            peer.send(tag + b" NO [CANNOT] I\x1b[31m do not like it\r\n")
        else:
            destination.append(peer, tag, rest)

    destination.answers[b"APPEND"] = choosy
    with both(destination=destination) as pair:
        report, _ = pair.run()
    assert report.verdict.exit_code is ExitCode.SKIPPED_ITEMS
    (skipped,) = report.skipped
    assert (skipped.folder, skipped.uid, skipped.reason) == ("INBOX", 2, "I [31m do not like it")
    assert skipped.message_id == "<2@x>"
    assert len(destination.appended) == 2


def test_a_message_that_the_destination_hangs_up_on_does_not_block_the_others() -> None:
    destination = TinyServer()

    def allergic(peer: Peer, tag: bytes, rest: bytes) -> None:
        if b"<2@x>" in rest:
            peer.send(b"* BYE Invalid character in literal\r\n")
            peer.close()
            return
        destination.append(peer, tag, rest)
        destination.messages[len(destination.appended)] = rest.partition(b"\r\n")[2]

    destination.answers[b"APPEND"] = allergic
    with both(destination=destination) as pair:
        report, _ = pair.run()
    assert report.verdict.exit_code is ExitCode.SKIPPED_ITEMS
    (skipped,) = report.skipped
    assert skipped.uid == 2
    assert "Invalid character" in skipped.reason
    assert len(destination.appended) == 2
    assert report.verdict.totals.copied == 2


def test_a_refused_keyword_costs_no_message_and_is_tried_once() -> None:
    destination = TinyServer()

    def listing(peer: Peer, tag: bytes, rest: bytes) -> None:
        for uid in (1, 2):
            peer.send(
                TinyServer.line(
                    uid, uid, mail(uid), header=b"HEADER" in rest, flags=b"\\Seen good bad.word"
                )
            )
        peer.send(tag + b" OK done\r\n")

    def choosy(peer: Peer, tag: bytes, rest: bytes) -> None:
        if b"bad.word" in rest.partition(b"\r\n")[0]:
            peer.send(tag + b" NO keyword refused\r\n")
        elif rest.startswith(b"APPEND"):
            destination.append(peer, tag, rest)
        else:
            peer.send(tag + b" OK stored\r\n")

    destination.answers |= {b"APPEND": choosy, b"UID STORE": choosy}
    source = TinyServer({1: mail(1), 2: mail(2)}, answers={b"FETCH": listing})
    with both(source, destination) as pair:
        report, _ = pair.run()
    assert report.verdict.exit_code is ExitCode.DONE
    assert report.folders[0].keywords_refused == ["bad.word"]
    assert b"(\\Seen)" in destination.appended[0][0]
    assert b"(\\Seen good)" in destination.appended[1][0]
    assert b"+FLAGS.SILENT (good)" in pair.destination_script.said
    # Once with each message that was under way, once alone, never again.
    assert pair.destination_script.said.count(b"bad.word") == 3


def test_a_message_that_the_source_cannot_send_is_named() -> None:
    source = TinyServer(dict(MAILS))
    good = TinyServer({1: MAILS[1]})

    def broken(peer: Peer, tag: bytes, rest: bytes) -> None:
        wanted = numbers(rest.split(b" ")[2])
        if b"BODY.PEEK[]" not in rest or 2 not in wanted:
            source.bodies(peer, tag, rest)
            return
        for uid in wanted & good.messages.keys():
            body = good.messages[uid]
            peer.send(b"* 1 FETCH (UID %d BODY[] {%d}\r\n%s)\r\n" % (uid, len(body), body))
        peer.send(tag + b" NO [SERVERBUG] cannot be read\r\n")

    source.answers[b"UID FETCH"] = broken
    with both(source) as pair:
        report, _ = pair.run()
    assert report.verdict.exit_code is ExitCode.SKIPPED_ITEMS
    (skipped,) = report.skipped
    assert (skipped.uid, skipped.message_id) == (2, "<2@x>")
    assert "cannot be read" in skipped.reason
    assert len(pair.destination.appended) == 2

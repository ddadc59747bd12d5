"""Whole runs against servers whose lists lie: folders, flags, metadata, news of other messages."""

from __future__ import annotations

import pytest

from mailsync_api.exitcodes import ExitCode
from mailsync_syncjob.imap.session import HOLD_BYTES
from tests.support.between import MAILS, both, mail
from tests.support.scripted import Peer, TinyServer, says


def test_flags_of_the_source_are_no_commands_at_the_destination() -> None:
    evil = b'{27}\r\n\\Seen)\r\nX9 DELETE INBOX\r\n( \\Flagged bad"quote a(b $Label1 {3}'

    def listing(peer: Peer, tag: bytes, rest: bytes) -> None:
        for uid, body in MAILS.items():
            header = b"HEADER" in rest
            peer.send(TinyServer.line(uid, uid, body, header=header, flags=evil))
        peer.send(tag + b" OK done\r\n")

    with both(TinyServer(dict(MAILS), answers={b"FETCH": listing})) as pair:
        pair.run()
    assert b"DELETE" not in pair.destination_script.said
    commands = [command for command, _ in pair.destination.appended]
    assert len(commands) in {0, 3}
    for command in commands:
        assert b"\r" not in command
        assert b"quote" not in command


def test_a_folder_name_of_the_source_is_no_command_at_the_destination() -> None:
    name = b'a"b\r\nX9 DELETE INBOX\r\n'
    listed = says(b'LIST () "/" {%d}\r\n%s' % (len(name), name))
    with both(TinyServer(answers={b"LIST": listed, b"LSUB": says()})) as pair:
        pair.run()
    assert not [
        line
        for peer in pair.destination_script.peers
        for _, line in peer.trace
        if line.startswith(b"X9")
    ]


@pytest.mark.parametrize(
    "line",
    [
        b'* 1 FETCH (FLAGS () INTERNALDATE "01-Jan-2024 00:00:00 +0000" RFC822.SIZE 9)\r\n',
        b"* 1 FETCH (UID x FLAGS ())\r\n",
        b"* 1 FETCH (UID 1 FLAGS (\r\n",
        b"* 1 FETCH UID\r\n",
        b"* 1 FETCH " + b"(" * 90 + b"\r\n",
        b"* 1 FETCH (UID 1 BODY[HEADER.FIELDS (X)] {99999999}\r\n",
        b"nonsense\r\n",
    ],
    ids=["no UID", "no number", "open", "no list", "deep", "huge", "no answer"],
)
def test_metadata_that_breaks_the_protocol_ends_the_run(line: bytes) -> None:
    def listing(peer: Peer, tag: bytes, _: bytes) -> None:
        peer.send(line + tag + b" OK done\r\n")

    with both(TinyServer({1: mail(1)}, answers={b"FETCH": listing})) as pair:
        report, _ = pair.run()
    assert report.verdict.exit_code is ExitCode.PROTOCOL
    assert pair.destination.appended == []


def test_news_of_other_messages_is_not_taken_for_an_answer() -> None:
    def listing(peer: Peer, tag: bytes, rest: bytes) -> None:
        peer.send(b"* 2 FETCH (FLAGS (\\Deleted))\r\n")
        for number, (uid, body) in enumerate(MAILS.items(), start=1):
            peer.send(TinyServer.line(number, uid, body, header=b"HEADER" in rest))
        peer.send(b"* 1 FETCH (FLAGS (\\Deleted))\r\n* 4 EXISTS\r\n" + tag + b" OK done\r\n")

    with both(TinyServer(dict(MAILS), answers={b"FETCH": listing})) as pair:
        report, _ = pair.run()
    assert report.verdict.totals.copied == 3
    assert not any(b"Deleted" in command for command, _ in pair.destination.appended)


def test_news_of_a_message_in_another_window_is_not_listed_twice() -> None:
    mails = {uid: mail(uid) for uid in range(1, 1201)}
    source = TinyServer(mails)

    def listing(peer: Peer, tag: bytes, rest: bytes) -> None:
        first, last = (int(n) for n in rest.split(b" ")[1].split(b":"))
        peer.send(b"* 1100 FETCH (UID 1100 FLAGS (\\Seen))\r\n")
        for uid in range(first, last + 1):
            peer.send(TinyServer.line(uid, uid, mails[uid], header=b"HEADER" in rest))
        peer.send(tag + b" OK done\r\n")

    source.answers[b"FETCH"] = listing
    with both(source) as pair:
        report, _ = pair.run()
    assert report.verdict.exit_code is ExitCode.DONE
    assert len(pair.destination.appended) == 1200


def test_a_server_that_forgets_texts_and_returns_is_understood() -> None:
    def bare(peer: Peer, tag: bytes, _: bytes) -> None:
        peer.send(b"* 3 EXISTS\n* OK [UIDVALIDITY 7]\r\n" + tag + b" OK\n")

    with both(TinyServer(dict(MAILS), answers={b"EXAMINE": bare})) as pair:
        report, _ = pair.run()
    assert report.verdict.exit_code is ExitCode.DONE
    assert len(pair.destination.appended) == 3


def test_a_message_deleted_meanwhile_is_no_failure() -> None:
    source = TinyServer(dict(MAILS))
    gone = dict(MAILS)
    del gone[2]
    source.answers[b"UID FETCH"] = lambda *words: TinyServer(gone).bodies(*words)
    with both(source) as pair:
        report, _ = pair.run()
    assert report.verdict.exit_code is ExitCode.DONE
    assert report.verdict.totals.messages == 2


def test_the_source_is_only_examined_and_peeked_at() -> None:
    with both() as pair:
        pair.run()
    said = pair.source_script.said
    for word in (b"SELECT", b"STORE", b"EXPUNGE", b"APPEND", b"CREATE", b"BODY[", b"CLOSE"):
        assert word not in said
    assert b"EXAMINE" in said
    assert b"BODY.PEEK[]" in said


def test_a_dry_run_says_nothing_that_changes_the_destination() -> None:
    with both() as pair:
        report, _ = pair.run(mode="DryRun")
    assert report.verdict.totals.copied == 3
    said = pair.destination_script.said
    for word in (b"SELECT", b"STORE", b"APPEND", b"CREATE", b"SUBSCRIBE"):
        assert word not in said


def _nameless(bodies: dict[int, bytes]) -> TinyServer:
    """Return a server whose messages have none of the headers that they are recognised by."""

    def listing(peer: Peer, tag: bytes, _: bytes) -> None:
        for number, (uid, body) in enumerate(bodies.items(), start=1):
            line = TinyServer.line(number, uid, b"\r\n\r\n", header=True)
            peer.send(line.replace(b"SIZE 4", b"SIZE %d" % len(body)))
        peer.send(tag + b" OK done\r\n")

    return TinyServer(bodies, answers={b"FETCH": listing})


def test_messages_without_identity_are_told_apart_by_their_headers_of_any_size() -> None:
    """One is longer than what is held, and none is held longer than it takes to digest it."""
    long = b"X-Odd: " + b"x" * (HOLD_BYTES + 1) + b"%d\r\n\r\nbody\r\n"
    with both(
        _nameless({1: long % 1, 2: b"X: 1\r\n\r\n", 3: long % 3}), _nameless({9: long % 3})
    ) as pair:
        report, _ = pair.run(mode="DryRun")
    assert report.verdict.exit_code is ExitCode.DONE
    totals = report.verdict.totals
    assert (totals.copied, totals.already_present) == (2, 1)
    assert totals.bytes_copied == len(long % 1) + len(b"X: 1\r\n\r\n")

"""Whole runs against servers that lie, inject, drop lines, and hang up at the wrong moment."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from typing_extensions import override

from mailsync_api.endpoint import Side
from mailsync_api.exitcodes import ExitCode
from mailsync_syncjob.deadline import Clock
from tests.support.recorded import PASSWORD, Recorded, endpoint, run_between
from tests.support.scripted import Peer, TinyServer, numbers, says, serve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mailsync_api.report import Report
    from tests.support.scripted import Script


class _FastClock(Clock):
    """Real time, but waits between attempts pass at once."""

    def __init__(self) -> None:
        self._skipped = 0.0

    @override
    def monotonic(self) -> float:
        return super().monotonic() + self._skipped

    @override
    def sleep(self, seconds: float) -> None:
        self._skipped += seconds


def _mail(number: int, text: bytes = b"body") -> bytes:
    return b"Message-ID: <%d@x>\r\nDate: Mon, 1 Jan 2024 10:00:00 +0000\r\n\r\n%s\r\n" % (
        number, text,
    )  # fmt: skip


_MAILS = {1: _mail(1), 2: _mail(2), 5: _mail(5)}


@dataclass
class Both:
    """A pair of scripted servers."""

    source: TinyServer
    destination: TinyServer
    source_script: Script
    destination_script: Script

    def run(self, **job: object) -> tuple[Report, Recorded]:
        return run_between(
            endpoint(self.source_script.port),
            endpoint(self.destination_script.port, side=Side.DESTINATION, username="bob"),
            clock=_FastClock(),
            **job,
        )


@contextmanager
def both(source: TinyServer | None = None, destination: TinyServer | None = None) -> Iterator[Both]:
    source = source or TinyServer(dict(_MAILS))
    destination = destination or TinyServer()
    with ExitStack() as stack:
        a = stack.enter_context(serve(source))
        b = stack.enter_context(serve(destination))
        yield Both(source, destination, a, b)


def test_a_plain_run_copies_bytes_dates_and_ids() -> None:
    with both() as pair:
        report, _ = pair.run()
    assert report.verdict.exit_code is ExitCode.DONE, report
    assert [body.removesuffix(b"\r\n") for _, body in pair.destination.appended] == [
        body.removesuffix(b"\r\n") for body in _MAILS.values()
    ]
    assert b'" 1-Jan-2024 00:00:00 +0000"' in pair.destination.appended[0][0]


def test_flags_of_the_source_are_no_commands_at_the_destination() -> None:
    evil = b'{27}\r\n\\Seen)\r\nX9 DELETE INBOX\r\n( \\Flagged bad"quote a(b $Label1 {3}'

    def listing(peer: Peer, tag: bytes, rest: bytes) -> None:
        for uid, body in _MAILS.items():
            header = b"HEADER" in rest
            peer.send(TinyServer.line(uid, uid, body, header=header, flags=evil))
        peer.send(tag + b" OK done\r\n")

    with both(TinyServer(dict(_MAILS), answers={b"FETCH": listing})) as pair:
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

    with both(TinyServer({1: _mail(1)}, answers={b"FETCH": listing})) as pair:
        report, _ = pair.run()
    assert report.verdict.exit_code is ExitCode.PROTOCOL
    assert pair.destination.appended == []


def test_news_of_other_messages_is_not_taken_for_an_answer() -> None:
    def listing(peer: Peer, tag: bytes, rest: bytes) -> None:
        peer.send(b"* 2 FETCH (FLAGS (\\Deleted))\r\n")
        for number, (uid, body) in enumerate(_MAILS.items(), start=1):
            peer.send(TinyServer.line(number, uid, body, header=b"HEADER" in rest))
        peer.send(b"* 1 FETCH (FLAGS (\\Deleted))\r\n* 4 EXISTS\r\n" + tag + b" OK done\r\n")

    with both(TinyServer(dict(_MAILS), answers={b"FETCH": listing})) as pair:
        report, _ = pair.run()
    assert report.verdict.totals.copied == 3
    assert not any(b"Deleted" in command for command, _ in pair.destination.appended)


def test_a_body_for_another_message_is_not_stored() -> None:
    def bodies(peer: Peer, tag: bytes, _: bytes) -> None:
        peer.send(b"* 9 FETCH (UID 99 BODY[] {6}\r\nwrong!)\r\n" + tag + b" OK done\r\n")

    with both(TinyServer(dict(_MAILS), answers={b"UID FETCH": bodies})) as pair:
        report, _ = pair.run()
    assert pair.destination.appended == []
    assert report.verdict.totals.copied == 0
    assert report.verdict.exit_code is not ExitCode.INTERNAL


def test_a_body_without_its_uid_ends_the_run() -> None:
    def bodies(peer: Peer, tag: bytes, _: bytes) -> None:
        peer.send(b"* 1 FETCH (BODY[] {6}\r\nwrong!)\r\n" + tag + b" OK done\r\n")

    with both(TinyServer(dict(_MAILS), answers={b"UID FETCH": bodies})) as pair:
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

    with both(TinyServer({1: _mail(1)}, answers={b"UID FETCH": bodies})) as pair:
        report, _ = pair.run()
    assert report.verdict.exit_code is ExitCode.DONE
    assert [body for _, body in pair.destination.appended] == [sent]


def test_a_cut_in_the_middle_of_a_body_stores_nothing_of_it() -> None:
    def cut(peer: Peer, _: bytes, __: bytes) -> None:
        peer.send(b"* 1 FETCH (UID 1 BODY[] {5000}\r\nonly the beginning")
        peer.close()

    with both(TinyServer(dict(_MAILS), answers={b"UID FETCH": cut})) as pair:
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


def test_a_suggested_wait_ends_the_run_with_it() -> None:
    text = b"BYE Request is throttled. Suggested Backoff Time: 299970 milliseconds"
    with both(destination=TinyServer(answers={b"APPEND": says(text)})) as pair:
        report, _ = pair.run()
    assert report.verdict.exit_code is ExitCode.THROTTLED
    assert report.verdict.retry_after_seconds == 300
    assert report.verdict.side is Side.DESTINATION


def test_a_busy_server_is_connected_to_again() -> None:
    source = TinyServer(dict(_MAILS))
    calls: list[int] = []

    def tired(peer: Peer, tag: bytes, rest: bytes) -> None:
        calls.append(1)
        if len(calls) == 1:
            peer.send(b"* BYE going down for a moment\r\n")
            peer.close()
        else:
            source.bodies(peer, tag, rest)

    source.answers[b"UID FETCH"] = tired
    with both(source) as pair:
        report, _ = pair.run()
    assert report.verdict.exit_code is ExitCode.DONE
    assert len(pair.destination.appended) == 3


def test_a_refused_login_does_not_hide_behind_a_server_that_is_down() -> None:
    # The run would be tried again within seconds, and the refused login with it.
    refusing = TinyServer(answers={b"AUTHENTICATE": says(end=b"NO no")})
    with both(TinyServer(greeting=b"* BYE down\r\n"), refusing) as pair:
        report, _ = pair.run()
    assert report.verdict.exit_code is ExitCode.CREDENTIALS
    assert report.verdict.side is Side.DESTINATION


def test_a_full_mailbox_ends_the_run() -> None:
    full = says(end=b"NO [OVERQUOTA] Quota exceeded")
    with both(destination=TinyServer(answers={b"APPEND": full})) as pair:
        report, _ = pair.run()
    assert report.verdict.exit_code is ExitCode.OVER_QUOTA


def test_a_server_that_forgets_texts_and_returns_is_understood() -> None:
    def bare(peer: Peer, tag: bytes, _: bytes) -> None:
        peer.send(b"* 3 EXISTS\n* OK [UIDVALIDITY 7]\r\n" + tag + b" OK\n")

    with both(TinyServer(dict(_MAILS), answers={b"EXAMINE": bare})) as pair:
        report, _ = pair.run()
    assert report.verdict.exit_code is ExitCode.DONE
    assert len(pair.destination.appended) == 3


def test_news_of_a_message_in_another_window_is_not_listed_twice() -> None:
    mails = {uid: _mail(uid) for uid in range(1, 1201)}
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


def test_a_temporary_refusal_is_waited_out() -> None:
    destination = TinyServer()
    calls: list[int] = []

    def busy(peer: Peer, tag: bytes, rest: bytes) -> None:
        calls.append(1)
        if len(calls) in {1, 2}:
            peer.send(tag + b" NO [UNAVAILABLE] later\r\n")
        else:
            destination.append(peer, tag, rest)

    destination.answers[b"APPEND"] = busy
    with both(destination=destination) as pair:
        report, _ = pair.run()
    assert report.verdict.exit_code is ExitCode.DONE
    assert len(destination.appended) == 3


def test_a_server_that_stays_unable_is_left_for_later_not_for_a_person() -> None:
    mails = {uid: _mail(uid) for uid in range(1, 30)}
    refusal = says(end=b"NO [UNAVAILABLE] the disk is away")
    with both(TinyServer(mails), TinyServer(answers={b"APPEND": refusal})) as pair:
        report, _ = pair.run()
    assert report.verdict.exit_code is ExitCode.UNREACHABLE
    assert len(report.skipped) < len(mails)


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
                    uid, uid, _mail(uid), header=b"HEADER" in rest, flags=b"\\Seen good bad.word"
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
    source = TinyServer({1: _mail(1), 2: _mail(2)}, answers={b"FETCH": listing})
    with both(source, destination) as pair:
        report, _ = pair.run()
    assert report.verdict.exit_code is ExitCode.DONE
    assert report.folders[0].keywords_refused == ["bad.word"]
    assert b"(\\Seen)" in destination.appended[0][0]
    assert b"(\\Seen good)" in destination.appended[1][0]
    assert b"+FLAGS.SILENT (good)" in pair.destination_script.said
    # Once with the first message, once alone, never again.
    assert pair.destination_script.said.count(b"bad.word") == 2


def test_a_message_that_the_source_cannot_send_is_named() -> None:
    source = TinyServer(dict(_MAILS))
    good = TinyServer({1: _MAILS[1]})

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


def test_a_message_deleted_meanwhile_is_no_failure() -> None:
    source = TinyServer(dict(_MAILS))
    gone = dict(_MAILS)
    del gone[2]
    source.answers[b"UID FETCH"] = lambda *words: TinyServer(gone).bodies(*words)
    with both(source) as pair:
        report, _ = pair.run()
    assert report.verdict.exit_code is ExitCode.DONE
    assert report.verdict.totals.messages == 2


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (b"NO [AUTHENTICATIONFAILED] bad login", ExitCode.CREDENTIALS),
        (b"NO no", ExitCode.CREDENTIALS),
        (b"BAD what", ExitCode.CREDENTIALS),
        (b"NO [UNAVAILABLE] the database is away", ExitCode.UNREACHABLE),
        (b"NO [ALERT] Too many simultaneous connections", ExitCode.THROTTLED),
        (b"NO [PRIVACYREQUIRED] not in clear text", ExitCode.TLS_POLICY),
    ],
)
def test_what_a_refused_login_means(end: bytes, code: ExitCode) -> None:
    server = TinyServer(answers={b"AUTHENTICATE": says(end=end), b"LOGIN": says(end=end)})
    with both(server) as pair:
        report, _ = pair.run()
    assert report.verdict.exit_code is code
    assert report.verdict.side is Side.SOURCE
    # Once, and with nothing weaker after it.
    assert pair.source_script.said.count(b"AUTHENTICATE") == 1
    assert b"LOGIN" not in pair.source_script.said


def test_a_server_that_repeats_the_password_is_masked() -> None:
    def echo(peer: Peer, tag: bytes, rest: bytes) -> None:
        peer.send(tag + b" NO bad: " + rest + b" / " + PASSWORD.encode() + b"\r\n")

    server = TinyServer(answers={b"AUTHENTICATE": echo})
    with both(server) as pair:
        report, output = pair.run()
    assert report.verdict.exit_code is ExitCode.CREDENTIALS
    sent = pair.source_script.said.split(b"PLAIN ")[1].split(b"\r\n")[0].decode()
    for text in (report.model_dump_json(), output.everything):
        assert PASSWORD not in text
        assert sent not in text


@pytest.mark.parametrize(
    "password",
    [b'quote"and\\backslash', "späce".encode(), b"line\r\nbreak", b"{5}", b" edges ", b"\xff\x01"],
)
@pytest.mark.parametrize("capability", [b"", b" LITERAL+", b" LITERAL-"])
def test_the_login_command_carries_any_byte(password: bytes, capability: bytes) -> None:
    server = TinyServer(capabilities=b"IMAP4rev1" + capability)
    with serve(server) as script:
        report, _ = run_between(
            endpoint(script.port, password=password),
            endpoint(script.port, side=Side.DESTINATION, username="bob"),
        )
    assert report.verdict.exit_code is ExitCode.DONE
    line = next(
        line for p in script.peers for _, line in p.trace if b"LOGIN" in line and b"alice" in line
    )
    given = line.split(b'LOGIN "alice" ', 1)[1]
    if given.startswith(b"{"):
        assert given.partition(b"}\r\n")[2] == password + b"\r\n"
    else:
        assert given == b'"' + password.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"\r\n'


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

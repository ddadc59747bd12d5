"""Whole runs against servers that are tired, full, or refuse the login."""

from __future__ import annotations

import pytest

from mailsync_api.endpoint import Side
from mailsync_api.exitcodes import ExitCode
from tests.support.between import MAILS, both, mail
from tests.support.recorded import PASSWORD, endpoint, run_between
from tests.support.scripted import Peer, TinyServer, says, serve


def test_a_suggested_wait_ends_the_run_with_it() -> None:
    text = b"BYE Request is throttled. Suggested Backoff Time: 299970 milliseconds"
    with both(destination=TinyServer(answers={b"APPEND": says(text)})) as pair:
        report, _ = pair.run()
    assert report.verdict.exit_code is ExitCode.THROTTLED
    assert report.verdict.retry_after_seconds == 300
    assert report.verdict.side is Side.DESTINATION


def test_a_busy_server_is_connected_to_again() -> None:
    source = TinyServer(dict(MAILS))
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
    mails = {uid: mail(uid) for uid in range(1, 30)}
    refusal = says(end=b"NO [UNAVAILABLE] the disk is away")
    with both(TinyServer(mails), TinyServer(answers={b"APPEND": refusal})) as pair:
        report, _ = pair.run()
    assert report.verdict.exit_code is ExitCode.UNREACHABLE
    assert len(report.skipped) < len(mails)


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

"""The dialogue as it is shown: whole, bounded, harmless to terminals, and without any secret."""

from __future__ import annotations

import base64
import io
import re
from typing import TYPE_CHECKING, Any

import pytest

from mailsync_api import names
from mailsync_api.endpoint import MailAccount
from mailsync_syncjob.credentials import Endpoint, Password
from mailsync_syncjob.deadline import Clock, Stop
from mailsync_syncjob.probe.trace import Trace
from mailsync_syncjob.probecommand import probe_target
from tests.support.probing import target
from tests.support.scripted import Peer, TinyServer, serve

if TYPE_CHECKING:
    from mailsync_syncjob.probe.report import ProbeReport

_PASSWORD = 'a "secret" \\ wörd'
_LINE = re.compile(r"\d{2}:\d{2}:\d{2}\.\d{3} (--|C:|S:) [\x20-\x7e]*…?[\x20-\x7e]*")


def _forms(password: str) -> list[str]:
    """Return what a secret looks like wherever it may turn up."""
    raw = password.encode()
    quoted = password.replace("\\", "\\\\").replace('"', '\\"')
    plain = base64.b64encode(b"\0alice\0" + raw).decode()
    alone = base64.b64encode(raw).decode()
    return [password, quoted, plain, alone, raw.decode("latin-1"), "secret", "w\\xc3\\xb6rd"]


def _echo(peer: Peer, tag: bytes, rest: bytes) -> None:
    """Refuse a login and repeat all of it, decoded too: servers do such things."""
    words = rest.split(b" ", 2)
    data = words[2] if len(words) > 2 else b""
    if words[0] == b"AUTHENTICATE" and not data:
        for _ in range(2 if words[1] == b"LOGIN" else 1):
            peer.send(b"+ \r\n")
            data = peer.command()[0]
    try:
        decoded = base64.b64decode(data).replace(b"\0", b" ")
    except ValueError:
        decoded = b""
    for line in (data, decoded):
        peer.send(b"* OK [ALERT] you said " + b" ".join(line.split()) + b"\r\n")
    peer.send(tag + b" NO [AUTHENTICATIONFAILED] not with " + b" ".join(data.split()) + b"\r\n")


def _login(port: int, mechanism: str) -> tuple[ProbeReport, str]:
    wire: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": port,
        "tls": {"mode": "None"},
        "username": "alice",
        "authentication": {"mechanism": mechanism, "secretRef": {"name": "x"}},
    }
    end = Endpoint(
        names.PROBED_SERVER, MailAccount.model_validate(wire), Password(_PASSWORD.encode())
    )
    clock, shown = Clock(), io.StringIO()
    tap = Trace(shown, clock, secrets=lambda: end.masked_words)
    report = probe_target(end, clock=clock, stop=Stop(clock), seconds=20, tap=tap)
    return report, shown.getvalue()


@pytest.mark.parametrize("literals", [b" LITERAL+", b""], ids=["LITERAL+", "synchronising"])
@pytest.mark.parametrize("initial", [b" SASL-IR", b""], ids=["SASL-IR", "challenge"])
@pytest.mark.parametrize(
    ("mechanism", "announced", "shown"),
    [
        ("Plain", b"AUTH=PLAIN", "AUTHENTICATE PLAIN"),
        ("Login", b"AUTH=LOGIN", "AUTHENTICATE LOGIN"),
        ("LoginCommand", b"", "LOGIN"),
    ],
)
def test_a_refused_login_shows_nothing_of_it(
    mechanism: str, announced: bytes, shown: str, initial: bytes, literals: bytes
) -> None:
    server = TinyServer(
        capabilities=b"IMAP4rev1 " + announced + initial + literals,
        answers={b"AUTHENTICATE": _echo, b"LOGIN": _echo},
    )
    with serve(server) as script:
        report, trace = _login(script.port, mechanism)
    assert report.exit_code == 77
    assert report.login is not None
    assert not report.login.succeeded
    assert report.login.mechanism == shown.removeprefix("AUTHENTICATE ")
    assert re.search(rf"C: m\w+ {shown}( \*\*\*)?$", trace, re.MULTILINE), trace
    # The server did repeat it, so this looks at what could be there.
    assert (
        any(form.encode() in script.said for form in _forms(_PASSWORD))
        or _PASSWORD.encode() in script.said
    )
    everything = trace + report.model_dump_json() + repr(report)
    for form in _forms(_PASSWORD):
        assert form not in everything, form


def test_a_login_that_succeeds() -> None:
    server = TinyServer(capabilities=b"IMAP4rev1 AUTH=PLAIN SASL-IR")
    with serve(server) as script:
        report, trace = _login(script.port, "Auto")
    assert report.exit_code == 0
    assert report.login is not None
    assert (report.login.succeeded, report.login.mechanism) == (True, "PLAIN")
    assert "IMAP4REV1" in report.login.capabilities
    # The words after the login are shown again.
    assert len(re.findall(r"S: \* CAPABILITY IMAP4rev1", trace)) == 3
    assert trace.count("***") == 2


def _trace(*secrets: str) -> tuple[Trace, io.StringIO]:
    shown = io.StringIO()
    return Trace(shown, Clock(), secrets=lambda: secrets), shown


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (b"* OK ready\r\n", "S: * OK ready"),
        (b"* OK \x1b[2J\x07\xff\ttab\r\n", "S: * OK \\x1b[2J\\x07\\xff\\ttab"),
        (b"* OK bare\nline\r\n", "S: * OK bare\\nline"),
        (b"* OK " + b"x" * 5000 + b"\r\n", "… (cut)"),
        (b"* OK you are word, word!\r\n", "S: * OK you are ***, ***!"),
    ],
)
def test_what_a_server_says(said: bytes, shown: str) -> None:
    trace, stream = _trace("word")
    trace.received(said)
    (line,) = stream.getvalue().splitlines()
    assert shown in line
    assert _LINE.fullmatch(line)
    assert len(line) < 600


def test_it_is_bounded() -> None:
    trace, stream = _trace()
    for _ in range(5000):
        trace.received(b"* OK again\r\n")
    lines = stream.getvalue().splitlines()
    assert len(lines) == 1001
    assert "left out" in lines[-1]


def test_a_new_connection_ends_a_login_that_broke() -> None:
    trace, stream = _trace()
    trace.sent(b"m1 AUTHENTICATE PLAIN\r\n")
    trace.sent(b"c2VjcmV0\r\n")
    trace.trying(target(143, mode="None"))
    trace.sent(b"m2 NOOP\r\n")
    shown = stream.getvalue()
    assert "c2VjcmV0" not in shown
    assert "C: m2 NOOP" in shown

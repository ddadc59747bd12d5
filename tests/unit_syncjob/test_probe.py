"""What a probe makes of servers: the diagnosis, what else is offered, and that nothing was said."""

from __future__ import annotations

import io
import re
import socket
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from mailsync_syncjob.deadline import Clock
from mailsync_syncjob.probe.findings import mechanisms, verdict
from mailsync_syncjob.probe.trace import Trace
from tests.support.probing import probe, target
from tests.support.scripted import Peer, TinyServer, says, serve, with_starttls

if TYPE_CHECKING:
    from mailsync_api.probe import ProbeVerdict
    from mailsync_syncjob.probe.findings import Findings
    from tests.support.certificates import Authority, KeyPair
    from tests.support.scripted import Dialogue, Script

_NOW = datetime(2026, 11, 24, tzinfo=UTC)
# All that a probe without a login may ever say; then TLS may begin.
_HARMLESS = re.compile(
    rb"((m[0-9a-f]+ (CAPABILITY|STARTTLS|ID NIL|NOOP|LOGOUT)|a CAPABILITY|)\r\n)*(\x16\x03.*)?",
    re.DOTALL,
)


def _told(findings: Findings) -> ProbeVerdict:
    return verdict(findings, now=_NOW)


def _offers(told: ProbeVerdict) -> dict[str, bool]:
    return {str(offer.mode): offer.offered for offer in told.facts.alternatives}


def _assert_harmless(script: Script) -> None:
    for peer in script.peers:
        said = b"".join(line for _, line in peer.trace)
        assert _HARMLESS.fullmatch(said), said


@pytest.mark.parametrize("mode", ["Implicit", "Auto"])
def test_implicit_tls(authority: Authority, key_pair: KeyPair, mode: str) -> None:
    inside = TinyServer(
        capabilities=b"IMAP4rev1 ID AUTH=PLAIN AUTH=SCRAM-SHA-256 LOGINDISABLED",
        answers={
            b"ID": says(b'ID ("name" "Tiny\x07" "version" "7" "os" NIL)'),
            b"NOOP": says(),
        },
    )
    with serve(inside, key_pair=key_pair, implicit_tls=True) as script:
        told = _told(probe(target(script.port, ca_pem=authority.pem, mode=mode)))
    assert (told.exit_code, told.reason) == (0, "Completed")
    assert told.facts.tls is not None
    assert (told.facts.tls.mode, told.facts.tls.verified) == ("Implicit", "Full")
    assert told.facts.server_id == "Tiny 7"
    assert told.facts.auth_mechanisms == ["PLAIN", "SCRAM-SHA-256"]
    assert told.facts.latency_milliseconds is not None
    assert told.facts.certificate is not None
    assert told.facts.certificate.sha256 == told.facts.tls.sha256
    assert told.facts.certificate.subject == told.facts.tls.subject
    assert told.facts.certificate.issuer == told.facts.tls.issuer
    assert told.facts.certificate.not_after_time == told.facts.tls.not_after_time
    assert _offers(told) == {"Implicit": True}
    _assert_harmless(script)


def test_starttls(authority: Authority, key_pair: KeyPair) -> None:
    inside = TinyServer(capabilities=b"IMAP4rev1 AUTH=PLAIN X-INSIDE")
    with serve(with_starttls(inside), key_pair=key_pair) as script:
        found = probe(target(script.port, ca_pem=authority.pem, mode="StartTLS"))
    told = _told(found)
    assert told.exit_code == 0
    assert _offers(told) == {"Implicit": False, "None": True, "StartTLS": True}
    assert found.session is not None
    assert "STARTTLS" in found.session.capabilities_before
    assert "X-INSIDE" in told.facts.capabilities
    # The greeting came before TLS: anybody may have written it.
    assert told.facts.server_id == ""
    _assert_harmless(script)


def _clear(peer: Peer) -> None:
    TinyServer(capabilities=b"IMAP4rev1 LOGINDISABLED")(peer)


def _greets(line: bytes) -> Dialogue:
    def dialogue(peer: Peer) -> None:
        peer.send(line)
        peer.wait_for_hang_up()

    return dialogue


def _answers_when_asked(line: bytes) -> Dialogue:
    def dialogue(peer: Peer) -> None:
        peer.command()
        peer.send(line)

    return dialogue


def _silent(peer: Peer) -> None:
    peer.wait_for_hang_up()


def _after_capability(*answers: bytes) -> Dialogue:
    """Return a server that announces STARTTLS, and what it answers to that."""

    def dialogue(peer: Peer) -> None:
        peer.send(b"* OK ready\r\n")
        tag, rest = peer.command()
        if rest != b"CAPABILITY":
            return
        peer.send(b"* CAPABILITY IMAP4rev1 STARTTLS\r\n" + tag + b" OK done\r\n")
        tag, _ = peer.command()
        peer.send(tag + b"".join(answers))
        peer.wait_for_hang_up()

    return dialogue


_REFUSING = _after_capability(b" NO not today\r\n")
_INJECTING = _after_capability(b" OK begin\r\n* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n")
_SMTP = _greets(b"220 mail.example.org ESMTP\r\n")
_HTTP = _answers_when_asked(b"HTTP/1.1 400 Bad Request\r\n\r\n")


@pytest.mark.parametrize(
    ("dialogue", "mode", "code", "reason", "words"),
    [
        pytest.param(_clear, "Auto", 76, "StartTLSNotOffered", "STARTTLS", id="stripped"),
        pytest.param(_clear, "StartTLS", 76, "StartTLSNotOffered", "STARTTLS", id="no STARTTLS"),
        pytest.param(_clear, "Implicit", 76, "TLSNotSpoken", "does not speak TLS", id="clear text"),
        pytest.param(_clear, "None", 0, "Completed", "LOGINDISABLED", id="LOGINDISABLED"),
        pytest.param(_clear, "Opportunistic", 0, "Completed", "clear text", id="opportunistic"),
        pytest.param(_SMTP, "Auto", 81, "ProtocolViolation", "speaks SMTP, not IMAP", id="SMTP"),
        pytest.param(_SMTP, "None", 81, "ProtocolViolation", "speaks SMTP, not IMAP", id="SMTP 2"),
        pytest.param(
            _greets(b"220 (vsFTPd 3.0.3) FTP ready\r\n"),
            "Auto",
            81,
            "ProtocolViolation",
            "speaks FTP",
            id="FTP",
        ),
        pytest.param(
            _greets(b"+OK POP3 ready\r\n"),
            "StartTLS",
            81,
            "ProtocolViolation",
            "speaks POP3",
            id="POP3",
        ),
        pytest.param(
            _greets(b"SSH-2.0-OpenSSH_9.2\r\n"),
            "Auto",
            81,
            "ProtocolViolation",
            "speaks SSH",
            id="SSH",
        ),
        pytest.param(
            _greets(b'"IMPLEMENTATION" "Tiny"\r\n'),
            "Auto",
            81,
            "ProtocolViolation",
            "speaks ManageSieve",
            id="ManageSieve",
        ),
        pytest.param(_HTTP, "Auto", 81, "ProtocolViolation", "speaks HTTP", id="HTTP"),
        pytest.param(_HTTP, "None", 81, "ProtocolViolation", "speaks HTTP", id="HTTP in clear"),
        pytest.param(
            _greets(b"* PREAUTH hello\r\n"),
            "StartTLS",
            76,
            "AlreadyAuthenticated",
            "PREAUTH",
            id="PREAUTH",
        ),
        pytest.param(
            _greets(b"* PREAUTH hello\r\n"),
            "None",
            81,
            "ProtocolViolation",
            "PREAUTH",
            id="PREAUTH in clear",
        ),
        pytest.param(_REFUSING, "Auto", 76, "StartTLSRefused", "refused it", id="STARTTLS refused"),
        pytest.param(_INJECTING, "Auto", 81, "ProtocolViolation", "interfering", id="injection"),
        pytest.param(
            _greets(b"* BYE too busy\r\n"), "None", 69, "Unreachable", "too busy", id="BYE"
        ),
        pytest.param(
            _greets(b"* OK " + b"x" * (3 << 20)),
            "None",
            81,
            "ProtocolViolation",
            "went on talking",
            id="endless greeting",
        ),
        pytest.param(_silent, "None", 69, "Unreachable", "no complete answer", id="silence"),
        pytest.param(_silent, "Implicit", 69, "Unreachable", "handshake", id="silence under TLS"),
    ],
)
def test_diagnosis(dialogue: Dialogue, mode: str, code: int, reason: str, words: str) -> None:
    with serve(dialogue) as script:
        told = _told(probe(target(script.port, mode=mode), connect=1.0, greeting=0.5))
    assert (told.exit_code, told.reason) == (code, reason), told.message
    assert words in told.message
    _assert_harmless(script)


@pytest.mark.parametrize("mode", ["StartTLS", "None"])
def test_tls_on_a_port_for_clear_text(key_pair: KeyPair, mode: str) -> None:
    with serve(TinyServer(), key_pair=key_pair, implicit_tls=True) as script:
        told = _told(probe(target(script.port, mode=mode), greeting=0.5))
    assert told.exit_code == 76
    assert "speaks TLS from the start" in told.message
    assert "choose tls.mode Implicit" in told.message
    assert script.said == b""


def test_tls_with_something_else_inside(authority: Authority, key_pair: KeyPair) -> None:
    with serve(_greets(b"+OK POP3 ready\r\n"), key_pair=key_pair, implicit_tls=True) as script:
        told = _told(probe(target(script.port, ca_pem=authority.pem, mode="Implicit")))
    assert told.exit_code == 81
    assert "speaks POP3, not IMAP" in told.message
    with serve(_silent, key_pair=key_pair, implicit_tls=True) as script:
        told = _told(probe(target(script.port, ca_pem=authority.pem, mode="Implicit")))
    assert told.exit_code == 69
    assert "no IMAP server greeted after it" in told.message


def test_nothing_listens() -> None:
    with socket.socket() as placeholder:
        placeholder.bind(("127.0.0.1", 0))
        port = placeholder.getsockname()[1]
        told = _told(probe(target(port, mode="Auto")))
    assert (told.exit_code, told.reason) == (69, "Unreachable")
    assert "nothing listens there" in told.message


def test_a_port_that_drops_connections_is_not_waited_for_again() -> None:
    # The queue of connections that nobody takes is full: the kernel answers no more of them.
    with socket.socket() as listener, socket.socket() as one, socket.socket() as two:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        for filler in (one, two):
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        trace = io.StringIO()
        tap = Trace(trace, Clock())
        told = _told(probe(target(port, mode="Implicit"), connect=0.5, tap=tap))
    assert told.exit_code == 69
    assert "a firewall may drop the connection" in told.message
    assert _offers(told) == {"Implicit": False}
    assert trace.getvalue().count(f"127.0.0.1:{port}") == 1


def test_a_name_that_is_not_known() -> None:
    of = target(None, mode="Auto")
    account = of.account.model_copy(update={"host": "no-such-name.invalid"})
    told = _told(probe(type(of)(of.side, account)))
    assert told.exit_code == 69
    assert "could not be resolved" in told.message


def test_a_probe_ends_by_itself() -> None:
    """Everything drips: no part of it ends in time, and the whole does."""

    def dripping(peer: Peer) -> None:
        while not peer.hung_up(0.05):
            peer.send(b"*")

    with serve(dripping) as script:
        told = _told(probe(target(script.port, mode="None"), seconds=1.5, greeting=20.0))
    assert told.exit_code == 69
    # What was waited for is what was left of all the time, not the patience with one greeting.
    assert "no complete answer within" in told.message
    assert "within 20 s" not in told.message


def test_a_huge_list_of_capabilities_is_bounded() -> None:
    many = b" ".join(b"X%d" % number for number in range(8_000)) + b" " + b"Y" * 5000
    with serve(TinyServer(capabilities=b"IMAP4rev1 " + many)) as script:
        told = _told(probe(target(script.port, mode="None")))
    assert told.exit_code == 0
    assert len(told.facts.capabilities) == 100
    assert max(map(len, told.facts.capabilities)) <= 128


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"IMAP4REV1"}, ["LOGIN"]),
        ({"LOGINDISABLED"}, []),
        ({"AUTH=PLAIN", "AUTH=XOAUTH2", "LOGINDISABLED"}, ["PLAIN", "XOAUTH2"]),
    ],
)
def test_mechanisms(capabilities: set[str], expected: list[str]) -> None:
    assert mechanisms(frozenset(capabilities)) == expected


_ODD: list[dict[str, Any]] = [
    {"mode": "Implicit", "minVersion": "TLSv1.3"},
    {"mode": "Implicit", "verify": "ChainOnly"},
]


@pytest.mark.parametrize("tls", _ODD, ids=["minVersion", "ChainOnly"])
def test_the_policy_is_the_one_that_was_given(
    authority: Authority, key_pair: KeyPair, tls: dict[str, Any]
) -> None:
    with serve(TinyServer(), key_pair=key_pair, implicit_tls=True) as script:
        told = _told(probe(target(script.port, ca_pem=authority.pem, **tls)))
    assert told.facts.tls is not None
    assert told.facts.tls.verified == tls.get("verify", "Full")

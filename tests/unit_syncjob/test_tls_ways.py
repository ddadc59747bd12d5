"""Auto and Opportunistic: which ways are tried, what leads from one to the next, what is said."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from mailsync_api.conditions import Reason
from mailsync_api.endpoint import Side
from mailsync_syncjob.errors import EngineError, ProtocolError, TLSPolicyError, UnreachableError
from mailsync_syncjob.imap import ways as ways_module
from mailsync_syncjob.imap.session import Session, open_session
from mailsync_syncjob.imap.ways import ways
from tests.support.recorded import PASSWORD, connector, endpoint, run_between
from tests.support.scripted import Peer, TinyServer, serve, with_starttls

if TYPE_CHECKING:
    from mailsync_api.status import TLSFacts
    from mailsync_syncjob.credentials import Endpoint
    from mailsync_syncjob.imap.connect import Connector
    from tests.support.certificates import Authority, KeyPair
    from tests.support.scripted import Dialogue, Script


@pytest.mark.parametrize(
    ("mode", "port", "expected"),
    [
        ("Implicit", None, [(993, "Implicit")]),
        ("Implicit", 143, [(143, "Implicit")]),
        ("StartTLS", None, [(143, "StartTLS")]),
        ("StartTLS", 993, [(993, "StartTLS")]),
        ("None", None, [(143, "None")]),
        ("None", 993, [(993, "None")]),
        ("Auto", None, [(993, "Implicit"), (143, "StartTLS")]),
        ("Auto", 993, [(993, "Implicit")]),
        ("Auto", 143, [(143, "StartTLS")]),
        ("Auto", 1143, [(1143, "Implicit"), (1143, "StartTLS")]),
        ("Opportunistic", None, [(993, "Implicit"), (143, "StartTLS"), (143, "None")]),
        ("Opportunistic", 993, [(993, "Implicit")]),
        ("Opportunistic", 143, [(143, "StartTLS"), (143, "None")]),
        ("Opportunistic", 1143, [(1143, "Implicit"), (1143, "StartTLS"), (1143, "None")]),
    ],
)
def test_ways(mode: str, port: int | None, expected: list[tuple[int, str]]) -> None:
    account = endpoint(1, tls={"mode": mode}).account.model_copy(update={"port": port})
    assert [(way.port, str(way.mode)) for way in ways(account)] == expected


def _facts(account: Endpoint, by: Connector | None = None) -> TLSFacts:
    session: Session = open_session(account, connector=by or connector())
    session.close()
    return session.facts


@pytest.mark.parametrize("mode", ["Auto", "Opportunistic"])
@pytest.mark.parametrize("implicit", [True, False], ids=["Implicit", "StartTLS"])
def test_a_port_of_its_own_is_tried_in_both_ways(
    mode: str, authority: Authority, key_pair: KeyPair, *, implicit: bool
) -> None:
    dialogue: Dialogue = TinyServer() if implicit else with_starttls(TinyServer())
    with serve(dialogue, key_pair=key_pair, implicit_tls=implicit) as script:
        account = endpoint(script.port, ca_pem=authority.pem, tls={"mode": mode})
        facts = _facts(account)
    # What came about, not what was asked for.
    assert facts.mode == ("Implicit" if implicit else "StartTLS")
    assert facts.secured
    assert b"alice" not in script.said_in_clear


def test_auto_sends_nothing_to_a_server_without_tls() -> None:
    with serve(TinyServer()) as script, pytest.raises(TLSPolicyError) as caught:
        open_session(endpoint(script.port, tls={"mode": "Auto"}), connector=connector())
    assert caught.value.reason is Reason.STARTTLS_NOT_OFFERED
    message = caught.value.message
    steps = (
        f"port {script.port}, Implicit: does not speak TLS; "
        f"port {script.port}, StartTLS: does not offer STARTTLS"
    )
    assert steps in message
    assert message.count("credentials") == 1
    assert message.endswith("No credentials were sent")
    assert script.said.count(b"CAPABILITY") == 1
    assert b"alice" not in script.said
    assert b"AUTHENTICATE" not in script.said


def test_opportunistic_goes_on_in_clear_text_and_says_so() -> None:
    with serve(TinyServer()) as a, serve(TinyServer()) as b:
        report, output = run_between(
            endpoint(a.port, tls={"mode": "Opportunistic"}),
            endpoint(b.port, side=Side.DESTINATION),
        )
    assert report.verdict.exit_code == 0
    assert b"AUTHENTICATE" in a.said_in_clear
    facts = report.verdict.tls.source
    assert facts is not None
    assert (facts.mode, facts.secured, facts.verified) == ("Opportunistic", False, "None")
    assert PASSWORD not in output.everything


def _refusing_starttls(peer: Peer) -> None:
    peer.send(b"* OK ready\r\n")
    tag, _ = peer.command()
    peer.send(b"* CAPABILITY IMAP4rev1 STARTTLS\r\n" + tag + b" OK done\r\n")
    tag, _ = peer.command()
    peer.send(tag + b" NO not today\r\n")
    peer.wait_for_hang_up()


def _preauth(peer: Peer) -> None:
    peer.send(b"* PREAUTH welcome\r\n")
    peer.wait_for_hang_up()


def _injecting(peer: Peer) -> None:
    peer.send(b"* OK ready\r\n")
    tag, _ = peer.command()
    peer.send(b"* CAPABILITY IMAP4rev1 STARTTLS\r\n" + tag + b" OK done\r\n")
    tag, _ = peer.command()
    peer.send(tag + b" OK begin\r\n* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n")
    peer.wait_for_hang_up()


@pytest.mark.parametrize("mode", ["Auto", "Opportunistic"])
@pytest.mark.parametrize(
    ("dialogue", "error", "reason"),
    [
        (_refusing_starttls, TLSPolicyError, Reason.STARTTLS_REFUSED),
        (_preauth, TLSPolicyError, Reason.ALREADY_AUTHENTICATED),
        (_injecting, ProtocolError, Reason.PROTOCOL_VIOLATION),
    ],
    ids=["STARTTLS refused", "PREAUTH", "injection"],
)
def test_a_server_that_takes_tls_back_gets_nothing(
    mode: str, dialogue: Dialogue, error: type[EngineError], reason: Reason
) -> None:
    with serve(dialogue) as script, pytest.raises(error) as caught:
        open_session(endpoint(script.port, tls={"mode": mode}), connector=connector())
    assert caught.value.reason is reason
    assert b"alice" not in script.said


@pytest.mark.parametrize("mode", ["Auto", "Opportunistic"])
@pytest.mark.parametrize("implicit", [True, False], ids=["Implicit", "StartTLS"])
def test_a_refused_certificate_is_an_answer(
    mode: str, authority: Authority, *, implicit: bool
) -> None:
    pair = authority.issue("elsewhere.example.org")
    dialogue: Dialogue = TinyServer() if implicit else with_starttls(TinyServer())
    with serve(dialogue, key_pair=pair, implicit_tls=implicit) as script:
        account = endpoint(script.port, ca_pem=authority.pem, tls={"mode": mode})
        with pytest.raises(TLSPolicyError) as caught:
            open_session(account, connector=connector())
    assert caught.value.reason is Reason.CERTIFICATE_NAME_MISMATCH
    assert len(script.peers) == (1 if implicit else 2)
    assert b"alice" not in script.said


def _unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def usual_ports(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let other ports stand for 993 and 143, which may be taken or forbidden here."""

    def use(imaps: int, imap: int) -> None:
        monkeypatch.setattr(ways_module, "IMAPS_PORT", imaps)
        monkeypatch.setattr(ways_module, "IMAP_PORT", imap)

    return use


def _without_port(mode: str, authority: Authority | None = None) -> Endpoint:
    ca_pem = authority.pem if authority else None
    return endpoint(None, ca_pem=ca_pem, tls={"mode": mode})


@pytest.mark.parametrize("mode", ["Auto", "Opportunistic"])
@pytest.mark.parametrize("first", ["closed", "plain"])
def test_without_a_port_starttls_comes_second(
    mode: str, first: str, authority: Authority, key_pair: KeyPair, usual_ports: Any
) -> None:
    with ExitStack() as stack:
        port = _unused_port()
        if first == "plain":
            port = stack.enter_context(serve(TinyServer())).port
        script: Script = stack.enter_context(serve(with_starttls(TinyServer()), key_pair=key_pair))
        usual_ports(port, script.port)
        assert _facts(_without_port(mode, authority)).mode == "StartTLS"
    assert b"alice" not in script.said_in_clear


def test_without_a_port_and_without_a_listener_it_is_unreachable(usual_ports: Any) -> None:
    usual_ports(_unused_port(), _unused_port())
    for mode in ("Auto", "Opportunistic"):
        with pytest.raises(UnreachableError) as caught:
            open_session(_without_port(mode), connector=connector())
        assert "Implicit: " in caught.value.message
        assert "StartTLS: " in caught.value.message


def test_a_run_keeps_to_the_way_it_found(authority: Authority, key_pair: KeyPair) -> None:
    # An attacker who breaks the first connection must not get the second one in clear text.
    by = connector()
    dialogues: list[Dialogue] = [TinyServer(), with_starttls(TinyServer())]

    def dialogue(peer: Peer) -> None:
        dialogues[-1](peer)

    with serve(dialogue, key_pair=key_pair) as script:
        account = endpoint(script.port, ca_pem=authority.pem, tls={"mode": "Opportunistic"})
        assert _facts(account, by).mode == "StartTLS"
        dialogues.pop()
        with pytest.raises(TLSPolicyError) as caught:
            open_session(account, connector=by)
    assert caught.value.reason is Reason.STARTTLS_NOT_OFFERED
    assert b"alice" not in script.said_in_clear


def test_silence_on_the_first_way_ends_at_its_deadline(
    authority: Authority, key_pair: KeyPair
) -> None:
    calls: list[int] = []
    second = with_starttls(TinyServer())

    def dialogue(peer: Peer) -> None:
        calls.append(1)
        if len(calls) == 1:
            peer.wait_for_hang_up()
        else:
            second(peer)

    with serve(dialogue, key_pair=key_pair) as script:
        account = endpoint(script.port, ca_pem=authority.pem, tls={"mode": "Auto"})
        assert _facts(account, connector(connect=0.5)).mode == "StartTLS"

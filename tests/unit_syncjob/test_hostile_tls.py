"""What happens before TLS, against servers (and people in between) that mean harm.

The verdict comes from the server's own trace: any credential or mailbox command before TLS fails.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mailsync_api.conditions import Reason
from mailsync_syncjob.errors import (
    EngineError,
    ProtocolError,
    TLSPolicyError,
    UnreachableError,
)
from mailsync_syncjob.imap.session import open_session
from tests.support.recorded import PASSWORD, connector, endpoint
from tests.support.scripted import Peer, TinyServer, serve

if TYPE_CHECKING:
    from tests.support.certificates import Authority, KeyPair
    from tests.support.scripted import Dialogue

_CAPABILITY = b"* CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN\r\n"


def _script(
    *,
    greeting: bytes = b"* OK ready\r\n",
    capability: bytes = _CAPABILITY,
    starttls: bytes = b"%s OK begin\r\n",
) -> Dialogue:
    """Return the clear-text phase of a server; what it says after STARTTLS holds the tag as %s."""

    def dialogue(peer: Peer) -> None:
        peer.send(greeting)
        tag, command = peer.command()
        assert command == b"CAPABILITY"
        peer.send(capability + tag + b" OK done\r\n")
        tag, command = peer.command()
        assert command == b"STARTTLS"
        peer.send(starttls.replace(b"%s", tag))
        peer.wait_for_hang_up()

    return dialogue


_CASES: list[tuple[str, Dialogue, type[EngineError], Reason | None]] = [
    (
        "not offered",
        _script(capability=b"* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n"),
        TLSPolicyError,
        Reason.STARTTLS_NOT_OFFERED,
    ),
    ("no capabilities", _script(capability=b""), TLSPolicyError, Reason.STARTTLS_NOT_OFFERED),
    (
        "capabilities only in the greeting",
        _script(greeting=b"* OK [CAPABILITY IMAP4rev1 STARTTLS] hi\r\n", capability=b""),
        TLSPolicyError,
        Reason.STARTTLS_NOT_OFFERED,
    ),
    ("NO", _script(starttls=b"%s NO not now\r\n"), TLSPolicyError, Reason.STARTTLS_REFUSED),
    ("BAD", _script(starttls=b"%s BAD what\r\n"), TLSPolicyError, Reason.STARTTLS_REFUSED),
    ("continuation", _script(starttls=b"+ go on\r\n"), ProtocolError, None),
    ("another tag", _script(starttls=b"x99 OK begin\r\n"), ProtocolError, None),
    (
        "injected capabilities",
        _script(starttls=b"%s OK begin\r\n* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n"),
        ProtocolError,
        None,
    ),
    ("injected alert", _script(starttls=b"%s OK x\r\n* OK [ALERT] pay\r\n"), ProtocolError, None),
    ("injected BYE", _script(starttls=b"%s OK x\r\n* BYE\r\n"), ProtocolError, None),
    ("injected byte", _script(starttls=b"%s OK x\r\n*"), ProtocolError, None),
    (
        "an answer before the question",
        _script(capability=_CAPABILITY + b"m1 OK begin\r\n"),
        ProtocolError,
        None,
    ),
    (
        "PREAUTH",
        _script(greeting=b"* PREAUTH welcome\r\n"),
        TLSPolicyError,
        Reason.ALREADY_AUTHENTICATED,
    ),
    ("BYE", _script(greeting=b"* BYE full\r\n"), UnreachableError, None),
    ("garbage", _script(greeting=b"220 smtp.example.org ESMTP\r\n"), ProtocolError, None),
    ("a tagged greeting", _script(greeting=b"a1 OK hello\r\n"), ProtocolError, None),
    ("an endless greeting", _script(greeting=b"* OK " + b"x" * (2 << 20)), ProtocolError, None),
    ("a huge literal", _script(greeting=b"* OK {99999999999}\r\n"), ProtocolError, None),
]


@pytest.mark.parametrize(
    ("dialogue", "error", "reason"),
    [case[1:] for case in _CASES],
    ids=[case[0] for case in _CASES],
)
def test_the_session_ends_and_nothing_secret_is_said(
    dialogue: Dialogue, error: type[EngineError], reason: Reason | None, authority: Authority
) -> None:
    with serve(dialogue) as script:
        account = endpoint(script.port, ca_pem=authority.pem, tls={"mode": "StartTLS"})
        with pytest.raises(error) as caught:
            open_session(account, connector=connector())
    if reason is not None:
        assert caught.value.reason is reason
    assert PASSWORD not in str(caught.value)
    for word in (b"AUTHENTICATE", b"LOGIN", b"LIST", b"alice"):
        assert word not in script.said


@pytest.mark.parametrize("text", [b"Visit http://evil.example", b"[ALERT] call +1 900"])
def test_words_said_before_tls_are_not_repeated(text: bytes, authority: Authority) -> None:
    dialogue = _script(starttls=b"%s NO " + text + b"\r\n")
    with serve(dialogue) as script:
        account = endpoint(script.port, ca_pem=authority.pem, tls={"mode": "StartTLS"})
        with pytest.raises(TLSPolicyError) as caught:
            open_session(account, connector=connector())
    assert "evil" not in str(caught.value)
    assert "900" not in str(caught.value)


def test_silence_after_starttls_ends_at_the_deadline(authority: Authority) -> None:
    with serve(_script()) as script:
        account = endpoint(script.port, ca_pem=authority.pem, tls={"mode": "StartTLS"})
        with pytest.raises(UnreachableError):
            open_session(account, connector=connector(connect=0.3))


def test_a_drip_of_bytes_ends_at_the_deadline() -> None:
    def drip(peer: Peer) -> None:
        while True:
            peer.send(b"*")
            # The client decides when it has had enough; this only keeps the bytes coming.
            with_timeout(peer)

    def with_timeout(peer: Peer) -> None:
        peer._socket.settimeout(0.02)
        try:
            peer._socket.recv(1)
        except TimeoutError:
            peer._socket.settimeout(20)

    with serve(drip) as script, pytest.raises(UnreachableError):
        open_session(endpoint(script.port), connector=connector(greeting=0.5))


def test_the_end_of_an_earlier_command_is_not_taken_for_a_later_one(authority: Authority) -> None:
    def dialogue(peer: Peer) -> None:
        peer.send(b"* OK ready\r\n")
        first, _ = peer.command()
        peer.send(_CAPABILITY + first + b" OK done\r\n")
        peer.command()
        peer.send(first + b" OK begin\r\n")
        peer.wait_for_hang_up()

    with serve(dialogue) as script:
        account = endpoint(script.port, ca_pem=authority.pem, tls={"mode": "StartTLS"})
        with pytest.raises(ProtocolError, match="not under way"):
            open_session(account, connector=connector())


def test_what_was_announced_before_tls_is_forgotten(
    authority: Authority, key_pair: KeyPair
) -> None:
    inside = TinyServer(capabilities=b"IMAP4rev1 LOGINDISABLED", greeting=b"")

    def dialogue(peer: Peer) -> None:
        peer.send(b"* OK ready\r\n")
        tag, _ = peer.command()
        # An injected folder must not appear in the list of the session under TLS either.
        peer.send(b'* LIST () "/" Injected\r\n' + _CAPABILITY + tag + b" OK done\r\n")
        tag, _ = peer.command()
        peer.send(tag + b" OK begin\r\n")
        peer.start_tls()
        inside(peer)

    with serve(dialogue, key_pair=key_pair) as script:
        account = endpoint(script.port, ca_pem=authority.pem, tls={"mode": "StartTLS"})
        with pytest.raises(EngineError, match="offers no mechanism"):
            open_session(account, connector=connector())
        assert b"alice" not in script.said

        inside.capabilities = b"IMAP4rev1 AUTH=PLAIN SASL-IR"
        session = open_session(account, connector=connector())
        assert [folder.name for folder in session.list_folders()] == ["INBOX"]
        session.close()
    assert b"AUTHENTICATE" not in script.said_in_clear


def test_preauth_under_tls_is_not_taken_for_our_login(
    authority: Authority, key_pair: KeyPair
) -> None:
    server = TinyServer(greeting=b"* PREAUTH welcome, mallory\r\n")
    with serve(server, key_pair=key_pair, implicit_tls=True) as script:
        account = endpoint(script.port, ca_pem=authority.pem, tls={"mode": "Implicit"})
        with pytest.raises(ProtocolError):
            open_session(account, connector=connector())
    assert b"alice" not in script.said

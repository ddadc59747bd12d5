"""What is said when logging in: the server's trace has it, and a password only where it must be."""

from __future__ import annotations

import base64
import hashlib
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from mailsync_syncjob.errors import (
    ConfigurationError,
    CredentialsError,
    EngineError,
    UnreachableError,
)
from mailsync_syncjob.imap.session import open_session
from tests.support.hostile.logins import challenge, initial
from tests.support.recorded import PASSWORD, connector, endpoint
from tests.support.scram import ScramServer
from tests.support.scripted import Peer, TinyServer, says, serve

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.certificates import Authority, KeyPair
    from tests.support.scripted import Script

_SCRAM = b"IMAP4rev1 AUTH=SCRAM-SHA-256 AUTH=SCRAM-SHA-1 AUTH=PLAIN SASL-IR"
_PLAIN = b"IMAP4rev1 AUTH=PLAIN SASL-IR"


def _try(
    answer: Callable[[Peer, bytes, bytes], None],
    *,
    capabilities: bytes = _SCRAM,
    greeting: float = 5.0,
    **account: Any,
) -> tuple[EngineError | None, Script]:
    """Log in to a server that answers AUTHENTICATE and LOGIN so; return how it ended."""
    answers = {b"AUTHENTICATE": answer, b"LOGIN": answer}
    server = TinyServer(capabilities=capabilities, answers=answers)
    with serve(server) as script:
        try:
            open_session(
                endpoint(script.port, **account), connector=connector(greeting=greeting)
            ).close()
        except EngineError as error:
            return error, script
    return None, script


def _lines(script: Script) -> list[bytes]:
    """Return what the client said after asking for the capabilities."""
    (peer,) = script.peers
    return [line.rstrip(b"\r\n") for _, line in peer.trace][1:]


def _assert_no_password(script: Script) -> None:
    for form in (PASSWORD.encode(), base64.b64encode(PASSWORD.encode())):
        assert form not in script.said
    plain = base64.b64encode(b"\0alice\0" + PASSWORD.encode())
    assert plain not in script.said


# ---- what is offered -----------------------------------------------------------------------------


def test_an_administrator_is_not_forgotten_for_want_of_a_mechanism() -> None:
    error, script = _try(
        says(),
        capabilities=b"IMAP4rev1 AUTH=CRAM-MD5 AUTH=LOGIN",
        authentication={"authorizationIdentity": "bob"},
    )
    assert isinstance(error, ConfigurationError)
    assert "authorizationIdentity" in error.message
    assert _lines(script) == []


@pytest.mark.parametrize(("word", "told"), [(b"secret\n", True), (b"sec\nret", False)])
def test_a_final_line_break_in_a_refused_password_is_pointed_out(word: bytes, told: bool) -> None:  # noqa: FBT001  a table's column
    error, script = _try(says(end=b"NO no"), capabilities=_PLAIN, password=word)
    assert isinstance(error, CredentialsError)
    assert ("ends with a line break" in error.message) is told
    assert word.strip().decode() not in error.message
    assert len(_lines(script)) == 1


@pytest.mark.parametrize(
    ("mechanism", "capability", "refused"),
    [
        ("Plain", b"AUTH=PLAIN", True),
        ("LoginCommand", b"", True),
        ("ScramSha1", b"AUTH=SCRAM-SHA-1", True),
        ("Login", b"AUTH=LOGIN", False),
        ("CramMd5", b"AUTH=CRAM-MD5", False),
    ],
)
def test_nul_is_refused_where_it_cannot_be_carried(
    mechanism: str, capability: bytes, *, refused: bool
) -> None:
    def answer(peer: Peer, tag: bytes, _: bytes) -> None:
        for _number in range(2 if mechanism == "Login" else 1):
            challenge(peer, b"prompt")
        peer.send(tag + b" OK\r\n")

    error, script = _try(
        answer,
        capabilities=b"IMAP4rev1 " + capability,
        password=b"a\0b",
        authentication={"mechanism": mechanism},
    )
    if refused:
        assert isinstance(error, ConfigurationError)
        assert "NUL" in error.message
        assert _lines(script) == []
    else:
        assert error is None
        login = base64.b64encode(b"a\0b")
        assert (login in script.said) == (mechanism == "Login")


def test_words_that_repeat_the_password_are_masked() -> None:
    word = b'se"cr\\et'
    forms = [word, b'se\\"cr\\\\et', base64.b64encode(word), base64.b64encode(b"\0alice\0" + word)]
    error, _ = _try(
        says(end=b"NO you said " + b" and ".join(forms)), capabilities=_PLAIN, password=word
    )
    assert isinstance(error, CredentialsError)
    assert "you said *** and *** and *** and ***" in error.message


# ---- what is said --------------------------------------------------------------------------------


@pytest.mark.parametrize("at_once", [True, False])
def test_the_administrator_says_for_whom(*, at_once: bool) -> None:
    def answer(peer: Peer, tag: bytes, rest: bytes) -> None:
        assert initial(rest) if at_once else challenge(peer, b"")
        peer.send(tag + b" OK\r\n")

    error, script = _try(
        answer,
        capabilities=b"IMAP4rev1 AUTH=PLAIN" + (b" SASL-IR" if at_once else b""),
        username="admin",
        authentication={"authorizationIdentity": "bob"},
    )
    assert error is None
    said = base64.b64encode(b"bob\0admin\0" + PASSWORD.encode())
    words = b" ".join(_lines(script)).split(b" ")
    assert words[1:4] == [b"AUTHENTICATE", b"PLAIN", said]


@pytest.mark.parametrize(("identity", "said"), [(None, b"="), ("bob", b"Ym9i")])
def test_external_leaves_the_name_to_the_certificate(identity: str | None, said: bytes) -> None:
    error, script = _try(
        says(),
        capabilities=b"IMAP4rev1 AUTH=EXTERNAL AUTH=PLAIN SASL-IR",
        password=None,
        authentication={
            "mechanism": "External",
            "authorizationIdentity": identity,
            "secretRef": None,
        },
    )
    assert error is None
    assert _lines(script)[0].split(b" ")[1:] == [b"AUTHENTICATE", b"EXTERNAL", said]


@dataclass
class _Proxying:
    """A server with PROXYAUTH, which ends as given."""

    end: bytes

    def run(self, user: str) -> tuple[EngineError | None, Script]:
        server = TinyServer(answers={b"PROXYAUTH": says(end=self.end)})
        with serve(server) as script:
            account = endpoint(
                script.port, username="admin", authentication={"proxyAuthUser": user}
            )
            try:
                open_session(account, connector=connector()).close()
            except EngineError as error:
                return error, script
        return None, script


def test_proxyauth_follows_the_login() -> None:
    error, script = _Proxying(b"OK done").run('bob "the builder"')
    assert error is None
    login, proxy = _lines(script)[:2]
    assert b" AUTHENTICATE PLAIN " in login
    assert proxy.partition(b" ")[2] == b'PROXYAUTH "bob \\"the builder\\""'


@pytest.mark.parametrize(
    ("end", "kind", "words"),
    [
        (b"NO not yours", CredentialsError, "admin open the mailbox of bob"),
        (b"BAD what", ConfigurationError, "does not know PROXYAUTH"),
        (b"NO [UNAVAILABLE] later", UnreachableError, "later"),
    ],
)
def test_a_refused_proxyauth_is_final(end: bytes, kind: type[EngineError], words: str) -> None:
    error, script = _Proxying(end).run("bob")
    assert type(error) is kind
    assert error is not None
    assert words in error.message
    assert len(_lines(script)) == 2


# ---- channel binding -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("newest", "offered", "used", "header"),
    [
        ("TLSv1_2", "SCRAM-SHA-256-PLUS SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", b"p=tls-unique,,"),
        ("TLSv1_2", "SCRAM-SHA-1-PLUS SCRAM-SHA-256", "SCRAM-SHA-256", b"n,,"),
        ("TLSv1_2", "SCRAM-SHA-256 PLAIN", "SCRAM-SHA-256", b"y,,"),
        ("TLSv1_3", "SCRAM-SHA-256-PLUS SCRAM-SHA-256", "SCRAM-SHA-256", b"n,,"),
        ("TLSv1_3", "SCRAM-SHA-256-PLUS PLAIN", "SCRAM-SHA-256-PLUS", b"p=tls-server-end-point,,"),
        ("TLSv1_3", "SCRAM-SHA-256 PLAIN", "SCRAM-SHA-256", b"n,,"),
    ],
)
def test_a_login_is_bound_to_its_connection(
    *,
    newest: str,
    offered: str,
    used: str,
    header: bytes,
    authority: Authority,
    key_pair: KeyPair,
) -> None:
    der = ssl.PEM_cert_to_DER_cert(
        key_pair.certificate.read_text().partition("-----END")[0] + "-----END CERTIFICATE-----\n"
    )

    def answer(peer: Peer, tag: bytes, rest: bytes) -> None:
        assert rest.split(b" ")[1] == used.encode()
        assert initial(rest).startswith(header)
        server = ScramServer("sha256", PASSWORD.encode())
        binding = b""
        if b"tls-unique" in header:
            assert isinstance(peer.socket, ssl.SSLSocket)
            binding = peer.socket.get_channel_binding("tls-unique") or b""
        elif b"end-point" in header:
            binding = hashlib.sha256(der).digest()
        final = challenge(peer, server.first(initial(rest)))
        assert challenge(peer, server.final(final, binding=binding)) == b""
        peer.send(tag + b" OK\r\n")

    words = " ".join(f"AUTH={word}" for word in offered.split())
    tiny = TinyServer(
        capabilities=f"IMAP4rev1 SASL-IR {words}".encode(), answers={b"AUTHENTICATE": answer}
    )

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(key_pair.certificate, key_pair.key)
    context.maximum_version = ssl.TLSVersion[newest]
    with serve(tiny, context=context, implicit_tls=True) as script:
        account = endpoint(script.port, ca_pem=authority.pem, tls={"mode": "Implicit"})
        open_session(account, connector=connector()).close()
    _assert_no_password(script)

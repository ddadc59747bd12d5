"""Connections through proxies: friendly, refusing, broken and hostile ones."""

from __future__ import annotations

import base64
import socket
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest

from mailsync_api import names
from mailsync_api.conditions import Reason
from mailsync_api.endpoint import MailAccount, SecretPart, Side
from mailsync_api.exitcodes import ExitCode
from mailsync_syncjob.credentials import Password, ProxyLogin
from mailsync_syncjob.deadline import Clock, Stop
from mailsync_syncjob.errors import (
    ConfigurationError,
    CredentialsError,
    EngineError,
    InterruptedRunError,
    TLSPolicyError,
    UnreachableError,
)
from mailsync_syncjob.imap.session import open_session
from mailsync_syncjob.imap.tcp import open_tcp
from mailsync_syncjob.job import read_endpoint
from mailsync_syncjob.proxy import MAX_ANSWER_BYTES, proxy_url
from tests.support.builders import account as account_wire
from tests.support.recorded import PASSWORD, connector, endpoint
from tests.support.scripted import TinyServer, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mailsync_syncjob.credentials import Endpoint
    from tests.support.certificates import Authority, KeyPair

_USER, _WORD = "proxy-us\u00e9r", "pr\u00f6xy: word%"
_LOGIN = ProxyLogin(_USER, Password(_WORD.encode()))
_GREETING = b"* OK ready\r\n"
_NOWHERE = "mail.invalid"  # RFC 6761: no resolver knows it, so only the proxy can have been asked


@dataclass
class Recorder:
    """A proxy that does what a test wants, and what it was told."""

    port: int
    said: bytearray = field(default_factory=bytearray)


@contextmanager
def proxy(talk: Callable[[socket.socket, Recorder], None]) -> Iterator[Recorder]:
    """Run a proxy for one connection after the other, for as long as the block lasts."""
    listener = socket.create_server(("127.0.0.1", 0))
    recorder = Recorder(listener.getsockname()[1])

    def accept() -> None:
        with suppress(OSError):
            while True:
                sock, _ = listener.accept()
                sock.settimeout(10)
                with sock, suppress(OSError):
                    talk(sock, recorder)

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield recorder
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def answers(*parts: bytes) -> Callable[[socket.socket, Recorder], None]:
    """Return a proxy that answers one message after the other, and then only listens."""

    def talk(sock: socket.socket, recorder: Recorder) -> None:
        for part in parts:
            recorder.said += sock.recv(4096)
            sock.sendall(part)
        while data := sock.recv(4096):
            recorder.said += data

    return talk


def behind(port: int, *, kind: str = "SOCKS5", login: ProxyLogin | None = None) -> Endpoint:
    """Return an account behind a proxy on this port."""
    account = endpoint(993, host=_NOWHERE, proxy={"type": kind, "host": "127.0.0.1", "port": port})
    return replace(account, proxy_login=login)


def tcp(account: Endpoint, *, seconds: float = 5.0) -> socket.socket:
    return open_tcp(account, seconds=seconds, stop=Stop(Clock()))


_CONNECTED = b"\x05\x00\x00\x01\x7f\x00\x00\x01\x12\x34"
_ADDRESS = b"\x05\x01\x00\x03" + bytes([len(_NOWHERE)]) + _NOWHERE.encode() + b"\x03\xe1"


def test_socks5_asks_the_proxy_for_the_name_and_leaves_the_greeting() -> None:
    # The server behind it speaks first: its words come in one piece with the proxy's last answer.
    with (
        proxy(answers(b"\x05\x00", _CONNECTED + _GREETING)) as recorder,
        tcp(behind(recorder.port)) as sock,
    ):
        assert bytes(recorder.said) == b"\x05\x01\x00" + _ADDRESS
        assert sock.recv(100) == _GREETING


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("192.0.2.7", b"\x01\xc0\x00\x02\x07"),
        ("2001:db8::7", b"\x04" + bytes.fromhex("20010db8") + bytes(11) + b"\x07"),
    ],
)
@pytest.mark.parametrize(
    "bound", [_CONNECTED, b"\x05\x00\x00\x04" + bytes(18), b"\x05\x00\x00\x03\x02ab\x00\x01"]
)
def test_socks5_addresses(host: str, address: bytes, bound: bytes) -> None:
    with proxy(answers(b"\x05\x00", bound + _GREETING)) as recorder:
        account = behind(recorder.port)
        account = replace(account, account=account.account.model_copy(update={"host": host}))
        with tcp(account) as sock:
            assert recorder.said.endswith(b"\x05\x01\x00" + address + b"\x03\xe1")
            assert sock.recv(100) == _GREETING


def test_socks5_credentials_arrive_byte_for_byte() -> None:
    with (
        proxy(answers(b"\x05\x02", b"\x01\x00", _CONNECTED)) as recorder,
        tcp(behind(recorder.port, login=_LOGIN)),
    ):
        user, word = _USER.encode(), _WORD.encode()
        sent = b"\x01" + bytes([len(user)]) + user + bytes([len(word)]) + word
        assert bytes(recorder.said) == b"\x05\x02\x02\x00" + sent + _ADDRESS


def test_http_connect_reads_to_the_end_of_the_headers_and_not_further() -> None:
    answer = b"HTTP/1.0 200 Connection established\r\nProxy-Agent: x\r\n\r\n" + _GREETING
    with (
        proxy(answers(answer)) as recorder,
        tcp(behind(recorder.port, kind="HTTPConnect", login=_LOGIN)) as sock,
    ):
        lines = bytes(recorder.said).split(b"\r\n")
        assert lines[0] == f"CONNECT {_NOWHERE}:993 HTTP/1.1".encode()
        assert lines[1] == f"Host: {_NOWHERE}:993".encode()
        pair = base64.b64encode(f"{_USER}:{_WORD}".encode())
        assert lines[2:] == [b"Proxy-Authorization: Basic " + pair, b"", b""]
        assert sock.recv(100) == _GREETING


def _refusals() -> Iterator[tuple[str, str, list[bytes], type[EngineError], Reason | None, str]]:
    unreachable, forbids = UnreachableError, Reason.PROXY_FORBIDS
    for code, words in ((1, "general"), (4, "name is not known"), (5, "refused"), (77, "77")):
        parts = [b"\x05\x00", bytes([5, code, 0, 1])]
        yield f"SOCKS5 reply {code}", "SOCKS5", parts, unreachable, None, words
    parts = [b"\x05\x00", b"\x05\x02\x00\x01"]
    yield "SOCKS5 ruleset", "SOCKS5", parts, unreachable, forbids, "have it allowed"
    refused = Reason.PROXY_CREDENTIALS_REFUSED
    yield (
        "SOCKS5 login refused",
        "SOCKS5",
        [b"\x05\x02", b"\x01\x01"],
        CredentialsError,
        refused,
        "its own",
    )
    yield "SOCKS5 no method", "SOCKS5", [b"\x05\xff"], CredentialsError, refused, "its own"
    for status, error, reason, words in (
        (407, CredentialsError, refused, "its own"),
        (401, CredentialsError, refused, "its own"),
        (403, unreachable, forbids, "403 Denied"),
        (502, unreachable, None, "502 Denied"),
        (504, unreachable, None, "504 Denied"),
        (302, unreachable, None, "302 Denied"),
        (101, unreachable, None, "101 Denied"),
    ):
        parts = [b"HTTP/1.1 %d Denied\r\nX: y\r\n\r\n" % status]
        yield f"HTTP {status}", "HTTPConnect", parts, error, reason, words


_REFUSALS = list(_refusals())


@pytest.mark.parametrize(
    ("kind", "parts", "error", "reason", "words"),
    [case[1:] for case in _REFUSALS],
    ids=[case[0] for case in _REFUSALS],
)
def test_what_a_proxy_refuses_is_told_apart(
    kind: str, parts: list[bytes], error: type[EngineError], reason: Reason | None, words: str
) -> None:
    with proxy(answers(*parts)) as recorder, pytest.raises(error) as caught:
        tcp(behind(recorder.port, kind=kind, login=_LOGIN))
    said = caught.value.message
    assert words in said
    assert f"source {_NOWHERE}:993: the proxy 127.0.0.1:{recorder.port}" in said
    assert _WORD not in said
    if reason is not None:
        assert caught.value.reason is reason


@pytest.mark.parametrize(
    ("kind", "answer"), [("SOCKS5", b"\x05\xff"), ("HTTPConnect", b"HTTP/1.1 407 no\r\n\r\n")]
)
def test_a_proxy_that_wants_a_login_is_said_to(kind: str, answer: bytes) -> None:
    with proxy(answers(answer)) as recorder, pytest.raises(CredentialsError) as caught:
        tcp(behind(recorder.port, kind=kind))
    assert "proxy.secretRef" in caught.value.message
    assert caught.value.exit_code is ExitCode.CREDENTIALS


_HOSTILE: list[tuple[str, str, list[bytes]]] = [
    ("an HTTP server", "SOCKS5", [b"HTTP/1.1 400 Bad Request\r\n\r\n"]),
    ("SOCKS4", "SOCKS5", [b"\x00\x5b"]),
    ("a method that was not offered", "SOCKS5", [b"\x05\x01"]),
    ("a login that was not asked for", "SOCKS5", [b"\x05\x02"]),
    ("another version later", "SOCKS5", [b"\x05\x00", b"\x04\x00\x00\x01" + bytes(6)]),
    ("an unknown kind of address", "SOCKS5", [b"\x05\x00", b"\x05\x00\x00\x02" + bytes(6)]),
    ("an IMAP server", "HTTPConnect", [b"* OK ready\r\n\r\n"]),
    ("endless headers", "HTTPConnect", [b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * MAX_ANSWER_BYTES]),
    ("an endless line", "HTTPConnect", [b"HTTP/1.1 200 " + b"x" * (1 << 20)]),
    ("no status", "HTTPConnect", [b"HTTP/1.1 OK\r\n\r\n"]),
    ("HTTP/2", "HTTPConnect", [b"HTTP/2 200 OK\r\n\r\n"]),
    ("a SOCKS proxy", "HTTPConnect", [b"\x05\xff"]),
]


@pytest.mark.parametrize(
    ("kind", "parts"), [case[1:] for case in _HOSTILE], ids=[case[0] for case in _HOSTILE]
)
def test_what_is_no_such_proxy_is_said_to_be_none(kind: str, parts: list[bytes]) -> None:
    with proxy(answers(*parts)) as recorder, pytest.raises(ConfigurationError) as caught:
        tcp(behind(recorder.port, kind=kind))
    assert f"as one of type {kind} does: correct proxy.type" in caught.value.message


@pytest.mark.parametrize(
    ("kind", "drip"), [("SOCKS5", b"\x05"), ("HTTPConnect", b"HTTP/1.1 200 OK\r\nX: y\r\n")]
)
def test_a_proxy_that_stops_in_the_middle_is_given_up(kind: str, drip: bytes) -> None:
    with proxy(answers(drip)) as recorder, pytest.raises(UnreachableError) as caught:
        tcp(behind(recorder.port, kind=kind), seconds=0.3)
    assert "no complete answer within 0 s" in caught.value.message
    assert caught.value.reason is Reason.PROXY_UNREACHABLE


def test_time_counts_for_the_whole_answer_and_not_from_byte_to_byte() -> None:
    enough = threading.Event()

    def drip(sock: socket.socket, _: Recorder) -> None:
        sock.recv(4096)
        sock.sendall(b"HTTP/1.1 200 OK\r\n")
        while not enough.wait(0.05):
            sock.sendall(b"x")

    try:
        with proxy(drip) as recorder, pytest.raises(UnreachableError, match="no complete answer"):
            tcp(behind(recorder.port, kind="HTTPConnect"), seconds=0.4)
    finally:
        enough.set()


def test_a_proxy_that_hangs_up_or_is_not_there() -> None:
    with proxy(lambda *_: None) as recorder, pytest.raises(UnreachableError) as caught:
        tcp(behind(recorder.port))
    assert caught.value.reason is Reason.PROXY_UNREACHABLE
    with pytest.raises(UnreachableError) as caught:
        tcp(behind(recorder.port))
    assert f"the proxy 127.0.0.1:{recorder.port} could not be reached" in caught.value.message
    assert caught.value.reason is Reason.PROXY_UNREACHABLE


def test_a_wish_to_stop_is_heard_while_a_proxy_is_silent() -> None:
    stop = Stop(Clock())

    def silent(sock: socket.socket, _: Recorder) -> None:
        sock.recv(4096)
        stop.request()
        sock.recv(4096)

    with proxy(silent) as recorder, pytest.raises(InterruptedRunError):
        open_tcp(behind(recorder.port), seconds=60, stop=stop)


@pytest.mark.parametrize(
    ("kind", "login", "words"),
    [
        ("SOCKS5", ProxyLogin("u", Password(b"x" * 256)), "1 to 255 bytes, this one has 256"),
        ("SOCKS5", ProxyLogin("", Password(b"x")), "a user name for SOCKS5"),
        ("HTTPConnect", ProxyLogin("a:b", Password(b"x")), "no colon"),
    ],
)
def test_credentials_that_do_not_fit_are_refused(kind: str, login: ProxyLogin, words: str) -> None:
    with proxy(answers(b"\x05\x02")) as recorder, pytest.raises(ConfigurationError, match=words):
        tcp(behind(recorder.port, kind=kind, login=login))


def test_words_of_a_proxy_that_repeat_the_password_are_masked() -> None:
    pair = base64.b64encode(f"{_USER}:{_WORD}".encode())
    with (
        proxy(answers(b"HTTP/1.1 502 Basic " + pair + b"\r\n\r\n")) as recorder,
        pytest.raises(UnreachableError) as caught,
    ):
        tcp(behind(recorder.port, kind="HTTPConnect", login=_LOGIN))
    assert pair.decode() not in caught.value.message
    assert "***" in caught.value.message


def test_credentials_show_themselves_nowhere() -> None:
    account = behind(1, login=_LOGIN)
    assert _WORD not in repr(account)
    assert _WORD in account.masked_words
    with pytest.raises(ConfigurationError, match="no UTF-8"):
        ProxyLogin.of(b"\xff", b"x", party=Side.SOURCE)
    assert ProxyLogin.of(b"me\n", b"x\n", party=Side.SOURCE).username == "me"


def test_a_proxy_as_an_http_client_wants_it() -> None:
    account = behind(1080).account
    assert account.proxy is not None
    assert proxy_url(account.proxy, None) == "socks5h://127.0.0.1:1080"
    http = account.proxy.model_copy(update={"type": "HTTPConnect", "host": "2001:db8::1"})
    assert (
        proxy_url(http, _LOGIN)
        == "http://proxy-us%C3%A9r:pr%C3%B6xy%3A%20word%25@[2001:db8::1]:1080"
    )


def _forwarding(target: int) -> Callable[[socket.socket, Recorder], None]:
    """Return a SOCKS5 proxy that connects everything to one port."""

    def copy(source: socket.socket, sink: socket.socket, recorder: Recorder | None) -> None:
        with suppress(OSError):
            while data := source.recv(4096):
                if recorder is not None:
                    recorder.said += data
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def talk(sock: socket.socket, recorder: Recorder) -> None:
        for answer in (b"\x05\x00", _CONNECTED):
            sock.recv(4096)
            sock.sendall(answer)
        with socket.create_connection(("127.0.0.1", target)) as server:
            back = threading.Thread(target=copy, args=(server, sock, None), daemon=True)
            back.start()
            copy(sock, server, recorder)
            back.join(5)

    return talk


@pytest.mark.parametrize(("name", "good"), [("localhost", True), ("proxy.example.org", False)])
def test_the_certificate_is_that_of_the_server_and_not_of_the_proxy(
    name: str, *, good: bool, authority: Authority, key_pair: KeyPair
) -> None:
    options: dict[str, Any] = {"tls": {"mode": "Implicit"}, "host": name, "ca_pem": authority.pem}
    with (
        serve(TinyServer(), key_pair=key_pair, implicit_tls=True) as script,
        proxy(_forwarding(script.port)) as recorder,
    ):
        via = {"type": "SOCKS5", "host": "127.0.0.1", "port": recorder.port}
        account = endpoint(script.port, proxy=via, **options)
        if good:
            session = open_session(account, connector=connector())
            assert session.facts.server_name == name
            session.close()
        else:
            with pytest.raises(EngineError) as caught:
                open_session(account, connector=connector())
            assert caught.value.reason is Reason.CERTIFICATE_NAME_MISMATCH
            assert script.said == b""
    assert PASSWORD.encode() not in recorder.said


@pytest.mark.parametrize("kind", ["SOCKS5", "HTTPConnect"])
def test_a_token_endpoint_is_asked_by_the_accounts_proxy(kind: str, tmp_path: Path) -> None:
    oauth2 = {
        "grant": "RefreshToken",
        "clientID": "me",
        "tokenURL": f"https://{_NOWHERE}/token",
    }
    for folder, name, text in (
        ("source", SecretPart.TOKEN, "refresh-word"),
        ("source-proxy", names.PROXY_USERNAME_FILE_NAME, "me"),
        ("source-proxy", names.PROXY_PASSWORD_FILE_NAME, "gate-word"),
    ):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / name).write_text(text)
    # Nothing comes of it; that the proxy was asked is all that is wanted here.
    refusal = {
        "SOCKS5": [b"\x05\x02", b"\x01\x00", _CONNECTED, b"no TLS"],
        "HTTPConnect": [b"HTTP/1.1 502 no\r\n\r\n"],
    }
    with proxy(answers(*refusal[kind])) as recorder:
        via = {
            "type": kind,
            "host": "127.0.0.1",
            "port": recorder.port,
            "secretRef": {"name": "gate"},
        }
        wire = account_wire("source", proxy=via, authentication={"oauth2": oauth2})
        account = MailAccount.model_validate(wire)
        end = read_endpoint(Side.SOURCE, account, root=tmp_path)
        assert end.tokens is not None
        with pytest.raises((UnreachableError, TLSPolicyError)) as caught:
            end.tokens.take(Stop(Clock()))
    assert _NOWHERE.encode() in recorder.said
    assert b"refresh-word" not in recorder.said
    assert "gate-word" not in caught.value.message

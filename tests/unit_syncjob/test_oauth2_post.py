"""The token request against hostile endpoints, over real TLS: it ends, and gives nothing away."""

from __future__ import annotations

import ssl
import threading
import zlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from mailsync_api.conditions import Reason
from mailsync_api.endpoint import Side
from mailsync_syncjob.deadline import Clock, Stop
from mailsync_syncjob.errors import (
    ConfigurationError,
    EngineError,
    InterruptedRunError,
    TLSPolicyError,
    UnreachableError,
)
from mailsync_syncjob.oauth2.answer import Answer
from mailsync_syncjob.oauth2.post import Route, post
from mailsync_syncjob.oauth2.request import TokenRequest
from tests.support.certificates import Authority, KeyPair
from tests.support.poll import wait_until
from tests.support.scripted import Dialogue, Peer, Script, serve

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_BODY = "grant_type=refresh_token&refresh_token=hush-hush"
_TOKEN = b'{"access_token":"x"}'


def _stop() -> Stop:
    return Stop(Clock())


def _post(
    script: Script,
    ca_pem: str,
    *,
    seconds: float = 10,
    stop: Stop | None = None,
    scheme: str = "https",
) -> Answer:
    request = TokenRequest(f"{scheme}://127.0.0.1:{script.port}/token", _BODY, {}, ())
    route = Route(ca_pem, seconds=seconds)
    return post(request, route, side=Side.SOURCE, stop=stop or _stop())


def _heard(peer: Peer) -> bytes:
    """Read one request and return its body."""
    length = 0
    while (line := peer._line().strip()) != b"":
        peer.trace.append((peer.secured, line))
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    body: bytes = peer._file.read(length)
    peer.trace.append((peer.secured, body))
    return body


def _says(*parts: bytes) -> Dialogue:
    def dialogue(peer: Peer) -> None:
        assert _heard(peer) == _BODY.encode()
        for part in parts:
            peer.send(part)

    return dialogue


def _response(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> bytes:
    lines = [b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), *headers]
    return b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def test_an_answer(authority: Authority) -> None:
    said = _response(b"{}", b"Retry-After: 7", status=b"429 Too Many Requests")
    pair = authority.issue("127.0.0.1")
    with serve(_says(said), key_pair=pair, implicit_tls=True) as script:
        answer = _post(script, authority.pem)
    assert (answer.status, answer.body, answer.retry_after) == (429, b"{}", "7")
    assert script.said_in_clear == b""


def test_a_redirect_is_not_followed(authority: Authority) -> None:
    pair = authority.issue("127.0.0.1")
    with serve(_says(), key_pair=pair, implicit_tls=True) as other:
        where = b"Location: https://127.0.0.1:%d/token" % other.port
        for status in (b"301 Moved", b"307 Temporary Redirect"):
            said = _response(b"", where, status=status)
            with serve(_says(said), key_pair=pair, implicit_tls=True) as script:
                assert _post(script, authority.pem).status == int(status[:3])
            assert len(script.peers) == 1
    assert other.peers == []


@pytest.mark.parametrize(
    "said",
    [
        _response(b" " * (1 << 20)),
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n" + b" " * (1 << 19),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"80000\r\n" + b" " * 0x80000,
    ],
)
def test_a_huge_answer_is_not_read(authority: Authority, said: bytes) -> None:
    pair = authority.issue("127.0.0.1")
    with (
        serve(_says(said), key_pair=pair, implicit_tls=True) as script,
        pytest.raises(ConfigurationError, match="more than 262144 bytes"),
    ):
        _post(script, authority.pem)


def test_what_was_compressed_is_not_unpacked(authority: Authority) -> None:
    bomb = zlib.compress(b" " * (64 << 20), wbits=31)
    said = _response(bomb, b"Content-Encoding: gzip", b"Content-Type: application/json")
    pair = authority.issue("127.0.0.1")
    with serve(_says(said), key_pair=pair, implicit_tls=True) as script:
        assert _post(script, authority.pem).body == bomb


def _drips(piece: bytes, first: bytes = b"") -> Dialogue:
    def dialogue(peer: Peer) -> None:
        _heard(peer)
        peer.send(first)
        over = threading.Event()
        while not over.wait(0.02):
            peer.send(piece)

    return dialogue


@pytest.mark.parametrize(
    "dialogue",
    [
        _drips(b"H"),
        _drips(b"X: y\r\n", b"HTTP/1.1 200 OK\r\n"),
        _drips(b" ", b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"),
        Peer.wait_for_hang_up,
    ],
)
def test_an_endless_answer_ends_at_the_deadline(authority: Authority, dialogue: Dialogue) -> None:
    pair = authority.issue("127.0.0.1")
    with (
        serve(dialogue, key_pair=pair, implicit_tls=True) as script,
        pytest.raises(UnreachableError, match=r"not answer within 1 s|could not be reached"),
    ):
        _post(script, authority.pem, seconds=0.6)


@pytest.mark.parametrize(
    "said", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", b"SSH-2.0-x\r\n", b"\x00" * 99]
)
def test_what_is_no_whole_answer(authority: Authority, said: bytes) -> None:
    pair = authority.issue("127.0.0.1")
    with (
        serve(_says(said), key_pair=pair, implicit_tls=True) as script,
        pytest.raises(UnreachableError, match="could not be reached"),
    ):
        _post(script, authority.pem)


def test_nobody_listens(authority: Authority) -> None:
    with serve(_says()) as script:
        pass
    with pytest.raises(UnreachableError, match=f"127.0.0.1:{script.port}/token could not"):
        _post(script, authority.pem)


_NOW = datetime.now(UTC)


@pytest.mark.parametrize(
    ("names", "begins", "ends", "reason"),
    [
        (("127.0.0.1",), -9, -1, Reason.CERTIFICATE_EXPIRED),
        (("127.0.0.1",), 1, 9, Reason.CERTIFICATE_NOT_YET_VALID),
        (("localhost",), -1, 9, Reason.CERTIFICATE_NAME_MISMATCH),
    ],
)
def test_a_bad_certificate(
    authority: Authority, names: tuple[str, ...], begins: int, ends: int, reason: Reason
) -> None:
    pair = authority.issue(
        *names, not_before=_NOW + timedelta(days=begins), not_after=_NOW + timedelta(days=ends)
    )
    _refused(lambda script: _post(script, authority.pem), pair_of=pair, reason=reason)


def test_another_authority(authority: Authority, tmp_path: Path) -> None:
    pair = Authority(tmp_path).issue("127.0.0.1")
    reason = Reason.CERTIFICATE_NOT_TRUSTED
    _refused(lambda script: _post(script, authority.pem), pair_of=pair, reason=reason)


def _refused(call: Callable[[Script], Answer], *, pair_of: KeyPair, reason: Reason) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair_of.certificate, pair_of.key)
    with serve(_says(_response(_TOKEN)), context=context, implicit_tls=True) as script:
        with pytest.raises(TLSPolicyError) as caught:
            call(script)
        assert caught.value.reason is reason
        assert caught.value.exit_code == 76
    assert script.said == b""


def test_clear_text_where_tls_is_due(authority: Authority) -> None:
    def dialogue(peer: Peer) -> None:
        peer.send(_response(_TOKEN))
        peer.wait_for_hang_up()

    with serve(dialogue) as script:
        with pytest.raises(TLSPolicyError) as caught:
            _post(script, authority.pem)
        assert caught.value.reason is Reason.TLS_NOT_SPOKEN
    assert b"hush" not in script.said


def test_an_old_version_of_tls(authority: Authority) -> None:
    pair = authority.issue("127.0.0.1")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair.certificate, pair.key)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    with serve(_says(_response(_TOKEN)), context=context, implicit_tls=True) as script:
        with pytest.raises(TLSPolicyError) as caught:
            _post(script, authority.pem)
        assert caught.value.reason is Reason.TLS_HANDSHAKE_FAILED
    assert script.said == b""


def test_ca_certificates_that_are_none() -> None:
    with (
        serve(_says()) as script,
        pytest.raises(ConfigurationError, match=r"source\.authentication\.oauth2\.caRef"),
    ):
        _post(script, "no PEM")


def test_a_wish_to_stop_is_heard(authority: Authority) -> None:
    pair, stop = authority.issue("127.0.0.1"), _stop()
    errors: list[EngineError] = []

    def ask(script: Script) -> None:
        try:
            _post(script, authority.pem, seconds=60, stop=stop)
        except EngineError as error:
            errors.append(error)

    with serve(Peer.wait_for_hang_up, key_pair=pair, implicit_tls=True) as script:
        thread = threading.Thread(target=ask, args=(script,))
        thread.start()
        wait_until(lambda: b"POST" in script.said, 10, what="the request")
        stop.request()
        thread.join(10)
        assert not thread.is_alive()
    assert [type(error) for error in errors] == [InterruptedRunError]


def test_no_proxy_that_the_manifest_does_not_name(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    pair = authority.issue("127.0.0.1")
    with serve(_says(_response(_TOKEN)), key_pair=pair, implicit_tls=True) as script:
        assert _post(script, authority.pem).body == _TOKEN


def test_a_proxy_is_asked_for_a_tunnel() -> None:
    """The seam for a manifest's proxy: the request goes through it, and stays encrypted."""

    def dialogue(peer: Peer) -> None:
        _heard(peer)
        peer.send(_response(b"", status=b"502 no"))

    with serve(dialogue) as proxy:
        request = TokenRequest("https://login.example.org/token", _BODY, {}, ())
        route = Route(proxy=f"http://127.0.0.1:{proxy.port}")
        with pytest.raises(UnreachableError):
            post(request, route, side=Side.SOURCE, stop=_stop())
    assert b"CONNECT login.example.org:443" in proxy.said
    assert b"hush" not in proxy.said

"""SOCKS5 and HTTP CONNECT: from a connection to a proxy to one with the server behind it.

An IMAP server speaks first, so not one byte more may be read than the proxy's own answer: what
follows it is the server's greeting, or somebody's idea of one. The clients that there are on PyPI
read CONNECT's answer in one piece, whatever is in it, count their time-outs from byte to byte and
take no password beyond ASCII; both protocols are four messages, so they are here.
"""

from __future__ import annotations

import base64
import ipaddress
import re
import time
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from mailsync_api.conditions import Reason
from mailsync_api.network import ProxyType
from mailsync_syncjob.deadline import Deadline
from mailsync_syncjob.errors import ConfigurationError, CredentialsError, UnreachableError
from mailsync_syncjob.texts import sanitise

if TYPE_CHECKING:
    import socket

    from mailsync_api.network import Proxy
    from mailsync_syncjob.credentials import ProxyLogin, Target
    from mailsync_syncjob.deadline import Stop
    from mailsync_syncjob.errors import EngineError

__all__ = ["MAX_ANSWER_BYTES", "proxy_address", "proxy_url", "through_proxy"]

MAX_ANSWER_BYTES: Final = 16384
"""The longest answer to CONNECT, with all its headers."""
_LOOK_UP_SECONDS: Final = 0.5

# RFC 1928 and RFC 1929.
_VERSION, _LOGIN_VERSION = 5, 1
_NO_LOGIN, _USER_AND_PASSWORD, _NONE_OF_THESE = 0, 2, 255
_CONNECT, _RESERVED = 1, 0
_IPV4, _NAME, _IPV6 = 1, 3, 4
_ADDRESS_BYTES: Final = {_IPV4: 4, _IPV6: 16}
_PORT_BYTES: Final = 2
_LONGEST: Final = 255
_FORBIDDEN: Final = 2
_REPLIES: Final = {
    1: "general failure",
    3: "the network is unreachable",
    4: "the host is unreachable, or its name is not known",
    5: "the connection was refused",
    6: "it took too long",
    7: "it does not know the command CONNECT",
    8: "it does not know this type of address",
}

# RFC 9110 section 15.
_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: ([^\r\n]*))?\r?\n")
# 407 is the one of RFC 9110; tinyproxy says 401 to a password that is wrong.
_LOGIN_WANTED: Final = frozenset({401, 407})
_DENIED: Final = frozenset({403, 405, 451})


def through_proxy(sock: socket.socket, endpoint: Target, *, seconds: float, stop: Stop) -> None:
    """Make a connection to the endpoint's proxy one to its server, whose name the proxy resolves.

    Parameters
    ----------
    seconds
        How long all of it may take.

    Raises
    ------
    UnreachableError
        The proxy says that it cannot or may not, or does not answer in time.
    CredentialsError
        It refused its own user name and password.
    ConfigurationError
        It does not speak this protocol, or the credentials do not fit in it.
    """
    proxy = endpoint.account.proxy
    if proxy is None:
        raise ValueError("an endpoint without a proxy")
    talk = _Talk(sock, endpoint, proxy, seconds=seconds, stop=stop)
    match proxy.type:
        case ProxyType.SOCKS5:
            _socks5(talk)
        case ProxyType.HTTP_CONNECT:
            _http_connect(talk)


def proxy_address(proxy: Proxy) -> str:
    """Return the proxy's host and port for people."""
    return _joined(proxy.host, proxy.port)


def proxy_url(proxy: Proxy, login: ProxyLogin | None) -> str:
    """Return the proxy as a URL, as HTTP clients take it; it holds the password.

    With ``socks5h`` the proxy resolves the names, as it does for connections to mail servers.
    """
    scheme = "socks5h" if proxy.type is ProxyType.SOCKS5 else "http"
    who = ""
    if login is not None:
        name, word = (
            quote(login.username.encode(), safe=""),
            quote(login.password.reveal(), safe=""),
        )
        who = f"{name}:{word}@"
    return f"{scheme}://{who}{proxy_address(proxy)}"


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class _Talk:
    """One conversation with a proxy: bounded in time and size, and exact to the byte."""

    def __init__(
        self, sock: socket.socket, endpoint: Target, proxy: Proxy, *, seconds: float, stop: Stop
    ) -> None:
        self.endpoint = endpoint
        self.proxy = proxy
        self.login = endpoint.proxy_login
        self.side = endpoint.side
        self.host = endpoint.account.host.removesuffix(".")
        self.port = endpoint.account.effective_port
        self.where = f"{endpoint.side} {endpoint.address}: the proxy {proxy_address(proxy)}"
        self._socket = sock
        self._stop = stop
        self._deadline = Deadline(seconds, now=time.monotonic)

    def send(self, data: bytes) -> None:
        self._socket.settimeout(max(self._deadline.left(), 0.001))
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise self._lost(str(error.strerror or error)) from None

    def read(self, size: int) -> bytes:
        """Return exactly this many bytes, and leave what follows them."""
        data = b""
        while len(data) < size:
            data += self._some(size - len(data))
        return data

    def _some(self, limit: int) -> bytes:
        while (left := self._deadline.left()) > 0:
            self._stop.check()
            self._socket.settimeout(min(left, _LOOK_UP_SECONDS))
            try:
                found = self._socket.recv(limit)
            except TimeoutError:
                continue
            except OSError as error:
                raise self._lost(str(error.strerror or error)) from None
            if not found:
                raise self._lost("it closed the connection")
            return found
        raise self._lost(f"no complete answer within {self._deadline.seconds:.0f} s")

    def _lost(self, what: str) -> UnreachableError:
        return UnreachableError(
            f"{self.where} did not connect: {what}",
            side=self.side,
            reason=Reason.PROXY_UNREACHABLE,
        )

    def not_understood(self) -> ConfigurationError:
        return ConfigurationError(
            f"{self.where} does not answer as one of type {self.proxy.type} does: correct "
            "proxy.type, proxy.host or proxy.port",
            side=self.side,
        )

    def not_reached(self, why: str) -> UnreachableError:
        return UnreachableError(f"{self.where} could not reach the server: {why}", side=self.side)

    def forbidden(self, why: str) -> UnreachableError:
        return UnreachableError(
            f"{self.where} does not allow connections to this server and port{why}: have it "
            "allowed there",
            side=self.side,
            reason=Reason.PROXY_FORBIDS,
        )

    def login_refused(self) -> EngineError:
        if self.login is None:
            return CredentialsError(
                f"{self.where} asks for a user name and password: name the Secret with them in "
                "proxy.secretRef",
                side=self.side,
                reason=Reason.PROXY_CREDENTIALS_REFUSED,
            )
        hint = (
            "; the password ends with a line break, which may be an accident"
            if self.login.password.reveal().endswith(b"\n")
            else ""
        )
        return CredentialsError(
            f"{self.where} refused its own user name and password, those of proxy.secretRef: "
            f"correct them{hint}",
            side=self.side,
            reason=Reason.PROXY_CREDENTIALS_REFUSED,
        )


def _socks5(talk: _Talk) -> None:
    login = talk.login
    methods = [_NO_LOGIN] if login is None else [_USER_AND_PASSWORD, _NO_LOGIN]
    talk.send(bytes([_VERSION, len(methods), *methods]))
    version, method = talk.read(2)
    if version != _VERSION:
        raise talk.not_understood()
    if method == _USER_AND_PASSWORD and login is not None:
        _socks5_login(talk, login)
    elif method == _NONE_OF_THESE:
        raise talk.login_refused()
    elif method != _NO_LOGIN:
        raise talk.not_understood()
    talk.send(bytes([_VERSION, _CONNECT, _RESERVED]) + _socks5_address(talk))
    version, reply, _, kind = talk.read(4)
    if version != _VERSION:
        raise talk.not_understood()
    if reply == _FORBIDDEN:
        raise talk.forbidden("")
    if reply:
        raise talk.not_reached(_REPLIES.get(reply, f"unknown failure {reply}"))
    # Where the proxy connects from is of no interest, but has to be read.
    if kind != _NAME and kind not in _ADDRESS_BYTES:
        raise talk.not_understood()
    talk.read((talk.read(1)[0] if kind == _NAME else _ADDRESS_BYTES[kind]) + _PORT_BYTES)


def _socks5_login(talk: _Talk, login: ProxyLogin) -> None:
    user, password = login.username.encode(), login.password.reveal()
    for what, value in (("user name", user), ("password", password)):
        if not 1 <= len(value) <= _LONGEST:
            raise ConfigurationError(
                f"{talk.side}.proxy.secretRef: a {what} for SOCKS5 has 1 to {_LONGEST} bytes, "
                f"this one has {len(value)}: correct it, or use type HTTPConnect",
                side=talk.side,
            )
    talk.send(bytes([_LOGIN_VERSION, len(user)]) + user + bytes([len(password)]) + password)
    version, status = talk.read(2)
    if version != _LOGIN_VERSION:
        raise talk.not_understood()
    if status:
        raise talk.login_refused()


def _socks5_address(talk: _Talk) -> bytes:
    port = talk.port.to_bytes(_PORT_BYTES, "big")
    try:
        address = ipaddress.ip_address(talk.host)
    except ValueError:
        name = talk.host.encode("ascii")
        return bytes([_NAME, len(name)]) + name + port
    kind = _IPV6 if isinstance(address, ipaddress.IPv6Address) else _IPV4
    return bytes([kind]) + address.packed + port


def _http_connect(talk: _Talk) -> None:
    target = _joined(talk.host, talk.port)
    lines = [f"CONNECT {target} HTTP/1.1".encode(), f"Host: {target}".encode()]
    if talk.login is not None:
        user = talk.login.username.encode()
        if b":" in user:  # RFC 7617 section 2
            raise ConfigurationError(
                f"{talk.side}.proxy.secretRef: a user name for type HTTPConnect has no colon: "
                "correct it, or use type SOCKS5",
                side=talk.side,
            )
        pair = base64.b64encode(user + b":" + talk.login.password.reveal())
        lines.append(b"Proxy-Authorization: Basic " + pair)
    talk.send(b"\r\n".join([*lines, b"", b""]))
    status, words = _http_answer(talk)
    if status in _LOGIN_WANTED:
        raise talk.login_refused()
    said = f"{status} {words}".strip()
    if status in _DENIED:
        raise talk.forbidden(f" ({said})")
    if not 200 <= status < 300:
        raise talk.not_reached(said)


def _http_answer(talk: _Talk) -> tuple[int, str]:
    """Read an answer to the end of its headers, and not a byte further."""
    data = b""
    while not data.endswith((b"\r\n\r\n", b"\n\n")):
        if len(data) >= MAX_ANSWER_BYTES or not b"HTTP/1.".startswith(data[:7]):
            raise talk.not_understood()
        data += talk.read(1)
    found = _STATUS.match(data)
    if found is None:
        raise talk.not_understood()
    return int(found[1]), sanitise(found[2] or b"", secrets=talk.endpoint.masked_words)

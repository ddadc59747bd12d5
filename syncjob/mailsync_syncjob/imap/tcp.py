"""TCP: from a name to a connected socket, also through a proxy or to a tunnel in this pod."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mailsync_api.conditions import Reason
from mailsync_syncjob.errors import UnreachableError
from mailsync_syncjob.proxy import proxy_address, through_proxy
from mailsync_syncjob.tunnellog import check_started

if TYPE_CHECKING:
    from mailsync_syncjob.credentials import Target
    from mailsync_syncjob.deadline import Stop

__all__ = ["open_tcp"]

_LOOPBACK: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class _Place:
    """What to connect to."""

    host: str
    port: int
    shown: str
    reason: Reason | None = None
    """Why, if it cannot be reached, and it is not the server."""

    @classmethod
    def of(cls, endpoint: Target) -> _Place:
        where = f"{endpoint.side} {endpoint.address}"
        if endpoint.tunnel is not None:
            return cls(_LOOPBACK, endpoint.tunnel.port, f"{where}: the tunnel to it")
        proxy, account = endpoint.account.proxy, endpoint.account
        if proxy is None:
            return cls(account.host, account.effective_port, where)
        shown = f"{where}: the proxy {proxy_address(proxy)}"
        return cls(proxy.host, proxy.port, shown, Reason.PROXY_UNREACHABLE)


def open_tcp(endpoint: Target, *, seconds: float, stop: Stop) -> socket.socket:
    """Return a connected socket; each address of the name is given this long.

    Behind a proxy it is the proxy that resolves the server's name, and it is given this long too.

    Raises
    ------
    UnreachableError
        The name is not known, or no address answered in time; or so the proxy says.
    CredentialsError
        The proxy refused its own user name and password.
    ConfigurationError
        The proxy is none, or not of this type; or the tunnel could not start.
    """
    check_started(endpoint)
    sock = _connected(_Place.of(endpoint), endpoint, seconds=seconds, stop=stop)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if endpoint.account.proxy is not None:
            through_proxy(sock, endpoint, seconds=seconds, stop=stop)
    except BaseException:
        sock.close()
        raise
    return sock


def _connected(target: _Place, endpoint: Target, *, seconds: float, stop: Stop) -> socket.socket:
    try:
        found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise UnreachableError(
            f"{target.shown}: the name {target.host} could not be resolved: {error}",
            side=endpoint.side,
            reason=target.reason,
        ) from None
    failures: list[str] = []
    for family, kind, protocol, _, address in found:
        stop.check()
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(seconds)
            sock.connect(address)
        except OSError as error:
            sock.close()
            failures.append(f"{address[0]}: {_words(error, seconds=seconds)}")
        else:
            return sock
    raise UnreachableError(
        f"{target.shown} could not be reached: {'; '.join(failures)}",
        side=endpoint.side,
        reason=target.reason,
    )


def _words(error: OSError, *, seconds: float) -> str:
    """Return what the end of an attempt means."""
    if isinstance(error, ConnectionRefusedError):
        return "connection refused: nothing listens there"
    if isinstance(error, TimeoutError):
        return f"no answer within {seconds:.0f} s: a firewall may drop the connection"
    return error.strerror or str(error)

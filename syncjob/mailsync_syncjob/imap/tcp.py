"""TCP: from a name to a connected socket."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from mailsync_syncjob.errors import UnreachableError

if TYPE_CHECKING:
    from mailsync_syncjob.credentials import Target
    from mailsync_syncjob.deadline import Stop

__all__ = ["open_tcp"]


def open_tcp(endpoint: Target, *, seconds: float, stop: Stop) -> socket.socket:
    """Return a connected socket; each address of the name is given this long.

    Raises
    ------
    UnreachableError
        The name is not known, or no address answered in time.
    """
    host, port = endpoint.account.host, endpoint.account.effective_port
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise UnreachableError(
            f"{endpoint.side} {endpoint.address}: the name {host} could not be resolved: {error}",
            side=endpoint.side,
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
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            return sock
    raise UnreachableError(
        f"{endpoint.side} {endpoint.address} could not be reached: {'; '.join(failures)}",
        side=endpoint.side,
    )


def _words(error: OSError, *, seconds: float) -> str:
    """Return what the end of an attempt means."""
    if isinstance(error, ConnectionRefusedError):
        return "connection refused: nothing listens there"
    if isinstance(error, TimeoutError):
        return f"no answer within {seconds:.0f} s: a firewall may drop the connection"
    return error.strerror or str(error)

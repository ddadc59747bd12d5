"""Which ways to a server a TLS mode allows, in which order, and which end leads to the next one."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeVar

from mailsync_api.conditions import Reason
from mailsync_api.endpoint import IMAP_PORT, IMAPS_PORT, TLSMode
from mailsync_syncjob.errors import TLSPolicyError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mailsync_api.endpoint import Server
    from mailsync_syncjob.credentials import Target
    from mailsync_syncjob.errors import EngineError

__all__ = ["Way", "all_failed", "along", "leads_on", "ways"]

AnyTarget = TypeVar("AnyTarget", bound="Target")

_FINDING_OUT: Final = frozenset({TLSMode.AUTO, TLSMode.OPPORTUNISTIC})
# Their own errors advise another mode, which is no cure here.
_NOT_OFFERED: Final[Mapping[Reason, str]] = MappingProxyType(
    {
        Reason.TLS_NOT_SPOKEN: "does not speak TLS",
        Reason.STARTTLS_NOT_OFFERED: "does not offer STARTTLS: have it enabled",
    }
)


@dataclass(frozen=True, slots=True)
class Way:
    """One port and how TLS starts there; ``NONE`` is clear text."""

    port: int
    mode: TLSMode


def ways(server: Server) -> tuple[Way, ...]:
    """Return the ways to try, in this order.

    Opportunistic has clear text as its last way, but never on port 993: that port means TLS
    (RFC 8314 section 3.2).
    """
    mode, port = server.tls.mode, server.port
    if mode not in _FINDING_OUT:
        return (Way(server.effective_port, mode),)
    found: list[Way] = []
    if port != IMAP_PORT:
        found.append(Way(port or IMAPS_PORT, TLSMode.IMPLICIT))
    if port != IMAPS_PORT:
        found.append(Way(port or IMAP_PORT, TLSMode.START_TLS))
        if mode is TLSMode.OPPORTUNISTIC:
            found.append(Way(port or IMAP_PORT, TLSMode.NONE))
    return tuple(found)


def along(endpoint: AnyTarget, way: Way) -> AnyTarget:
    """Return the endpoint as it is for one way."""
    policy = endpoint.account.tls
    # A copy is not validated: in clear text the other options simply have no effect.
    tls = policy.model_copy(update={"mode": way.mode})
    account = endpoint.account.model_copy(update={"port": way.port, "tls": tls})
    return replace(endpoint, account=account)


def leads_on(error: EngineError, *, to: Way) -> bool:
    """Return whether a way that ended so says "not offered here", so that the next may be tried.

    A certificate that was refused, or a server that takes STARTTLS back, is an answer and ends it.
    Clear text follows only a server that was reached and does not announce STARTTLS.
    """
    if to.mode is TLSMode.NONE:
        return error.reason == Reason.STARTTLS_NOT_OFFERED
    return isinstance(error, UnreachableError) or error.reason == Reason.TLS_NOT_SPOKEN


def all_failed(endpoint: Target, tried: Sequence[tuple[Way, EngineError]]) -> EngineError:
    """Return what it means that no way led to a connection."""
    if len(tried) == 1:
        return tried[0][1]
    mode = endpoint.account.tls.mode
    where = f"{endpoint.side} {endpoint.account.host}"
    steps = "; ".join(
        f"port {way.port}, {way.mode}: {_why(endpoint, way, error)}" for way, error in tried
    )
    last = tried[-1][1]
    refused = [error for _, error in tried if isinstance(error, TLSPolicyError)]
    # On one port, "no TLS from the start" only led to the way that the server speaks, and that
    # server is away or busy for now; on two, the policy may have no other chance.
    one_port = len({way.port for way, _ in tried}) == 1
    if isinstance(last, UnreachableError) and (one_port or not refused):
        return UnreachableError(f"{where} could not be reached ({steps})", side=endpoint.side)
    if not isinstance(last, UnreachableError | TLSPolicyError):
        return last
    decisive = last if isinstance(last, TLSPolicyError) else refused[-1]
    return TLSPolicyError(
        f"{where}: tls.mode {mode} found no way with TLS that meets the policy ({steps}). "
        "No credentials were sent",
        side=endpoint.side,
        reason=decisive.reason,
    )


def _why(endpoint: Target, way: Way, error: EngineError) -> str:
    """Return the error in short: whose it is, and that nothing was sent, is said once."""
    if error.reason in _NOT_OFFERED:
        return _NOT_OFFERED[error.reason]
    where = f"{endpoint.side} {along(endpoint, way).address}"
    text = error.message.removeprefix(where).lstrip(": ")
    return re.sub(r"[;.] no credentials were sent\.?$", "", text, flags=re.IGNORECASE)

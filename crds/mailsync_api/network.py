"""How a connection gets to a server: by a proxy, or through a tunnel that does the TLS.

Both are fields of every server; ``NETWORK_RULES`` and ``check_network`` are the same rules twice,
because manifests are also read without an API server.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import Field

from mailsync_api.base import ApiModel
from mailsync_api.scalars import DataKey, Host, ObjectName
from mailsync_api.tlspolicy import TLSMode

if TYPE_CHECKING:
    from mailsync_api.tlspolicy import TLSPolicy

__all__ = [
    "NETWORK_RULES",
    "Proxy",
    "ProxySecretRef",
    "ProxyType",
    "Tunnel",
    "TunnelType",
    "check_network",
]


class ProxyType(StrEnum):
    """Which protocol a proxy speaks."""

    SOCKS5 = "SOCKS5"
    HTTP_CONNECT = "HTTPConnect"


class ProxySecretRef(ApiModel):
    """A Secret with what a proxy is logged in to with."""

    name: ObjectName
    """The Secret's name, in the namespace of the object that names it."""
    username_key: DataKey = "username"
    """The key under which the user's name is kept."""
    password_key: DataKey = "password"  # noqa: S105  a key, not a password
    """The key under which the password is kept."""


class Proxy(ApiModel):
    """A proxy that connections to the server go through.

    The server's name is resolved by the proxy. TLS is with the server itself: the proxy sees what
    anybody on the way sees.
    """

    type: ProxyType
    """SOCKS5 (RFC 1928) or HTTPConnect (the CONNECT method, RFC 9110 section 9.3.6)."""
    host: Host
    """The proxy's host name or IP address."""
    port: Annotated[int, Field(ge=1, le=65535)]
    """The proxy's TCP port; usual are 1080 for SOCKS5, 3128 or 8080 for HTTPConnect."""
    secret_ref: ProxySecretRef | None = None
    """The proxy's own user name and password, where it asks for them. They travel to the proxy in
    clear text, as both protocols have it: use others than for mail."""


class TunnelType(StrEnum):
    """Which program makes a tunnel."""

    STUNNEL = "Stunnel"


class Tunnel(ApiModel):
    """A tunnel that does the TLS in place of the engine: a sidecar in the same pod.

    It goes by the same tls policy. The engine speaks to it within the pod, in clear text. It needs
    Kubernetes 1.29 or later; `mailsync run` has no use for it and does the TLS itself.
    """

    # A set of one value is a constant to pydantic, which the CRD's schema would lose.
    type: Annotated[TunnelType, Field(json_schema_extra={"enum": ["Stunnel"]})] = TunnelType.STUNNEL
    """Stunnel: stunnel in client mode."""


_TUNNELLED: Final = (TLSMode.IMPLICIT, TLSMode.START_TLS)
_MODE: Final = (
    "tunnel is there to do the TLS, and stunnel must be told when it starts: "
    "set tls.mode to Implicit or StartTLS, or remove tunnel"
)
_PIN: Final = (
    "stunnel cannot compare a key with tls.pinnedSpkiSha256: "
    "remove tunnel, or remove the pins and name the server's CA in tls.caRef"
)
_BOTH: Final = "a connection goes either by a proxy or through a tunnel: remove proxy or tunnel"

NETWORK_RULES: Final = (
    (
        "!has(self.tunnel) || !has(self.tls) || self.tls.mode in ['Implicit', 'StartTLS']",
        _MODE,
    ),
    (
        "!has(self.tunnel) || !has(self.tls) || !has(self.tls.pinnedSpkiSha256)"
        " || size(self.tls.pinnedSpkiSha256) == 0",
        _PIN,
    ),
    ("!has(self.tunnel) || !has(self.proxy)", _BOTH),
)
"""CEL rules of an object with the fields ``tls``, ``proxy`` and ``tunnel``, with their messages."""


def check_network(tls: TLSPolicy | None, proxy: Proxy | None, tunnel: Tunnel | None) -> None:
    """Check the same in Python.

    Raises
    ------
    ValueError
        They do not fit together; the message names the cure.
    """
    if tunnel is None:
        return
    if tls is not None and tls.mode not in _TUNNELLED:
        raise ValueError(f"tls.mode is {tls.mode}: {_MODE}")
    if tls is not None and tls.pinned_spki_sha256:
        raise ValueError(_PIN)
    if proxy is not None:
        raise ValueError(_BOTH)

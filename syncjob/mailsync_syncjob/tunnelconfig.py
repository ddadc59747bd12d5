"""From a server's policy to the configuration of a stunnel that enforces it.

The counterpart of ``tls.make_context``: each field of the policy means the same in both. Where
stunnel cannot do what OpenSSL could be told to, it is stricter, but for one thing: a certificate
without any alternative name is matched by its common name.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mailsync_api.endpoint import TLSMode, TLSVerify, TLSVersion

if TYPE_CHECKING:
    from pathlib import Path

    from mailsync_api.endpoint import Server

__all__ = ["SYSTEM_CA", "TunnelFiles", "stunnel_config"]

SYSTEM_CA: Final = "/etc/ssl/certs/ca-certificates.crt"
"""Debian's bundle of the CAs that it trusts."""

_VERSIONS: Final = {
    TLSVersion.TLS_1_0: "TLSv1",
    TLSVersion.TLS_1_1: "TLSv1.1",
    TLSVersion.TLS_1_2: "TLSv1.2",
    TLSVersion.TLS_1_3: "TLSv1.3",
}
# Seconds, each a little less than what the engine waits, so that it is stunnel that says why.
_CONNECT_SECONDS: Final = 25
_BUSY_SECONDS: Final = 50


@dataclass(frozen=True, slots=True)
class TunnelFiles:
    """The files of one tunnel."""

    ready: Path
    """Written by stunnel once it listens."""
    ca: Path | None = None
    """The CA certificates of the policy; the system's without them."""
    certificate: Path | None = None
    key: Path | None = None


def stunnel_config(server: Server, files: TunnelFiles, *, port: int) -> str:
    """Return the text of a configuration: one service, from a port on loopback to the server.

    Raises
    ------
    ValueError
        A value would be more than one line; the models' own rules should have kept it away.
    """
    settings = [
        ("foreground", "yes"),
        ("syslog", "no"),
        ("pid", str(files.ready)),
        # What was negotiated, and why not; from "debug" on, bytes of the session would be in it.
        ("debug", "info"),
    ]
    service = [
        ("client", "yes"),
        ("accept", f"127.0.0.1:{port}"),
        ("connect", f"{server.host.removesuffix('.')}:{server.effective_port}"),
        # A name that is not known for a moment must not keep the tunnel from starting.
        ("delay", "yes"),
        # Each connection is verified anew and says so.
        ("sessionResume", "no"),
        ("renegotiation", "no"),
        ("libwrap", "no"),
        ("socket", "l:TCP_NODELAY=1"),
        ("socket", "r:TCP_NODELAY=1"),
        ("socket", "r:SO_KEEPALIVE=1"),
        ("TIMEOUTconnect", str(_CONNECT_SECONDS)),
        ("TIMEOUTbusy", str(_BUSY_SECONDS)),
        ("TIMEOUTclose", "5"),
        *_policy(server, files),
    ]
    lines = [_line(*each) for each in settings]
    return "\n".join([*lines, "[imap]", *(_line(*each) for each in service), ""])


def _policy(server: Server, files: TunnelFiles) -> list[tuple[str, str]]:
    policy = server.tls
    name = (policy.server_name or server.host).removesuffix(".")
    found = [
        ("sslVersionMin", _VERSIONS[policy.min_version]),
        ("ciphers", f"{policy.ciphers or 'DEFAULT'}:!aNULL:!eNULL"),
        ("securityLevel", str(policy.security_level)),
        # RFC 6066 section 3: no addresses in SNI; an empty value switches it off.
        ("sni", "" if _is_address(name) else name),
    ]
    if policy.mode is TLSMode.START_TLS:
        found.append(("protocol", "imap"))
    if policy.max_version is not None:
        found.append(("sslVersionMax", _VERSIONS[policy.max_version]))
    if policy.verify is not TLSVerify.NONE:
        found += [("verifyChain", "yes"), ("CAfile", str(files.ca or SYSTEM_CA))]
    if policy.verify is TLSVerify.FULL:
        found.append(("checkIP" if _is_address(name) else "checkHost", name))
    if files.certificate is not None and files.key is not None:
        found += [("cert", str(files.certificate)), ("key", str(files.key))]
    return found


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _line(name: str, value: str) -> str:
    if not value.isprintable():
        raise ValueError(f"{name} = {value!r} is not one line of printable characters")
    return f"{name} = {value}"

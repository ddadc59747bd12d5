"""Secrets, and the accounts they open."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from typing_extensions import override

from mailsync_api import names
from mailsync_syncjob.errors import ConfigurationError

if TYPE_CHECKING:
    from mailsync_api.endpoint import MailAccount, Server
    from mailsync_syncjob.clientcert import ClientCertificate
    from mailsync_syncjob.oauth2.tokens import Tokens
    from mailsync_syncjob.party import Party

__all__ = ["Endpoint", "Password", "ProxyLogin", "Target", "TunnelEnd"]


class Password:
    """A password that shows itself in no log, traceback or debugger by accident."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = value

    def reveal(self) -> bytes:
        """Return the password; only for writing it to an authenticated server."""
        return self._value

    @override
    def __repr__(self) -> str:
        return "Password(***)"

    @override
    def __reduce__(self) -> str:
        raise TypeError("a password is never pickled")


@dataclass(frozen=True, slots=True)
class ProxyLogin:
    """What a proxy is logged in to with."""

    username: str
    password: Password

    @classmethod
    def of(cls, username: bytes, password: bytes, *, party: Party) -> ProxyLogin:
        """Return the entries of a Secret; a line break at the end of a name is no part of it.

        Raises
        ------
        ConfigurationError
            The name is no UTF-8 text.
        """
        try:
            return cls(username.decode("utf-8").rstrip("\r\n"), Password(password))
        except UnicodeDecodeError:
            raise ConfigurationError(
                f"{party}.proxy.secretRef: the user name is no UTF-8 text: correct the Secret",
                side=party,
            ) from None

    @property
    def masked_words(self) -> tuple[str, ...]:
        """What must not be repeated from anybody's words."""
        user, password = self.username.encode(), self.password.reveal()
        return (
            base64.b64encode(user + b":" + password).decode("ascii"),
            base64.b64encode(password).decode("ascii"),
            password.decode("utf-8", "replace"),
        )


@dataclass(frozen=True, slots=True)
class TunnelEnd:
    """The near end of a tunnel that does the TLS: a port of this pod."""

    port: int
    log: Path
    """Where the tunnel says what it negotiated, and why it did not."""
    failure: Path
    """Where it says why it could not even start."""

    @classmethod
    def of(cls, place: str) -> TunnelEnd:
        """Return that of the tunnel to ``source``, ``destination`` or a probed server."""
        return cls(
            names.tunnel_port(place),
            Path(names.tunnel_log_path(place)),
            Path(names.tunnel_failure_path(place)),
        )


@dataclass(frozen=True, slots=True)
class Target:
    """A server to connect to, with what the references of its policy stand for."""

    side: Party
    account: Server
    ca_pem: str | None = field(default=None, kw_only=True)
    """CA certificates to trust instead of the system's."""
    client_certificate: ClientCertificate | None = field(default=None, kw_only=True)
    """What to show to a server that asks for a certificate."""
    proxy_login: ProxyLogin | None = field(default=None, kw_only=True)
    """What the account's proxy is logged in to with, if it asks for that."""
    tunnel: TunnelEnd | None = field(default=None, kw_only=True)
    """The tunnel to connect through; the account's wish for one is not enough, it must be there."""

    @property
    def address(self) -> str:
        """Host and port for people."""
        host = self.account.host
        shown = f"[{host}]" if ":" in host else host
        return f"{shown}:{self.account.effective_port}"

    @property
    def masked_words(self) -> tuple[str, ...]:
        """What must not be repeated from a server's words: what a proxy is logged in to with."""
        return self._proxy_words()

    def _proxy_words(self) -> tuple[str, ...]:
        return self.proxy_login.masked_words if self.proxy_login is not None else ()


@dataclass(frozen=True, slots=True)
class Endpoint(Target):
    """One side, complete: the account of the manifest with what its references stand for."""

    account: MailAccount
    password: Password | None
    """None where none is needed (mechanism External, or tokens)."""
    tokens: Tokens | None = field(default=None, kw_only=True)
    """Where the tokens come from, where the account logs in with them."""

    @property
    @override
    def masked_words(self) -> tuple[str, ...]:
        """What must not be repeated from a server's words: the password, also as it was sent.

        With tokens it is the one that was taken last.
        """
        return (*self._account_words(), *self._proxy_words())

    def _account_words(self) -> tuple[str, ...]:
        if self.tokens is not None:
            return self.tokens.masked_words
        if self.password is None:
            return ()
        password = self.password.reveal()
        user = self.account.username.encode()
        authorized = (self.account.authentication.authorization_identity or "").encode()
        escaped = password.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
        return (
            base64.b64encode(b"\0".join((authorized, user, password))).decode("ascii"),
            base64.b64encode(password).decode("ascii"),
            escaped.decode("utf-8", "replace"),
            password.decode("utf-8", "replace"),
        )

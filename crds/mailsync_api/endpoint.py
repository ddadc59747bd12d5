"""Servers and accounts: as a manifest names them, and as a run gets them.

A manifest's account either names its server itself or refers to a MailEndpoint; ``resolve`` makes
one whole account of both, and that is all that pods and the engine ever see.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import Field, model_validator

from mailsync_api.authentication import (
    AUTHORIZING_MECHANISMS,
    TOKEN_MECHANISMS,
    Authentication,
    Mechanism,
    SecretPart,
    SecretRef,
)
from mailsync_api.base import ApiModel, PrintableText
from mailsync_api.network import NETWORK_RULES, Proxy, Tunnel, check_network
from mailsync_api.scalars import Host, ObjectName
from mailsync_api.schema import cel
from mailsync_api.tlspolicy import (
    CaRef,
    CaRefKind,
    ClientCertificateRef,
    TLSMode,
    TLSPolicy,
    TLSVerify,
    TLSVersion,
)

__all__ = [
    "AUTHORIZING_MECHANISMS",
    "IMAPS_PORT",
    "IMAP_PORT",
    "TOKEN_MECHANISMS",
    "AccountSpec",
    "Authentication",
    "CaRef",
    "CaRefKind",
    "ClientCertificateRef",
    "Compression",
    "EndpointRef",
    "MailAccount",
    "Mechanism",
    "Proxy",
    "SecretPart",
    "SecretRef",
    "Server",
    "Side",
    "TLSMode",
    "TLSPolicy",
    "TLSVerify",
    "TLSVersion",
    "Tunnel",
]

IMAP_PORT: Final = 143
"""IMAP in clear text or with STARTTLS (RFC 9051 section 2.1)."""
IMAPS_PORT: Final = 993
"""IMAP with implicit TLS (RFC 8314 section 3.2)."""

_Port = Annotated[int, Field(ge=1, le=65535)]
_User = Annotated[PrintableText, Field(min_length=1, max_length=512)]


class Side(StrEnum):
    """Which end of the migration."""

    SOURCE = "source"
    DESTINATION = "destination"


class Compression(StrEnum):
    """How what is said on a connection is compressed."""

    NONE = "None"
    DEFLATE = "Deflate"


class Server(ApiModel):
    """An IMAP server: where it is, and how a connection to it is protected."""

    model_config = cel(*NETWORK_RULES)

    host: Host
    """The server's host name or IP address."""
    port: _Port | None = None
    """The TCP port: by default 993 with tls.mode Implicit, first 993 and then 143 with Auto and
    Opportunistic, else 143."""
    tls: TLSPolicy = TLSPolicy()
    """How the connection is protected: TLS from the start and full verification by default."""
    proxy: Proxy | None = None
    """A proxy that connections to the server go through."""
    tunnel: Tunnel | None = None
    """A tunnel that does the TLS in place of the engine, by the same policy."""
    compression: Compression = Compression.NONE
    """Deflate compresses what is said after the login (COMPRESS=DEFLATE, RFC 4978), where the
    server can do that; it pays on slow links."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        check_network(self.tls, self.proxy, self.tunnel)
        return self

    @property
    def ports(self) -> tuple[int, ...]:
        """The ports that may be connected to, in the order in which they are tried."""
        if self.port is not None:
            return (self.port,)
        match self.tls.mode:
            case TLSMode.IMPLICIT:
                return (IMAPS_PORT,)
            case TLSMode.AUTO | TLSMode.OPPORTUNISTIC:
                return (IMAPS_PORT, IMAP_PORT)
            case TLSMode.START_TLS | TLSMode.NONE:
                return (IMAP_PORT,)

    @property
    def effective_port(self) -> int:
        """The port to connect to, first if there are two."""
        return self.ports[0]


class MailAccount(Server):
    """An IMAP account, complete: what a run gets."""

    username: _User
    """The user who logs in, usually the mail address; the mailbox is this user's too, unless
    authentication names another."""
    authentication: Authentication
    """How to log in."""

    @property
    def mailbox(self) -> str:
        """The user whose mailbox is opened."""
        return self.authentication.other_mailbox or self.username


class EndpointRef(ApiModel):
    """A MailEndpoint in the namespace of the MailSync."""

    name: ObjectName
    """The MailEndpoint's name."""


_SERVER_MISSING: Final = "host is required, unless endpointRef names a MailEndpoint"
_SERVER_TWICE: Final = (
    "endpointRef says which server it is and how to reach it, so host, port, tls, proxy, tunnel "
    "and compression have no place beside it: change the MailEndpoint, or make another one"
)


class AccountSpec(ApiModel):
    """An IMAP account: a server, named here or by a MailEndpoint, and who logs in."""

    model_config = cel(
        ("has(self.host) || has(self.endpointRef)", _SERVER_MISSING),
        (
            "!has(self.endpointRef) || !(has(self.host) || has(self.port) || has(self.tls)"
            " || has(self.proxy) || has(self.tunnel) || has(self.compression))",
            _SERVER_TWICE,
        ),
        *NETWORK_RULES,
    )

    endpoint_ref: EndpointRef | None = None
    """The MailEndpoint with how to reach the server, which many mailboxes may share; instead of
    host, port, tls, proxy, tunnel and compression here. No run starts while it is not Ready."""
    host: Host | None = None
    """The server's host name or IP address."""
    port: _Port | None = None
    """The TCP port: by default 993 with tls.mode Implicit, first 993 and then 143 with Auto and
    Opportunistic, else 143."""
    tls: TLSPolicy | None = None
    """How the connection is protected: TLS from the start and full verification where neither this
    nor a MailEndpoint says otherwise."""
    proxy: Proxy | None = None
    """A proxy that connections to the server go through."""
    tunnel: Tunnel | None = None
    """A tunnel that does the TLS in place of the engine, by the same policy."""
    compression: Compression | None = None
    """Deflate compresses what is said after the login (COMPRESS=DEFLATE, RFC 4978), where the
    server can do that; it pays on slow links."""
    username: _User
    """The user who logs in, usually the mail address; the mailbox is this user's too, unless
    authentication names another."""
    authentication: Authentication
    """How to log in."""

    @model_validator(mode="after")
    def _one_server(self) -> Self:
        # The same rules as the CEL ones above: manifests are also read without an API server.
        if self.endpoint_ref is None and self.host is None:
            raise ValueError(_SERVER_MISSING)
        if self.endpoint_ref is not None and any(
            getattr(self, name) is not None for name in Server.model_fields
        ):
            raise ValueError(_SERVER_TWICE)
        check_network(self.tls, self.proxy, self.tunnel)
        return self

    @property
    def mailbox(self) -> str:
        """The user whose mailbox is opened."""
        return self.authentication.other_mailbox or self.username

    def on(self, server: Server | None) -> MailAccount:
        """Return the whole account.

        Parameters
        ----------
        server
            What ``endpoint_ref`` stands for; not looked at without one.

        Raises
        ------
        ValueError
            There is an ``endpoint_ref`` and no server for it.
        """
        who = {"username": self.username, "authentication": self.authentication}
        if self.endpoint_ref is None:
            given = {name: getattr(self, name) for name in Server.model_fields}
            return MailAccount(**{k: v for k, v in given.items() if v is not None}, **who)
        if server is None:
            raise ValueError(f'there is no MailEndpoint "{self.endpoint_ref.name}"')
        fields = {name: getattr(server, name) for name in Server.model_fields}
        return MailAccount(**fields, **who)

"""One side of a migration: an IMAP account, how to reach it and how safely."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field

from mailsync_api.base import ApiModel, PrintableText
from mailsync_api.scalars import DataKey, Host, ObjectName
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
    "IMAPS_PORT",
    "IMAP_PORT",
    "Authentication",
    "CaRef",
    "CaRefKind",
    "ClientCertificateRef",
    "MailAccount",
    "Mechanism",
    "SecretRef",
    "Side",
    "TLSMode",
    "TLSPolicy",
    "TLSVerify",
    "TLSVersion",
]

IMAP_PORT: Final = 143
"""IMAP in clear text or with STARTTLS (RFC 9051 section 2.1)."""
IMAPS_PORT: Final = 993
"""IMAP with implicit TLS (RFC 8314 section 3.2)."""


class Side(StrEnum):
    """Which end of the migration."""

    SOURCE = "source"
    DESTINATION = "destination"


class SecretRef(ApiModel):
    """A Secret in the namespace of the MailSync."""

    name: ObjectName
    """The Secret's name."""
    password_key: DataKey = "password"  # noqa: S105  a key's name, not a password
    """The key under which the password is kept, exactly as the server expects it: every byte
    counts, a final line break too."""


class Mechanism(StrEnum):
    """How to authenticate."""

    AUTO = "Auto"


class Authentication(ApiModel):
    """How to log in. Only the Job's pod can read the Secret, the operator cannot."""

    mechanism: Mechanism = Mechanism.AUTO
    """Auto uses AUTHENTICATE PLAIN where the server offers it and the LOGIN command otherwise; a
    refusal is final, no other mechanism is tried after it."""
    secret_ref: SecretRef
    """The Secret with the password."""


class MailAccount(ApiModel):
    """An IMAP account."""

    host: Host
    """The server's host name or IP address."""
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """The TCP port: by default 993 with tls.mode Implicit, first 993 and then 143 with Auto and
    Opportunistic, else 143."""
    tls: TLSPolicy = TLSPolicy()
    """How the connection is protected: TLS from the start and full verification by default."""
    username: Annotated[PrintableText, Field(min_length=1, max_length=512)]
    """The user name, usually the mail address."""
    authentication: Authentication
    """How to log in."""

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

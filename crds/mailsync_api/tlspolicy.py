"""How one side's connection is protected: everything that a user may ask of TLS.

Each rule is there twice, as CEL and in Python: manifests are also read without an API server.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, model_validator

from mailsync_api.base import ApiModel
from mailsync_api.scalars import DataKey, Host, ObjectName
from mailsync_api.schema import cel, cel_value, list_set

__all__ = [
    "LEGACY_VERSIONS",
    "CaRef",
    "CaRefKind",
    "ClientCertificateRef",
    "TLSMode",
    "TLSPolicy",
    "TLSVerify",
    "TLSVersion",
]


class TLSMode(StrEnum):
    """When TLS starts."""

    IMPLICIT = "Implicit"
    START_TLS = "StartTLS"
    AUTO = "Auto"
    OPPORTUNISTIC = "Opportunistic"
    NONE = "None"


class TLSVerify(StrEnum):
    """What is verified of the server's certificate."""

    FULL = "Full"
    CHAIN_ONLY = "ChainOnly"
    NONE = "None"


class TLSVersion(StrEnum):
    """A protocol version; as texts they sort by age."""

    TLS_1_0 = "TLSv1.0"
    TLS_1_1 = "TLSv1.1"
    TLS_1_2 = "TLSv1.2"
    TLS_1_3 = "TLSv1.3"


LEGACY_VERSIONS: Final = frozenset({TLSVersion.TLS_1_0, TLSVersion.TLS_1_1})
"""Deprecated by RFC 8996."""


class CaRefKind(StrEnum):
    """Where CA certificates are kept."""

    CONFIG_MAP = "ConfigMap"
    SECRET = "Secret"  # noqa: S105  a kind, not a secret


class CaRef(ApiModel):
    """CA certificates (PEM, one or several) to verify the server with, instead of the system's."""

    kind: CaRefKind = CaRefKind.CONFIG_MAP
    """ConfigMap or Secret."""
    name: ObjectName
    """The object's name, in the namespace of the MailSync."""
    key: DataKey = "ca.crt"
    """The key under which the PEM text is kept."""


class ClientCertificateRef(ApiModel):
    """A Secret with a certificate for this client, as type kubernetes.io/tls has it."""

    name: ObjectName
    """The Secret's name, in the namespace of the MailSync."""
    cert_key: DataKey = "tls.crt"
    """The key under which the certificate is kept (PEM, with its intermediates)."""
    key_key: DataKey = "tls.key"
    """The key under which the private key is kept (PEM, not encrypted)."""


_PIN: Final = "^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$"
_PIN_WORDS: Final = (
    "is not the base64 form of a SHA-256 hash (44 characters, the last one is =; RFC 7469), "
    "as status.tls shows it in spkiSha256"
)
_CIPHERS: Final = "^[A-Za-z0-9:+!@_.,= -]+$"
_CIPHERS_WORDS: Final = (
    "is not a list of OpenSSL cipher names; a security level is given in securityLevel"
)


def _check_pin(value: str) -> str:
    if not re.fullmatch(_PIN, value):
        raise ValueError(f"{value!r} {_PIN_WORDS}")
    return value


def _check_ciphers(value: str) -> str:
    if not re.fullmatch(_CIPHERS, value) or "@SECLEVEL" in value.upper():
        raise ValueError(f"{value!r} {_CIPHERS_WORDS}")
    return value


Pin = Annotated[
    str,
    Field(
        max_length=64,
        json_schema_extra=cel_value(
            f"self.matches('{_PIN}')", f"'\\'' + self + '\\' {_PIN_WORDS}'"
        ),
    ),
    AfterValidator(_check_pin),
]
Ciphers = Annotated[
    str,
    Field(
        min_length=1,
        max_length=1024,
        json_schema_extra=cel_value(
            f"self.matches('{_CIPHERS}') && !self.matches('(?i)@SECLEVEL')",
            f"'\\'' + self + '\\' {_CIPHERS_WORDS}'",
        ),
    ),
    AfterValidator(_check_ciphers),
]

_OPTIONS: Final = (
    ("caRef", "ca_ref"),
    ("serverName", "server_name"),
    ("maxVersion", "max_version"),
    ("ciphers", "ciphers"),
    ("pinnedSpkiSha256", "pinned_spki_sha256"),
    ("clientCertificateRef", "client_certificate_ref"),
)
_CLEAR: Final = (
    "mode None means clear text, so {} have no effect: "
    "remove them, or choose mode Implicit, StartTLS or Auto"
)
_NO_CHAIN: Final = (
    "verify None accepts any certificate, so caRef has no effect: "
    "remove it, or choose verify Full or ChainOnly"
)
_NO_PIN: Final = (
    "mode Opportunistic may go on in clear text, where no key can be pinned: "
    "remove pinnedSpkiSha256, or choose mode Auto"
)
_ORDER: Final = "maxVersion must not be older than minVersion"
_LEGACY: Final = (
    "TLS 1.0 and 1.1 rest on SHA-1, which OpenSSL refuses above security level 0: "
    "set securityLevel 0 as well, or choose minVersion TLSv1.2"
)


class TLSPolicy(ApiModel):
    """How the connection is protected.

    Nothing is sent before it holds: no credentials, no commands but those that start TLS. What was
    negotiated is shown in status.tls.
    """

    model_config = cel(
        (
            "self.mode != 'None' || ("
            + " && ".join(
                f"(!has(self.{name}) || size(self.{name}) == 0)"
                if name == "pinnedSpkiSha256"
                else f"!has(self.{name})"
                for name, _ in _OPTIONS
            )
            + ")",
            _CLEAR.format("options other than verify, minVersion and securityLevel"),
        ),
        ("self.verify != 'None' || !has(self.caRef)", _NO_CHAIN),
        (
            "self.mode != 'Opportunistic' || !has(self.pinnedSpkiSha256)"
            " || size(self.pinnedSpkiSha256) == 0",
            _NO_PIN,
        ),
        ("!has(self.maxVersion) || self.minVersion <= self.maxVersion", _ORDER),
        (
            "!(self.minVersion in ['TLSv1.0', 'TLSv1.1']) || self.securityLevel == 0",
            _LEGACY,
        ),
    )

    mode: TLSMode = TLSMode.IMPLICIT
    """When TLS starts. Implicit: before IMAP, usually port 993. StartTLS: after the STARTTLS
    command, usually port 143; a server that does not offer it, or refuses it, ends the run (exit
    code 76) with nothing sent. Auto: a given port decides, 993 as Implicit, 143 as StartTLS, any
    other is tried in both ways; without a port 993 is tried first, then 143; a server that offers
    neither ends the run (exit code 76) with nothing sent. Opportunistic: as Auto, but it goes on in
    clear text where neither is offered, also for the password, and says so in the condition
    TLSSecured. None: clear text, also for the password."""
    verify: TLSVerify = TLSVerify.FULL
    """What is verified of the server's certificate. Full: chain and host name. ChainOnly: the
    chain, any name. None: nothing, which protects from listeners but not from impostors, unless
    pinnedSpkiSha256 is given."""
    ca_ref: CaRef | None = None
    """CA certificates to trust for this server, instead of the system's."""
    server_name: Host | None = None
    """The name that the certificate must carry and that is sent as SNI, where it is not the
    host."""
    min_version: TLSVersion = TLSVersion.TLS_1_2
    """The oldest TLS version that is accepted. TLSv1.0 and TLSv1.1 need securityLevel 0 as well."""
    max_version: TLSVersion | None = None
    """The newest TLS version that is offered; the newest there is by default."""
    ciphers: Ciphers | None = None
    """The ciphers that are offered up to TLS 1.2, as an OpenSSL cipher list; those of TLS 1.3 are
    all safe and always offered. Ciphers without encryption or without a certificate are never
    offered, whatever the list says."""
    security_level: Annotated[int, Field(ge=0, le=5)] = 2
    """OpenSSL's security level. 2 refuses RSA keys under 2048 bits and SHA-1 signatures, 1 allows
    RSA from 1024 bits, 0 allows everything, for old servers."""
    pinned_spki_sha256: Annotated[
        list[Pin], Field(max_length=8, alias="pinnedSpkiSha256", json_schema_extra=list_set())
    ] = []
    """SHA-256 hashes of public keys (SubjectPublicKeyInfo), in base64 as in RFC 7469. The server's
    own certificate must have one of them, whatever verify says."""
    client_certificate_ref: ClientCertificateRef | None = None
    """A certificate to show to a server that asks for one."""

    @model_validator(mode="after")
    def _useful_together(self) -> Self:
        given = [name for name, field in _OPTIONS if getattr(self, field)]
        if self.mode is TLSMode.NONE and given:
            raise ValueError("tls." + _CLEAR.format(" and ".join(given)))
        if self.verify is TLSVerify.NONE and self.ca_ref:
            raise ValueError(f"tls.{_NO_CHAIN}")
        if self.mode is TLSMode.OPPORTUNISTIC and self.pinned_spki_sha256:
            raise ValueError(f"tls.{_NO_PIN}")
        if self.max_version is not None and self.max_version < self.min_version:
            raise ValueError(f"tls.{_ORDER} ({self.max_version} < {self.min_version})")
        if self.min_version in LEGACY_VERSIONS and self.security_level > 0:
            raise ValueError(f"tls.minVersion {self.min_version}: {_LEGACY}")
        return self

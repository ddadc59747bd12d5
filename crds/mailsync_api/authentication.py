"""How to log in to an IMAP account."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import Field, model_validator

from mailsync_api.base import ApiModel, PrintableText
from mailsync_api.scalars import DataKey, ObjectName
from mailsync_api.schema import cel

__all__ = ["AUTHORIZING_MECHANISMS", "Authentication", "Mechanism", "SecretRef"]


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
    PLAIN = "Plain"
    LOGIN = "Login"
    LOGIN_COMMAND = "LoginCommand"
    CRAM_MD5 = "CramMd5"
    SCRAM_SHA_1 = "ScramSha1"
    SCRAM_SHA_256 = "ScramSha256"
    EXTERNAL = "External"


AUTHORIZING_MECHANISMS: Final = frozenset(
    {Mechanism.PLAIN, Mechanism.SCRAM_SHA_1, Mechanism.SCRAM_SHA_256, Mechanism.EXTERNAL}
)
"""The mechanisms whose messages have a place for an authorization identity."""

_SECRET_MISSING: Final = "secretRef is required: only mechanism External needs no password"  # noqa: S105  a sentence, not a secret
_SECRET_UNUSED: Final = (
    "mechanism External takes no password, so secretRef has no effect: "  # noqa: S105  a sentence, not a secret
    "remove it, or choose another mechanism"
)
_CANNOT_AUTHORIZE: Final = (
    "only the mechanisms Plain, ScramSha1, ScramSha256 and External (and Auto, which chooses among "
    "the first three then) can carry an authorizationIdentity: change mechanism, or remove it"
)
_ONE_WAY: Final = (
    "authorizationIdentity and proxyAuthUser are two ways to open another's mailbox: keep one"
)


class Authentication(ApiModel):
    """How to log in. Only the Job's pod can read the Secret, the operator cannot."""

    model_config = cel(
        ("has(self.secretRef) || self.mechanism == 'External'", _SECRET_MISSING),
        ("!has(self.secretRef) || self.mechanism != 'External'", _SECRET_UNUSED),
        (
            "!has(self.authorizationIdentity) || self.mechanism in "
            "['Auto', 'Plain', 'ScramSha1', 'ScramSha256', 'External']",
            _CANNOT_AUTHORIZE,
        ),
        ("!has(self.authorizationIdentity) || !has(self.proxyAuthUser)", _ONE_WAY),
    )

    mechanism: Mechanism = Mechanism.AUTO
    """Auto takes the strongest one that the server announces under the final protection:
    SCRAM-SHA-256, SCRAM-SHA-1, PLAIN, CRAM-MD5, SASL LOGIN, the LOGIN command (CRAM-MD5 goes before
    PLAIN where the server's certificate is not fully verified). Login is AUTHENTICATE LOGIN,
    LoginCommand the command LOGIN, External the identity of the TLS client certificate. A mechanism
    that the server does not offer ends the run with exit code 78; a refused login is final, no
    other mechanism is tried after it."""
    authorization_identity: Annotated[PrintableText, Field(min_length=1, max_length=512)] | None = (
        None
    )
    """The user whose mailbox is opened, where it is not the one who logs in: username and the
    Secret's password are the administrator's then (SASL: username is the authentication identity,
    this is the authorization identity). External may go without a name of its own."""
    proxy_auth_user: Annotated[PrintableText, Field(min_length=1, max_length=512)] | None = None
    """The user whose mailbox is opened with the command PROXYAUTH, after username has logged in as
    administrator (Sun, iPlanet and Oracle messaging servers)."""
    secret_ref: SecretRef | None = None
    """The Secret with the password of username; required but for mechanism External."""

    @model_validator(mode="after")
    def _possible_together(self) -> Self:
        # The same rules as the CEL ones above: manifests are also read without an API server.
        external = self.mechanism is Mechanism.EXTERNAL
        if not external and self.secret_ref is None:
            raise ValueError(_SECRET_MISSING)
        if external and self.secret_ref is not None:
            raise ValueError(_SECRET_UNUSED)
        able = self.mechanism is Mechanism.AUTO or self.mechanism in AUTHORIZING_MECHANISMS
        if self.authorization_identity is not None and not able:
            raise ValueError(_CANNOT_AUTHORIZE)
        if self.authorization_identity is not None and self.proxy_auth_user is not None:
            raise ValueError(_ONE_WAY)
        return self

    @property
    def other_mailbox(self) -> str | None:
        """The user whose mailbox is opened, where it is not the one who logs in."""
        return self.authorization_identity or self.proxy_auth_user

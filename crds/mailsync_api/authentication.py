"""How to log in to an IMAP account."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import Field, model_validator

from mailsync_api.base import ApiModel, PrintableText
from mailsync_api.oauth2 import Grant, OAuth2
from mailsync_api.scalars import DataKey, ObjectName
from mailsync_api.schema import cel

__all__ = [
    "AUTHORIZING_MECHANISMS",
    "TOKEN_MECHANISMS",
    "Authentication",
    "LoginSecretRef",
    "Mechanism",
    "SecretPart",
    "SecretRef",
]


class SecretRef(ApiModel):
    """A Secret in the namespace of the MailSync."""

    name: ObjectName
    """The Secret's name."""
    password_key: DataKey = "password"  # noqa: S105  a key's name, not a password
    """The key under which the password is kept, exactly as the server expects it: every byte
    counts, a final line break too."""


class SecretPart(StrEnum):
    """What a login's Secret is read for; the values are the names of the files in the pod."""

    PASSWORD = "password"  # noqa: S105  a file's name, not a password
    TOKEN = "token"  # noqa: S105  as above
    CLIENT_SECRET = "client-secret"  # noqa: S105  as above
    CERTIFICATE = "client.crt"
    PRIVATE_KEY = "client.key"
    SERVICE_ACCOUNT = "service-account.json"


_TWO_KEYS: Final = "certKey and keyKey are a pair: give both, or neither"
_TWO_WAYS: Final = (
    "clientSecretKey, and certKey with keyKey, are two ways for an application to prove itself: "
    "keep one"
)


class LoginSecretRef(SecretRef):
    """A Secret in the namespace of the MailSync, with what one account's login needs.

    With oauth2, passwordKey is not used; which of the other keys are depends on the grant. A line
    break at the end of what they hold is no part of it.
    """

    model_config = cel(
        ("has(self.certKey) == has(self.keyKey)", _TWO_KEYS),
        ("!has(self.certKey) || !has(self.clientSecretKey)", _TWO_WAYS),
    )

    token_key: DataKey | None = None
    """The key with the access token (grant StaticToken) or the refresh token (RefreshToken): token
    if not given."""
    client_secret_key: DataKey | None = None
    """The key with the application's secret: clientSecret if not given (grant ClientCredentials);
    with RefreshToken none is read unless this names it."""
    cert_key: DataKey | None = None
    """Grant ClientCredentials: the key with the application's certificate (PEM), which the
    authorization server knows, instead of a client secret; tls.crt in a Secret of type
    kubernetes.io/tls."""
    key_key: DataKey | None = None
    """The key with the private key of that certificate (PEM, not encrypted); tls.key in a Secret of
    type kubernetes.io/tls."""
    service_account_key: DataKey | None = None
    """Grant JWTBearer: the key with the service account's JSON file, as Google gives it out:
    key.json if not given. Its client_email, private_key, private_key_id and token_uri are used."""

    @model_validator(mode="after")
    def _one_proof(self) -> Self:
        # The same rules as the CEL ones above: manifests are also read without an API server.
        if (self.cert_key is None) != (self.key_key is None):
            raise ValueError(_TWO_KEYS)
        if self.cert_key is not None and self.client_secret_key is not None:
            raise ValueError(_TWO_WAYS)
        return self


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
    XOAUTH2 = "XOAuth2"
    OAUTHBEARER = "OAuthBearer"


AUTHORIZING_MECHANISMS: Final = frozenset(
    {Mechanism.PLAIN, Mechanism.SCRAM_SHA_1, Mechanism.SCRAM_SHA_256, Mechanism.EXTERNAL}
)
"""The mechanisms whose messages have a place for an authorization identity."""

TOKEN_MECHANISMS: Final = frozenset({Mechanism.XOAUTH2, Mechanism.OAUTHBEARER})
"""The mechanisms that carry a token instead of a password."""

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
_CANNOT_CARRY: Final = (
    "oauth2 gets a token, which only the mechanisms XOAuth2 and OAuthBearer (and Auto, which "
    "chooses between them then) can carry: change mechanism, or remove oauth2"
)
_NOTHING_TO_CARRY: Final = (
    "the mechanisms XOAuth2 and OAuthBearer carry a token: say in oauth2 how to get one, or choose "
    "another mechanism"
)
_IDENTITY_TWICE: Final = (
    "with oauth2 username is the user whose mailbox is opened, so authorizationIdentity has no "
    "effect: remove it"
)
_KEYS_OF_NO_GRANT: Final = (
    "secretRef names a key for a token, a client secret, a certificate or a service account, which "
    "only oauth2 uses: add oauth2, or keep passwordKey alone"
)
_KEY_UNUSED: Final = (
    "with oauth2 there is no password, so secretRef.passwordKey has no effect: remove it"
)
_KEYS_OF_ANOTHER_GRANT: Final = (
    "secretRef names a key that oauth2.grant does not use: tokenKey goes with StaticToken and "
    "RefreshToken, clientSecretKey with RefreshToken and ClientCredentials, certKey and keyKey "
    "with ClientCredentials, serviceAccountKey with JWTBearer"
)
_NOTHING_TO_PLACE: Final = (
    "oauth2.clientAuthentication says where a client secret is put, and there is none: remove it, "
    "or name clientSecretKey in secretRef"
)
_KEYS_OF: Final = {
    Grant.STATIC_TOKEN: frozenset({"token_key"}),
    Grant.REFRESH_TOKEN: frozenset({"token_key", "client_secret_key"}),
    Grant.CLIENT_CREDENTIALS: frozenset({"client_secret_key", "cert_key", "key_key"}),
    Grant.JWT_BEARER: frozenset({"service_account_key"}),
}
_PASSWORD_KEY: Final = "password"  # noqa: S105  a key's name, not a password


def _keys_fit() -> str:
    """Return the CEL form of ``_KEYS_OF``."""
    names = {each: LoginSecretRef.model_fields[each].alias for each in _grant_keys()}
    rules = []
    for name, alias in names.items():
        grants = ", ".join(f"'{grant}'" for grant, keys in _KEYS_OF.items() if name in keys)
        rules.append(f"(!has(self.secretRef.{alias}) || self.oauth2.grant in [{grants}])")
    return "!has(self.oauth2) || !has(self.secretRef) || (" + " && ".join(rules) + ")"


def _grant_keys() -> list[str]:
    """Return the fields of a Secret's reference that belong to grants."""
    return [name for name in LoginSecretRef.model_fields if name not in SecretRef.model_fields]


def _no_grant_key() -> str:
    aliases = (LoginSecretRef.model_fields[name].alias for name in _grant_keys())
    named = " || ".join(f"has(self.secretRef.{alias})" for alias in aliases)
    return f"has(self.oauth2) || !has(self.secretRef) || !({named})"


def _keys_read(ref: LoginSecretRef, grant: Grant) -> dict[SecretPart, str]:
    token = {SecretPart.TOKEN: ref.token_key or "token"}
    match grant:
        case Grant.STATIC_TOKEN:
            return token
        case Grant.REFRESH_TOKEN:
            secret = ref.client_secret_key
            return token if secret is None else token | {SecretPart.CLIENT_SECRET: secret}
        case Grant.CLIENT_CREDENTIALS:
            certificate, key = ref.cert_key, ref.key_key
            if certificate is not None and key is not None:
                return {SecretPart.CERTIFICATE: certificate, SecretPart.PRIVATE_KEY: key}
            return {SecretPart.CLIENT_SECRET: ref.client_secret_key or "clientSecret"}
        case Grant.JWT_BEARER:
            return {SecretPart.SERVICE_ACCOUNT: ref.service_account_key or "key.json"}


class Authentication(ApiModel):
    """How to log in. Only the Job's pod can read the Secret, the operator cannot."""

    model_config = cel(
        (
            "!has(self.oauth2) || self.mechanism in ['Auto', 'XOAuth2', 'OAuthBearer']",
            _CANNOT_CARRY,
        ),
        ("has(self.oauth2) || !(self.mechanism in ['XOAuth2', 'OAuthBearer'])", _NOTHING_TO_CARRY),
        ("has(self.secretRef) || self.mechanism == 'External'", _SECRET_MISSING),
        ("!has(self.secretRef) || self.mechanism != 'External'", _SECRET_UNUSED),
        (
            "!has(self.authorizationIdentity) || self.mechanism in "
            "['Auto', 'Plain', 'ScramSha1', 'ScramSha256', 'External']",
            _CANNOT_AUTHORIZE,
        ),
        ("!has(self.authorizationIdentity) || !has(self.proxyAuthUser)", _ONE_WAY),
        ("!has(self.authorizationIdentity) || !has(self.oauth2)", _IDENTITY_TWICE),
        (_no_grant_key(), _KEYS_OF_NO_GRANT),
        (
            "!has(self.oauth2) || !has(self.secretRef)"
            f" || self.secretRef.passwordKey == '{_PASSWORD_KEY}'",
            _KEY_UNUSED,
        ),
        (_keys_fit(), _KEYS_OF_ANOTHER_GRANT),
        (
            "!has(self.oauth2) || !has(self.oauth2.clientAuthentication) || !has(self.secretRef)"
            " || has(self.secretRef.clientSecretKey)"
            " || (self.oauth2.grant == 'ClientCredentials' && !has(self.secretRef.certKey))",
            _NOTHING_TO_PLACE,
        ),
    )

    mechanism: Mechanism = Mechanism.AUTO
    """Auto takes the strongest one that the server announces under the final protection:
    SCRAM-SHA-256, SCRAM-SHA-1, PLAIN, CRAM-MD5, SASL LOGIN, the LOGIN command (CRAM-MD5 goes before
    PLAIN where the server's certificate is not fully verified). Login is AUTHENTICATE LOGIN,
    LoginCommand the command LOGIN, External the identity of the TLS client certificate. XOAuth2 and
    OAuthBearer carry a token; with oauth2 Auto chooses between these two only. A mechanism
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
    secret_ref: LoginSecretRef | None = None
    """The Secret with the password of username, or with what oauth2 needs; required but for
    mechanism External."""
    oauth2: OAuth2 | None = None
    """Log in with an OAuth2 access token instead of a password: how to get it. username is the
    mailbox's user."""

    @model_validator(mode="after")
    def _possible_together(self) -> Self:
        # The same rules as the CEL ones above: manifests are also read without an API server.
        self._check_token()
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

    def _check_token(self) -> None:
        carries = self.mechanism in TOKEN_MECHANISMS
        if self.oauth2 is not None and not (carries or self.mechanism is Mechanism.AUTO):
            raise ValueError(_CANNOT_CARRY)
        if self.oauth2 is None and carries:
            raise ValueError(_NOTHING_TO_CARRY)
        if self.authorization_identity is not None and self.oauth2 is not None:
            raise ValueError(_IDENTITY_TWICE)
        if self.secret_ref is not None:
            self._check_keys(self.secret_ref)

    def _check_keys(self, ref: LoginSecretRef) -> None:
        given = {name for name in _grant_keys() if getattr(ref, name) is not None}
        if self.oauth2 is None:
            if given:
                raise ValueError(_KEYS_OF_NO_GRANT)
            return
        if ref.password_key != _PASSWORD_KEY:
            raise ValueError(_KEY_UNUSED)
        if not given <= _KEYS_OF[self.oauth2.grant]:
            raise ValueError(_KEYS_OF_ANOTHER_GRANT)
        placed = self.oauth2.client_authentication is not None
        if placed and SecretPart.CLIENT_SECRET not in self.secret_keys:
            raise ValueError(_NOTHING_TO_PLACE)

    @property
    def secret_keys(self) -> dict[SecretPart, str]:
        """The keys that are read from the Secret of ``secret_ref``, by what they are read for."""
        ref = self.secret_ref
        if ref is None:
            return {}
        if self.oauth2 is None:
            return {SecretPart.PASSWORD: ref.password_key}
        return _keys_read(ref, self.oauth2.grant)

    @property
    def other_mailbox(self) -> str | None:
        """The user whose mailbox is opened, where it is not the one who logs in."""
        return self.authorization_identity or self.proxy_auth_user

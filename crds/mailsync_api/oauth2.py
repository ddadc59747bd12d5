"""Tokens instead of passwords: which OAuth2 grant gets them, and from where.

Each rule is there twice, as CEL and in Python: manifests are also read without an API server.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, model_validator

from mailsync_api.base import ApiModel, PrintableText
from mailsync_api.schema import cel, cel_value, list_set
from mailsync_api.tlspolicy import CaRef

__all__ = ["ClientAuthentication", "Grant", "OAuth2"]


class Grant(StrEnum):
    """How the engine comes by an access token."""

    STATIC_TOKEN = "StaticToken"  # noqa: S105  a grant's name, not a token
    REFRESH_TOKEN = "RefreshToken"  # noqa: S105  as above
    CLIENT_CREDENTIALS = "ClientCredentials"
    JWT_BEARER = "JWTBearer"


class ClientAuthentication(StrEnum):
    """Where a client secret is put."""

    BODY = "Body"
    HEADER = "Header"


_URL: Final = "^https://[A-Za-z0-9._:\\\\[\\\\]-]+(/[\\\\x21-\\\\x22\\\\x24-\\\\x7E]*)?$"
_URL_WORDS: Final = (
    "is not the https URL of a token endpoint (https://host/path, no user, no fragment): "
    "secrets and tokens are never sent in clear text"
)
_SCOPE: Final = "^[\\\\x21\\\\x23-\\\\x5B\\\\x5D-\\\\x7E]+$"
_SCOPE_WORDS: Final = "is not one scope (RFC 6749 section 3.3): give each as an item of its own"


def _check_url(value: str) -> str:
    if not re.fullmatch(_URL.replace("\\\\", "\\"), value):
        raise ValueError(f"{value!r} {_URL_WORDS}")
    return value


def _check_scope(value: str) -> str:
    if not re.fullmatch(_SCOPE.replace("\\\\", "\\"), value):
        raise ValueError(f"{value!r} {_SCOPE_WORDS}")
    return value


_TokenURL = Annotated[
    str,
    Field(
        min_length=1,
        max_length=1024,
        json_schema_extra=cel_value(
            f"self.matches('{_URL}')", f"'\\'' + self + '\\' {_URL_WORDS}'"
        ),
    ),
    AfterValidator(_check_url),
]
_Scope = Annotated[
    str,
    Field(
        min_length=1,
        max_length=512,
        json_schema_extra=cel_value(
            f"self.matches('{_SCOPE}')", f"'\\'' + self + '\\' {_SCOPE_WORDS}'"
        ),
    ),
    AfterValidator(_check_scope),
]
_Name = Annotated[PrintableText, Field(min_length=1, max_length=512)]

_URL_MISSING: Final = (
    "tokenURL is required: only a StaticToken needs none, and JWTBearer takes the token_uri of the "
    "service account's file"
)
_ASKS_NOBODY: Final = (
    "grant StaticToken asks nobody for tokens, so tokenURL, clientID, scopes, caRef and "
    "clientAuthentication have no effect: remove them, or choose another grant"
)
_CLIENT_MISSING: Final = (
    "clientID is required for the grants RefreshToken and ClientCredentials: it is the application "
    "that the token belongs to"
)
_SUBJECT_UNUSED: Final = (
    "subject is for grant JWTBearer only: elsewhere the token itself says whose it is"
)


class OAuth2(ApiModel):
    """How to get access tokens. The secrets are in secretRef, under keys that go with the grant."""

    model_config = cel(
        ("has(self.tokenURL) || self.grant in ['StaticToken', 'JWTBearer']", _URL_MISSING),
        (
            "self.grant != 'StaticToken' || !(has(self.tokenURL) || has(self.clientID)"
            " || has(self.scopes) || has(self.caRef) || has(self.clientAuthentication))",
            _ASKS_NOBODY,
        ),
        (
            "has(self.clientID) || !(self.grant in ['RefreshToken', 'ClientCredentials'])",
            _CLIENT_MISSING,
        ),
        ("!has(self.subject) || self.grant == 'JWTBearer'", _SUBJECT_UNUSED),
    )

    grant: Grant
    """RefreshToken exchanges a long-lived refresh token (delegated access). ClientCredentials lets
    an application log in as itself (Microsoft 365 app-only). JWTBearer signs with the key of a
    service account (Google, with domain-wide delegation). StaticToken takes an access token as it
    is, and reads it anew at each login."""
    token_url: _TokenURL | None = Field(default=None, alias="tokenURL")
    """The authorization server's token endpoint; https only, redirects are not followed. Required
    but for StaticToken, and for JWTBearer where the service account's file has a token_uri."""
    client_id: _Name | None = Field(default=None, alias="clientID")
    """The application's identifier at the authorization server; required for RefreshToken and
    ClientCredentials."""
    scopes: (
        Annotated[list[_Scope], Field(min_length=1, max_length=20, json_schema_extra=list_set())]
        | None
    ) = None
    """What the token is for: https://outlook.office365.com/.default for ClientCredentials at
    Microsoft, https://mail.google.com/ at Google. For RefreshToken the server's own choice if not
    given."""
    subject: _Name | None = None
    """JWTBearer: on whose behalf the token is asked for; by default username."""
    ca_ref: CaRef | None = None
    """CA certificates to verify the token endpoint with, instead of the system's. It is always
    verified."""
    client_authentication: ClientAuthentication | None = None
    """Where a client secret is put: Body (the default) or Header (HTTP Basic)."""

    @model_validator(mode="after")
    def _possible_together(self) -> Self:
        # The same rules as the CEL ones above.
        if self.token_url is None and self.grant not in {Grant.STATIC_TOKEN, Grant.JWT_BEARER}:
            raise ValueError(_URL_MISSING)
        asked = (
            self.token_url,
            self.client_id,
            self.scopes,
            self.ca_ref,
            self.client_authentication,
        )
        if self.grant is Grant.STATIC_TOKEN and any(each is not None for each in asked):
            raise ValueError(_ASKS_NOBODY)
        if self.client_id is None and self.grant in {
            Grant.REFRESH_TOKEN,
            Grant.CLIENT_CREDENTIALS,
        }:
            raise ValueError(_CLIENT_MISSING)
        if self.subject is not None and self.grant is not Grant.JWT_BEARER:
            raise ValueError(_SUBJECT_UNUSED)
        return self

"""Token requests: from a grant and its secrets to the form that is posted. No I/O, no clock."""

from __future__ import annotations

import json
import uuid
from base64 import b64encode
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, quote_plus, urlsplit

import jwt
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from oauthlib.oauth2.rfc6749.parameters import prepare_token_request
from pydantic import ValidationError

from mailsync_api.endpoint import SecretPart
from mailsync_api.oauth2 import ClientAuthentication, Grant, OAuth2
from mailsync_syncjob.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

    from mailsync_api.endpoint import Side

__all__ = ["ServiceAccount", "TokenRequest", "make_request"]

JWT_BEARER: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
"""RFC 7523 section 2.1."""
CLIENT_ASSERTION: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
"""RFC 7523 section 2.2."""
# Google's longest; a shorter one would shorten the tokens of servers that let them end with it.
_ASSERTION_SECONDS: Final = 3600
_CLIENT_ASSERTION_SECONDS: Final = 300


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """One POST."""

    url: str
    body: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)
    """What must not be repeated from the answer's words."""

    @property
    def shown(self) -> str:
        """The endpoint for people: a query may hold anything."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}{parts.path}"


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """What is used of a service account's JSON file."""

    client_email: str
    private_key: str = field(repr=False)
    private_key_id: str | None = None
    token_uri: str | None = None

    @classmethod
    def parse(cls, text: str, *, where: str, side: Side) -> ServiceAccount:
        """Read the file.

        Raises
        ------
        ConfigurationError
            It is not such a file; no value of it gets into the message.
        """
        try:
            data: Any = json.loads(text)
        except ValueError:
            data = None
        if not isinstance(data, dict):
            raise ConfigurationError(
                f"{where}: the service account's file is no JSON object: store the key file as it "
                "was downloaded",
                side=side,
            )
        fields = {
            name: data[name] for name in cls.__dataclass_fields__ if isinstance(data.get(name), str)
        }
        lacking = [name for name in ("client_email", "private_key") if not fields.get(name)]
        if lacking:
            raise ConfigurationError(
                f"{where}: the service account's file lacks {' and '.join(lacking)}: store the key "
                "file (JSON) as it was downloaded",
                side=side,
            )
        return cls(**fields)


def make_request(
    oauth2: OAuth2,
    secrets: Mapping[SecretPart, str],
    *,
    username: str,
    now: float,
    side: Side,
) -> TokenRequest:
    """Return the request for an access token.

    Parameters
    ----------
    username
        On whose behalf JWTBearer asks, where the manifest names no other subject.

    Raises
    ------
    ConfigurationError
        A secret is not what the grant needs.
    """
    maker = _Maker(oauth2, secrets, now=int(now), side=side)
    match oauth2.grant:
        case Grant.REFRESH_TOKEN:
            return maker.refresh()
        case Grant.CLIENT_CREDENTIALS:
            return maker.client_credentials()
        case Grant.JWT_BEARER:
            return maker.jwt_bearer(oauth2.subject or username)
        case Grant.STATIC_TOKEN:
            raise ValueError("a static token is not asked for")


class _Maker:
    def __init__(
        self, oauth2: OAuth2, secrets: Mapping[SecretPart, str], *, now: int, side: Side
    ) -> None:
        self._oauth2 = oauth2
        self._secrets = secrets
        self._now = now
        self._side = side
        self._where = f"{side}.authentication.secretRef"

    def refresh(self) -> TokenRequest:
        """RFC 6749 section 6."""
        token = self._secrets[SecretPart.TOKEN]
        return self._form("refresh_token", refresh_token=token, hidden=(token,))

    def client_credentials(self) -> TokenRequest:
        """RFC 6749 section 4.4; with a certificate, RFC 7523 section 2.2."""
        if SecretPart.CERTIFICATE not in self._secrets:
            return self._form("client_credentials")
        assertion = self._client_assertion()
        return self._form(
            "client_credentials",
            client_assertion_type=CLIENT_ASSERTION,
            client_assertion=assertion,
            hidden=(assertion,),
        )

    def jwt_bearer(self, subject: str) -> TokenRequest:
        """RFC 7523 section 2.1, with the claim ``scope`` as Google wants it."""
        account = ServiceAccount.parse(
            self._secrets[SecretPart.SERVICE_ACCOUNT], where=self._where, side=self._side
        )
        url = self._oauth2.token_url or self._own_url(account)
        claims = self._claims(account.client_email, subject, url, seconds=_ASSERTION_SECONDS)
        if self._oauth2.scopes:
            claims["scope"] = " ".join(self._oauth2.scopes)
        assertion = self._sign(
            claims, account.private_key, "RS256", {"kid": account.private_key_id}
        )
        # Google refuses parameters that it does not expect; servers that know the caller as a
        # client expect the scope there (RFC 7521 section 4.1).
        return self._form(
            JWT_BEARER,
            url=url,
            scoped=self._oauth2.client_id is not None,
            assertion=assertion,
            hidden=(assertion,),
        )

    def _own_url(self, account: ServiceAccount) -> str:
        if account.token_uri is None:
            raise ConfigurationError(
                f"{self._where}: the service account's file has no token_uri: add it, or give "
                "oauth2.tokenURL",
                side=self._side,
            )
        try:
            # The manifest's own rules: https, and nothing odd.
            checked = OAuth2.model_validate({"grant": "JWTBearer", "tokenURL": account.token_uri})
        except ValidationError:
            raise ConfigurationError(
                f"{self._where}: token_uri in the service account's file is not the https URL of a "
                "token endpoint: give the right one in oauth2.tokenURL",
                side=self._side,
            ) from None
        return checked.token_url or ""

    def _form(
        self,
        grant: str,
        *,
        url: str | None = None,
        scoped: bool = True,
        hidden: tuple[str, ...] = (),
        **fields: str,
    ) -> TokenRequest:
        client_id = self._oauth2.client_id
        secret = self._secrets.get(SecretPart.CLIENT_SECRET)
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Accept": "application/json",
            # A small answer needs no compression, which could hide a huge one.
            "Accept-Encoding": "identity",
        }
        if secret is not None and self._in_header:
            # RFC 6749 section 2.3.1: form-encoded first.
            pair = f"{quote_plus(client_id or '')}:{quote_plus(secret)}".encode()
            basic = b64encode(pair).decode("ascii")
            headers["Authorization"] = f"Basic {basic}"
            hidden = (*hidden, secret, basic)
            client_id = None
        elif secret is not None:
            fields["client_secret"] = secret
            hidden = (*hidden, secret)
        if scoped and self._oauth2.scopes:
            fields["scope"] = " ".join(self._oauth2.scopes)
        body = prepare_token_request(grant, client_id=client_id, **fields)
        words = tuple(
            dict.fromkeys(w for s in hidden for w in (s, quote(s, safe=""), quote_plus(s)))
        )
        return TokenRequest(url or self._oauth2.token_url or "", str(body), headers, words)

    @property
    def _in_header(self) -> bool:
        return self._oauth2.client_authentication is ClientAuthentication.HEADER

    def _client_assertion(self) -> str:
        client = self._oauth2.client_id or ""
        url = self._oauth2.token_url or ""
        claims = self._claims(client, client, url, seconds=_CLIENT_ASSERTION_SECONDS)
        try:
            certificate = x509.load_pem_x509_certificate(
                self._secrets[SecretPart.CERTIFICATE].encode()
            )
        except ValueError:
            raise ConfigurationError(
                f"{self._where}.certKey: no PEM certificate could be read from it: it must begin "
                "with a CERTIFICATE block, the application's own",
                side=self._side,
            ) from None
        thumbprint = jwt.utils.base64url_encode(certificate.fingerprint(SHA256())).decode("ascii")
        pem = self._secrets[SecretPart.PRIVATE_KEY]
        key = self._load(pem)
        algorithm = "ES256" if isinstance(key, ec.EllipticCurvePrivateKey) else "PS256"
        # How Microsoft finds the certificate (RFC 7515 section 4.1.8).
        return self._sign(claims, pem, algorithm, {"x5t#S256": thumbprint})

    def _claims(self, issuer: str, subject: str, audience: str, *, seconds: int) -> dict[str, Any]:
        return {
            "iss": issuer,
            "sub": subject,
            "aud": audience,
            "iat": self._now,
            "exp": self._now + seconds,
            "jti": str(uuid.uuid4()),
        }

    def _sign(
        self, claims: dict[str, Any], key: str, algorithm: str, headers: dict[str, str | None]
    ) -> str:
        self._load(key)
        given = {name: value for name, value in headers.items() if value is not None}
        try:
            return jwt.encode(claims, key, algorithm=algorithm, headers=given)
        except (jwt.exceptions.PyJWTError, ValueError, TypeError):
            raise self._bad_key() from None

    def _load(self, key: str) -> PrivateKeyTypes:
        try:
            return load_pem_private_key(key.encode(), None)
        except (ValueError, TypeError):
            raise self._bad_key() from None

    def _bad_key(self) -> ConfigurationError:
        return ConfigurationError(
            f"{self._where}: the private key cannot be used: it must be PEM, not encrypted, and "
            "RSA (for a certificate also EC P-256)",
            side=self._side,
        )

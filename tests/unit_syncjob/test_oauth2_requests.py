"""The forms that are posted: RFC 6749 and RFC 7523, and what is not even asked for."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import parse_qs

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from mailsync_api.endpoint import SecretPart, Side
from mailsync_api.oauth2 import OAuth2
from mailsync_syncjob.errors import ConfigurationError
from mailsync_syncjob.oauth2.request import CLIENT_ASSERTION, JWT_BEARER, TokenRequest, make_request
from tests.support.odd_certificates import Wish, issue, key_pem

_URL = "https://login.example.org/token"
_NOW = 1_800_000_000.9
_RSA = issue(Wish((), "app", key="rsa2048"))
_EC = issue(Wish((), "app"))


def _request(
    grant: str, secrets: dict[SecretPart, str], *, url: str | None = _URL, **fields: Any
) -> TokenRequest:
    wire = {"grant": grant, "tokenURL": url, **fields}
    oauth2 = OAuth2.model_validate({k: v for k, v in wire.items() if v is not None})
    return make_request(
        oauth2, secrets, username="alice@example.org", now=_NOW, side=Side.DESTINATION
    )


def _form(request: TokenRequest) -> dict[str, str]:
    fields = parse_qs(request.body, strict_parsing=True)
    assert all(len(values) == 1 for values in fields.values())
    return {name: values[0] for name, values in fields.items()}


def test_a_refresh_token() -> None:
    secrets = {SecretPart.TOKEN: "refresh/1+2", SecretPart.CLIENT_SECRET: "a secret"}
    request = _request("RefreshToken", secrets, clientID="app", scopes=["a", "b"])
    assert _form(request) == {
        "grant_type": "refresh_token",
        "refresh_token": "refresh/1+2",
        "client_id": "app",
        "client_secret": "a secret",
        "scope": "a b",
    }
    assert {"refresh/1+2", "refresh%2F1%2B2", "a secret", "a+secret"} <= set(request.secrets)
    assert request.headers["Accept-Encoding"] == "identity"
    public = _request("RefreshToken", {SecretPart.TOKEN: "r"}, clientID="app")
    assert _form(public) == {
        "grant_type": "refresh_token",
        "refresh_token": "r",
        "client_id": "app",
    }


def test_a_secret_in_the_header() -> None:
    secrets = {SecretPart.CLIENT_SECRET: "a: secret"}
    request = _request(
        "ClientCredentials", secrets, clientID="my app", clientAuthentication="Header"
    )
    assert _form(request) == {"grant_type": "client_credentials"}
    # RFC 6749 section 2.3.1.
    pair = base64.b64decode(request.headers["Authorization"].removeprefix("Basic "))
    assert pair == b"my+app:a%3A+secret"
    assert request.headers["Authorization"].removeprefix("Basic ") in request.secrets


@pytest.mark.parametrize(("issuer", "algorithm"), [(_RSA, "PS256"), (_EC, "ES256")])
def test_a_certificate(issuer: Any, algorithm: str) -> None:
    secrets = {
        SecretPart.CERTIFICATE: issuer.pem,
        SecretPart.PRIVATE_KEY: key_pem(issuer.key).decode(),
    }
    request = _request("ClientCredentials", secrets, clientID="app")
    form = _form(request)
    assert form["client_assertion_type"] == CLIENT_ASSERTION
    assertion = form["client_assertion"]
    header = jwt.get_unverified_header(assertion)
    certificate = x509.load_pem_x509_certificate(issuer.pem.encode())
    thumbprint = base64.urlsafe_b64encode(certificate.fingerprint(SHA256())).rstrip(b"=")
    assert (header["alg"], header["x5t#S256"]) == (algorithm, thumbprint.decode())
    claims = jwt.decode(
        assertion,
        certificate.public_key(),  # type: ignore[arg-type]  # RSA or EC, as said above
        algorithms=[algorithm],
        audience=_URL,
        options={"verify_exp": False, "verify_iat": False},
    )
    assert (claims["iss"], claims["sub"], claims["exp"]) == ("app", "app", 1_800_000_300)
    assert assertion in request.secrets


def _account(**changes: Any) -> dict[SecretPart, str]:
    file = {
        "client_email": "robot@example.org",
        "private_key": key_pem(_RSA.key).decode(),
        "private_key_id": "key1",
        "token_uri": "https://oauth2.example.org/token",
        **changes,
    }
    kept = {name: value for name, value in file.items() if value is not None}
    return {SecretPart.SERVICE_ACCOUNT: json.dumps(kept)}


@pytest.mark.parametrize("client", [None, "app"])
def test_a_service_account(client: str | None) -> None:
    request = _request(
        "JWTBearer", _account(), url=None, scopes=["https://mail.google.com/"], clientID=client
    )
    assert request.url == "https://oauth2.example.org/token"
    form = _form(request)
    assert form["grant_type"] == JWT_BEARER
    assert ("client_id" in form) == ("scope" in form) == (client is not None)
    header = jwt.get_unverified_header(form["assertion"])
    assert (header["alg"], header["kid"]) == ("RS256", "key1")
    claims = jwt.decode(
        form["assertion"],
        _RSA.key.public_key(),
        algorithms=["RS256"],
        audience=request.url,
        options={"verify_exp": False, "verify_iat": False},
    )
    assert claims.pop("jti")
    assert claims == {
        "iss": "robot@example.org",
        "sub": "alice@example.org",
        "aud": "https://oauth2.example.org/token",
        "scope": "https://mail.google.com/",
        "iat": 1_800_000_000,
        "exp": 1_800_003_600,
    }


def test_the_manifest_goes_before_the_file() -> None:
    request = _request("JWTBearer", _account(), subject="bob@example.org")
    assert request.url == _URL
    assertion = _form(request)["assertion"]
    claims = jwt.decode(assertion, options={"verify_signature": False})
    assert (claims["sub"], claims["aud"]) == ("bob@example.org", _URL)


@pytest.mark.parametrize(
    ("secrets", "words"),
    [
        ({SecretPart.SERVICE_ACCOUNT: "-----BEGIN"}, "no JSON object"),
        ({SecretPart.SERVICE_ACCOUNT: "[1]"}, "no JSON object"),
        (_account(client_email=None), "lacks client_email"),
        (_account(client_email=1, private_key=""), "lacks client_email and private_key"),
        (_account(private_key="hush-hush"), "private key cannot be used"),
        (_account(private_key=key_pem(_EC.key).decode()), "private key cannot be used"),
        (
            _account(private_key=key_pem(_RSA.key, passphrase=b"hush-hush").decode()),
            "private key cannot be used",
        ),
        (_account(token_uri=None), "has no token_uri"),
        (_account(token_uri="http://oauth2.example.org/hush-hush"), "token_uri .* https URL"),
        (_account(token_uri="https://a@b/"), "token_uri .* https URL"),
    ],
)
def test_a_file_that_cannot_be_used(secrets: dict[SecretPart, str], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        _request("JWTBearer", secrets, url=None)
    assert caught.value.side is Side.DESTINATION
    assert "hush-hush" not in caught.value.message
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("certificate", "key", "words"),
    [
        ("nothing", key_pem(_RSA.key).decode(), "certKey: no PEM"),
        (_RSA.pem, "hush-hush", "private key cannot be used"),
        (_RSA.pem, key_pem(_RSA.key, passphrase=b"x").decode(), "not encrypted"),
    ],
)
def test_a_certificate_that_cannot_be_used(certificate: str, key: str, words: str) -> None:
    secrets = {SecretPart.CERTIFICATE: certificate, SecretPart.PRIVATE_KEY: key}
    with pytest.raises(ConfigurationError, match=words) as caught:
        _request("ClientCredentials", secrets, clientID="app")
    assert "hush-hush" not in caught.value.message


def test_no_secret_in_what_python_shows() -> None:
    secrets = {SecretPart.TOKEN: "hush-hush", SecretPart.CLIENT_SECRET: "hush-hush"}
    request = _request("RefreshToken", secrets, clientID="app", clientAuthentication="Header")
    assert "hush" not in repr(request)
    assert request.shown == _URL

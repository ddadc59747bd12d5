"""What a manifest may say about OAuth2: contradictions are refused by both sides."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from mailsync_api.authentication import Authentication, LoginSecretRef, SecretPart
from mailsync_api.oauth2 import OAuth2
from tests.support.builders import merged

_URL = "https://login.example.org/token"
_REFRESH = {"grant": "RefreshToken", "tokenURL": _URL, "clientID": "app"}
_APPLICATION = {"grant": "ClientCredentials", "tokenURL": _URL, "clientID": "app"}
_DELEGATION = {"grant": "JWTBearer"}
_STATIC = {"grant": "StaticToken"}
_PAIR = {"certKey": "tls.crt", "keyKey": "tls.key"}

GOOD: list[tuple[dict[str, Any], dict[str, str], dict[SecretPart, str]]] = [
    (_STATIC, {}, {SecretPart.TOKEN: "token"}),
    (_STATIC, {"tokenKey": "access"}, {SecretPart.TOKEN: "access"}),
    (_REFRESH, {}, {SecretPart.TOKEN: "token"}),
    (
        {**_REFRESH, "clientAuthentication": "Header"},
        {"clientSecretKey": "secret"},
        {SecretPart.TOKEN: "token", SecretPart.CLIENT_SECRET: "secret"},
    ),
    (_APPLICATION, {}, {SecretPart.CLIENT_SECRET: "clientSecret"}),
    (
        {**_APPLICATION, "clientAuthentication": "Body"},
        {},
        {SecretPart.CLIENT_SECRET: "clientSecret"},
    ),
    (
        _APPLICATION,
        _PAIR,
        {SecretPart.CERTIFICATE: "tls.crt", SecretPart.PRIVATE_KEY: "tls.key"},
    ),
    (_DELEGATION, {}, {SecretPart.SERVICE_ACCOUNT: "key.json"}),
    (
        {**_DELEGATION, "subject": "bob", "tokenURL": _URL},
        {},
        {SecretPart.SERVICE_ACCOUNT: "key.json"},
    ),
]

BAD: list[tuple[str, dict[str, Any], str]] = [
    ("a password mechanism", {"mechanism": "Plain"}, "change mechanism, or remove oauth2"),
    ("External", {"mechanism": "External"}, "change mechanism, or remove oauth2"),
    ("no Secret", {"secretRef": None}, "secretRef is required"),
    (
        "a token mechanism alone",
        {"mechanism": "XOAuth2", "oauth2": None},
        "say in oauth2 how to get one",
    ),
    ("another's mailbox", {"authorizationIdentity": "bob"}, "remove it"),
    ("a password's key", {"secretRef": {"passwordKey": "word"}}, "passwordKey has no effect"),
    (
        "a token's key alone",
        {"oauth2": None, "secretRef": {"tokenKey": "token"}},
        "add oauth2, or keep passwordKey alone",
    ),
    ("a key of another grant", {"secretRef": {"serviceAccountKey": "x"}}, "with JWTBearer"),
    ("half a certificate", {"secretRef": {"certKey": "x"}}, "give both"),
    (
        "two proofs",
        {"oauth2": _APPLICATION, "secretRef": {**_PAIR, "clientSecretKey": "x"}},
        "keep one",
    ),
    ("no secret to place", {"oauth2": {"clientAuthentication": "Body"}}, "clientSecretKey in"),
    (
        "a certificate to place",
        {"oauth2": {**_APPLICATION, "clientAuthentication": "Body"}, "secretRef": _PAIR},
        "clientSecretKey in",
    ),
    ("no client", {"oauth2": {"clientID": None}}, "clientID is required"),
    ("no endpoint", {"oauth2": {"tokenURL": None}}, "tokenURL is required"),
    ("a subject", {"oauth2": {"subject": "bob"}}, "for grant JWTBearer only"),
    ("nobody to ask", {"oauth2": {"grant": "StaticToken"}}, "asks nobody"),
    ("http", {"oauth2": {"tokenURL": "http://login.example.org/"}}, "'http://login.example.org/'"),
    ("a user in the URL", {"oauth2": {"tokenURL": "https://a:b@c.example/"}}, "no user"),
    ("a fragment", {"oauth2": {"tokenURL": f"{_URL}#x"}}, "no fragment"),
    ("a line break", {"oauth2": {"tokenURL": f"{_URL}\n"}}, "https"),
    ("two scopes in one", {"oauth2": {"scopes": ["a b"]}}, "an item of its own"),
    ("an unknown grant", {"oauth2": {"grant": "Password"}}, "ClientCredentials"),
]


def authentication(**changes: Any) -> dict[str, Any]:
    """Return a login by refresh token; ``changes`` are laid over it."""
    return merged({"secretRef": {"name": "x"}, "oauth2": _REFRESH}, changes)


@pytest.mark.parametrize(("oauth2", "keys", "read"), GOOD)
def test_each_grant_reads_its_own_keys(
    oauth2: dict[str, Any], keys: dict[str, str], read: dict[SecretPart, str]
) -> None:
    for mechanism in ("Auto", "XOAuth2", "OAuthBearer"):
        wire = {"mechanism": mechanism, "secretRef": {"name": "x", **keys}, "oauth2": oauth2}
        model = Authentication.model_validate(wire)
        assert model.secret_keys == read
        assert Authentication.model_validate(model.to_wire()) == model


def test_a_password_is_read_from_its_key() -> None:
    model = Authentication.model_validate({"secretRef": {"name": "x", "passwordKey": "word"}})
    assert model.secret_keys == {SecretPart.PASSWORD: "word"}
    assert Authentication.model_validate({"mechanism": "External"}).secret_keys == {}


@pytest.mark.parametrize(("changes", "cure"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
def test_a_contradiction_is_refused(changes: dict[str, Any], cure: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Authentication.model_validate(authentication(**changes))
    (error,) = caught.value.errors()
    assert cure in error["msg"]


def test_the_same_rules_are_there_for_the_api_server() -> None:
    schemas = [model.model_json_schema() for model in (Authentication, LoginSecretRef, OAuth2)]
    messages = {rule["message"] for s in schemas for rule in s["x-kubernetes-validations"]}
    for _, changes, _ in BAD:
        with pytest.raises(ValidationError) as caught:
            Authentication.model_validate(authentication(**changes))
        (error,) = caught.value.errors()
        # What concerns one field alone is a rule of that field's schema.
        if error["type"] == "value_error" and error["loc"] in {(), ("secretRef",), ("oauth2",)}:
            assert error["msg"].removeprefix("Value error, ") in messages


def test_names_on_the_wire() -> None:
    schema = OAuth2.model_json_schema(by_alias=True)
    assert {"tokenURL", "clientID", "caRef", "clientAuthentication"} <= set(schema["properties"])

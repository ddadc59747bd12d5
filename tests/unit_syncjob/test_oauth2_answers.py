"""What a token endpoint may answer, and how the run ends: the table of errors."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailsync_api.conditions import Reason
from mailsync_api.endpoint import Side
from mailsync_api.oauth2 import Grant
from mailsync_syncjob.errors import (
    ConfigurationError,
    CredentialsError,
    EngineError,
    ThrottledError,
    UnreachableError,
)
from mailsync_syncjob.oauth2.answer import Answer, Issued, read_answer
from mailsync_syncjob.oauth2.request import TokenRequest

_SECRET = "s3cret+refresh/token"
_REQUEST = TokenRequest(
    "https://login.example.org/tenant/token?x=1", "body", {}, (_SECRET, "s3cret%2Brefresh%2Ftoken")
)
_NOW = 1_800_000_000.0


def _read(
    status: int, body: object, *, retry_after: str | None = None, grant: Grant = Grant.REFRESH_TOKEN
) -> Issued:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = Answer(status, data, retry_after)
    return read_answer(answer, _REQUEST, grant=grant, side=Side.SOURCE, now=_NOW)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        # RFC 6749 section 5.2.
        (401, {"error": "invalid_client"}, ConfigurationError),
        (400, {"error": "unauthorized_client"}, ConfigurationError),
        (400, {"error": "invalid_scope"}, ConfigurationError),
        (400, {"error": "unsupported_grant_type"}, ConfigurationError),
        (400, {"error": "invalid_request"}, ConfigurationError),
        (400, {"error": "something_new"}, ConfigurationError),
        (400, {"error": "invalid_grant"}, CredentialsError),
        (200, {"error": "invalid_grant"}, CredentialsError),
        # OpenID Connect's, as Microsoft uses them.
        (400, {"error": "interaction_required"}, CredentialsError),
        (400, {"error": "consent_required"}, CredentialsError),
        (403, {"error": "access_denied"}, CredentialsError),
        (404, b"<html>not here</html>", ConfigurationError),
        (405, b"", ConfigurationError),
        (401, b"", ConfigurationError),
        (302, b"", ConfigurationError),
        (308, {"access_token": "x"}, ConfigurationError),
        (429, b"", ThrottledError),
        (400, {"error": "slow_down"}, ThrottledError),
        (403, {"error": "rate_limit_exceeded"}, ThrottledError),
        (503, b"", UnreachableError),
        (500, b"<html>oops</html>", UnreachableError),
        (502, {"error": "invalid_grant"}, UnreachableError),
        (408, b"", UnreachableError),
        (400, {"error": "temporarily_unavailable"}, UnreachableError),
        # A page where the endpoint should be, and other things that are no answer.
        (200, b"<html>log in to this network</html>", ConfigurationError),
        (200, b"access_token=x&token_type=bearer", ConfigurationError),
        (200, b"[" * 100_000, ConfigurationError),
        (200, [], ConfigurationError),
        (200, {}, ConfigurationError),
        (200, {"access_token": 7}, ConfigurationError),
        (200, {"access_token": "two words"}, ConfigurationError),
        (200, {"access_token": "a\x01auth=Bearer b"}, ConfigurationError),
        (200, {"access_token": "a\r\nX"}, ConfigurationError),
        (200, {"access_token": ""}, ConfigurationError),
        (200, {"access_token": "x", "token_type": "mac"}, ConfigurationError),
        (200, {"access_token": "x", "expires_in": "soon"}, ConfigurationError),
    ],
)
def test_every_failure_has_its_kind(status: int, body: object, kind: type[EngineError]) -> None:
    with pytest.raises(EngineError) as caught:
        _read(status, body)
    assert type(caught.value) is kind
    assert caught.value.side is Side.SOURCE
    assert "https://login.example.org/tenant/token" in caught.value.message
    assert "x=1" not in caught.value.message


@pytest.mark.parametrize(
    ("grant", "reason"),
    [
        (Grant.REFRESH_TOKEN, Reason.TOKEN_REVOKED),
        (Grant.JWT_BEARER, Reason.CREDENTIALS_REFUSED),
        (Grant.CLIENT_CREDENTIALS, Reason.CREDENTIALS_REFUSED),
    ],
)
def test_a_revoked_refresh_token_has_a_reason_of_its_own(grant: Grant, reason: Reason) -> None:
    with pytest.raises(CredentialsError, match="invalid_grant") as caught:
        _read(400, {"error": "invalid_grant"}, grant=grant)
    assert caught.value.reason is reason


@pytest.mark.parametrize(
    ("status", "header", "seconds"),
    [
        (429, "120", 120),
        (503, "7", 7),
        (429, None, None),
        (429, "999999999", 86400),
        (429, "Fri, 15 Jan 2027 08:00:30 GMT", 30),
        (429, "Fri, 15 Jan 2010 08:00:30 GMT", 0),
        (429, "-5", None),
        (429, "soon", None),
        (429, "9" * 5000, None),
    ],
)
def test_how_long_to_wait(status: int, header: str | None, seconds: int | None) -> None:
    with pytest.raises(ThrottledError) as caught:
        _read(status, b"", retry_after=header)
    assert caught.value.retry_after_seconds == seconds


def test_words_are_shown_but_neither_secrets_nor_control_characters() -> None:
    description = (
        f"AADSTS70000:\r\n\x1b[31m {_SECRET} s3cret%2Brefresh%2Ftoken expired " + "x" * 900
    )
    body = {"error": "invalid_grant", "error_description": description}
    with pytest.raises(CredentialsError) as caught:
        _read(400, body)
    said = caught.value.message
    assert "AADSTS70000: [31m *** *** expired" in said
    assert "s3cret" not in said
    assert len(said) < 1024


@pytest.mark.parametrize(
    ("fields", "lifetime", "renewed"),
    [
        ({}, None, None),
        ({"expires_in": 3599, "token_type": "Bearer"}, 3599, None),
        ({"expires_in": "3599", "token_type": "bearer"}, 3599, None),
        ({"expires_in": 3599.7}, 3599, None),
        ({"expires_in": -5}, 0, None),
        ({"expires_in": 0}, 0, None),
        ({"expires_in": 10**30}, 86400 * 366, None),
        ({"refresh_token": "new"}, None, b"new"),
        ({"refresh_token": "no token"}, None, None),
        ({"refresh_token": 5, "scope": "other scopes"}, None, None),
    ],
)
def test_a_token(fields: dict[str, Any], lifetime: int | None, renewed: bytes | None) -> None:
    issued = _read(200, {"access_token": "ya29.a-b_c~d+e/f=", **fields})
    assert issued.access_token.reveal() == b"ya29.a-b_c~d+e/f="
    assert issued.lifetime == lifetime
    assert (issued.refresh_token.reveal() if issued.refresh_token else None) == renewed
    assert "ya29" not in repr(issued)


@given(
    status=st.integers(100, 999),
    body=st.one_of(
        st.binary(max_size=200),
        st.dictionaries(
            st.sampled_from(["error", "error_description", "access_token", "expires_in", "scope"]),
            st.one_of(
                st.none(), st.integers(), st.floats(allow_nan=False), st.text(), st.lists(st.text())
            ),
        ),
    ),
    header=st.none() | st.text(max_size=30),
)
@example(200, {"error": None, "expires_in": float("inf")}, None)
def test_no_answer_is_an_error_of_the_engine(status: int, body: object, header: str | None) -> None:
    with contextlib.suppress(EngineError):
        assert _read(status, body, retry_after=header).access_token.reveal()

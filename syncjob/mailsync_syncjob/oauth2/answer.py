"""What a token endpoint answers, and what it means for the run. Pure.

Whether trying again can help is what tells the errors apart: a client that is not known is a matter
of the manifest (78), a revoked refresh token one of credentials (77), 429 asks to wait (75).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

from oauthlib.oauth2.rfc6749.errors import OAuth2Error
from oauthlib.oauth2.rfc6749.parameters import parse_token_response

from mailsync_api.conditions import Reason
from mailsync_api.oauth2 import Grant
from mailsync_syncjob.credentials import Password
from mailsync_syncjob.errors import (
    ConfigurationError,
    CredentialsError,
    EngineError,
    ThrottledError,
    UnreachableError,
)
from mailsync_syncjob.oauth2.tokens import is_token
from mailsync_syncjob.texts import sanitise

if TYPE_CHECKING:
    from mailsync_api.endpoint import Side
    from mailsync_syncjob.oauth2.request import TokenRequest

__all__ = ["MAX_ANSWER_BYTES", "Answer", "Issued", "read_answer"]

MAX_ANSWER_BYTES: Final = 1 << 18
"""The largest answer; a token with all of a user's groups in it has tens of kilobytes."""
_LONGEST_WAIT: Final = 86400
_LONGEST_LIFE: Final = 86400 * 366
# RFC 6749 section 5.2: the grant itself is invalid, expired or revoked. The others are how OpenID
# Connect servers say that the user must come back.
_REVOKED: Final = frozenset(
    {"invalid_grant", "interaction_required", "consent_required", "login_required", "access_denied"}
)
_BUSY: Final = frozenset({"slow_down", "rate_limit_exceeded", "too_many_requests"})
_ILL: Final = frozenset({"server_error", "temporarily_unavailable"})
_CURES: Final = {
    Grant.REFRESH_TOKEN: (
        "it was revoked or has expired, the password or the consent behind it was changed, or the "
        "server gave a newer one in exchange (rotation): get a new refresh token and put it into "
        "the Secret"
    ),
    Grant.CLIENT_CREDENTIALS: "let the application have access, and start the run again",
    Grant.JWT_BEARER: (
        "the service account's key may be deleted, the subject unknown, domain-wide delegation not "
        "granted for these scopes, or this node's clock wrong"
    ),
    Grant.STATIC_TOKEN: "",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response."""

    status: int
    body: bytes = field(repr=False)
    retry_after: str | None = None
    """The header of this name."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A token that was issued."""

    access_token: Password
    lifetime: int | None
    """How long it is good for, in seconds, if the server says so."""
    refresh_token: Password | None
    """A new refresh token, if there is one."""


def read_answer(
    answer: Answer, request: TokenRequest, *, grant: Grant, side: Side, now: float
) -> Issued:
    """Return the token of an answer.

    Raises
    ------
    EngineError
        There is none in it: of the kind that says whether trying again can help.
    """
    return _Reader(answer, request, grant=grant, side=side, now=now).read()


class _Reader:
    def __init__(
        self, answer: Answer, request: TokenRequest, *, grant: Grant, side: Side, now: float
    ) -> None:
        self._answer = answer
        self._secrets = request.secrets
        self._grant = grant
        self._side = side
        self._now = now
        self._where = f"{side}: the token endpoint {request.shown}"

    def read(self) -> Issued:
        """Return the token, or raise what the answer means."""
        fields = self._fields()
        if 200 <= self._answer.status < 300:
            return self._issued(fields)
        raise self._failure(fields)

    def _fields(self) -> dict[str, Any]:
        try:
            found = json.loads(self._answer.body)
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    def _issued(self, fields: dict[str, Any]) -> Issued:
        try:
            parsed = parse_token_response(json.dumps(fields))
        except OAuth2Error as error:
            if "error" in fields:  # some servers say so with status 200
                raise self._failure(fields) from None
            raise self._none(str(error.error)) from None
        except (ValueError, TypeError, AttributeError, OverflowError):
            raise self._none("its fields have the wrong types") from None
        token, kind = parsed.get("access_token"), parsed.get("token_type")
        if not isinstance(token, str) or not is_token(token):
            raise self._none("what it gives is no token")
        if kind is not None and str(kind).lower() != "bearer":
            raise self._none(f"token_type is {self._shown(kind)} and not Bearer")
        # The library takes 0 for an absent value.
        lifetime = 0 if fields.get("expires_in") in (0, "0") else parsed.get("expires_in")
        renewed = parsed.get("refresh_token")
        good = isinstance(renewed, str) and is_token(renewed)
        return Issued(
            Password(token.encode()),
            min(max(lifetime, 0), _LONGEST_LIFE) if isinstance(lifetime, int) else None,
            Password(renewed.encode()) if good else None,
        )

    def _failure(self, fields: dict[str, Any]) -> EngineError:
        status, error = self._answer.status, fields.get("error")
        name = error if isinstance(error, str) else ""
        said = self._said(name, fields)
        wait = self._wait()
        if status == 429 or name in _BUSY or (status == 503 and wait is not None):
            return ThrottledError(
                f"{self._where} asks to wait ({said})", side=self._side, retry_after_seconds=wait
            )
        if status >= 500 or status == 408 or name in _ILL:
            return UnreachableError(f"{self._where} cannot answer now ({said})", side=self._side)
        if name in _REVOKED:
            return self._revoked(said)
        if 300 <= status < 400:
            return ConfigurationError(
                f"{self._where} redirects to another address ({said}), which is not followed: "
                "oauth2.tokenURL must be the endpoint itself",
                side=self._side,
            )
        if name:
            return ConfigurationError(
                f"{self._where} refused the request ({said}): correct clientID, scopes, tokenURL "
                "or grant in authentication.oauth2, or the client's secret or certificate",
                side=self._side,
            )
        return self._none(said)

    def _revoked(self, said: str) -> CredentialsError:
        renewable = self._grant is Grant.REFRESH_TOKEN
        what = "refresh token" if renewable else "grant"
        return CredentialsError(
            f"{self._where} refused the {what} ({said}): {_CURES[self._grant]}; it is not tried "
            "again until then",
            side=self._side,
            reason=Reason.TOKEN_REVOKED if renewable else None,
        )

    def _none(self, why: str) -> ConfigurationError:
        return ConfigurationError(
            f"{self._where} gave no access token ({why}): is oauth2.tokenURL the token endpoint?",
            side=self._side,
        )

    def _said(self, name: str, fields: dict[str, Any]) -> str:
        description = fields.get("error_description")
        words = [f"HTTP {self._answer.status}"]
        if name:
            words.append(self._shown(name))
        if isinstance(description, str) and description:
            words.append(self._shown(description))
        return ": ".join(words)

    def _shown(self, value: object) -> str:
        return sanitise(str(value), secrets=self._secrets)

    def _wait(self) -> int | None:
        """RFC 9110 section 10.2.3: seconds, or a date."""
        text = (self._answer.retry_after or "").strip()
        if re.fullmatch(r"[0-9]{1,9}", text):
            return min(int(text), _LONGEST_WAIT)
        try:
            at = parsedate_to_datetime(text)
        except ValueError:
            return None
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        return min(max(round(at.timestamp() - self._now), 0), _LONGEST_WAIT)

"""One side's access tokens: taken for a login, kept while they last, renewed before they end."""

from __future__ import annotations

import base64
import re
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from mailsync_api.endpoint import SecretPart
from mailsync_api.oauth2 import Grant
from mailsync_syncjob.credentials import Password
from mailsync_syncjob.deadline import Clock
from mailsync_syncjob.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from mailsync_api.endpoint import MailAccount, Side
    from mailsync_api.oauth2 import OAuth2
    from mailsync_syncjob.deadline import Stop
    from mailsync_syncjob.oauth2.answer import Answer, Issued
    from mailsync_syncjob.oauth2.request import TokenRequest

__all__ = ["Post", "Read", "Taken", "Tokens", "is_token"]

_SKEW_SECONDS: Final = 60.0
"""How long before its end a token is not used any more; a tenth of its life, if that is less."""
# RFC 6750 section 2.1, and every other single word: what ends it would end a SASL message.
_TOKEN: Final = re.compile(r"[\x21-\x7e]{1,65536}")

Read: TypeAlias = "Callable[[SecretPart], bytes]"
"""Reads a part of the login's Secret, as it is now."""
Post: TypeAlias = "Callable[[TokenRequest, Stop], Answer]"
"""Asks a token endpoint."""


def is_token(text: str) -> bool:
    """Return whether this is one word that can be a token."""
    return _TOKEN.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Taken:
    """A token for one login."""

    value: Password
    fresh: bool
    """Whether it was got for this very login: if it is refused, asking again will not help."""


@dataclass(frozen=True, slots=True)
class _Held:
    value: Password
    good_until: float | None
    """On the clock that never goes back, less the skew; None where the server did not say."""


class Tokens:
    """The access tokens of one account; safe to use from several threads.

    A rotated refresh token (RFC 6749 section 6) is kept in memory for the run: a pod cannot write
    its Secret.

    Parameters
    ----------
    ca_pem
        CA certificates to trust for the token endpoint instead of the system's.
    proxy
        The URL of a proxy that the endpoint is asked through, with its credentials.
    post
        What asks the endpoint; tests have their own.
    """

    def __init__(  # noqa: PLR0913  what tokens are made from
        self,
        account: MailAccount,
        oauth2: OAuth2,
        read: Read,
        *,
        side: Side,
        ca_pem: str | None = None,
        proxy: str | None = None,
        clock: Clock | None = None,
        post: Post | None = None,
    ) -> None:
        self._account = account
        self._oauth2 = oauth2
        self._read = read
        self._side = side
        self._ca_pem = ca_pem
        self._proxy = proxy
        self._clock = clock or Clock()
        self._post = post or self._post_over_tls
        self._lock = threading.Lock()
        self._held: _Held | None = None
        self._stored = ""
        self._rotated: str | None = None
        self._notices: list[str] = []

    def take(self, stop: Stop) -> Taken:
        """Return a token for a login that is due now.

        Raises
        ------
        EngineError
            None can be had: of the kind that says whether trying again can help.
        """
        with self._lock:
            held = self._held
            static = self._oauth2.grant is Grant.STATIC_TOKEN
            if held is not None and not static and not self._over(held):
                return Taken(held.value, fresh=False)
            self._held = self._static() if static else self._issued(stop)
            return Taken(self._held.value, fresh=True)

    def discard(self, refused: Password) -> None:
        """Do not give this token to another login."""
        with self._lock:
            if self._held is not None and self._held.value is refused:
                self._held = None

    @property
    def over(self) -> bool:
        """Whether the last token's time is over, so that a server may well end its session."""
        with self._lock:
            return self._held is not None and self._over(self._held)

    def notices(self) -> list[str]:
        """Return what is to be said about the tokens since this was last asked."""
        with self._lock:
            notices, self._notices = self._notices, []
            return notices

    @property
    def masked_words(self) -> tuple[str, ...]:
        """What must not be repeated from a server's words: the token, also as it was sent."""
        held = self._held
        if held is None:
            return ()
        token = held.value.reveal()
        xoauth2 = b"user=%s\x01auth=Bearer %s\x01\x01" % (self._account.username.encode(), token)
        return (
            base64.b64encode(xoauth2).decode("ascii"),
            base64.b64encode(token).decode("ascii"),
            token.decode("ascii"),
        )

    def _over(self, held: _Held) -> bool:
        return held.good_until is not None and self._clock.monotonic() >= held.good_until

    def _static(self) -> _Held:
        text = self._secret(SecretPart.TOKEN)
        if not is_token(text):
            raise ConfigurationError(
                f"{self._side}.authentication.secretRef: what the Secret holds is no access token "
                "(one word, no spaces): store the token alone",
                side=self._side,
            )
        return _Held(Password(text.encode()), None)

    def _issued(self, stop: Stop) -> _Held:
        # Here, and not above: a run with passwords does not pay for these libraries.
        from mailsync_syncjob.oauth2.answer import read_answer  # noqa: PLC0415
        from mailsync_syncjob.oauth2.request import make_request  # noqa: PLC0415

        asked_at = self._clock.monotonic()
        request = make_request(
            self._oauth2,
            self._secrets(),
            username=self._account.username,
            now=self._clock.time(),
            side=self._side,
        )
        answer = self._post(request, stop)
        issued = read_answer(
            answer, request, grant=self._oauth2.grant, side=self._side, now=self._clock.time()
        )
        self._note(issued, request.shown)
        life = issued.lifetime
        end = None if life is None else asked_at + life - min(_SKEW_SECONDS, life / 10)
        return _Held(issued.access_token, end)

    def _note(self, issued: Issued, endpoint: str) -> None:
        life = "" if issued.lifetime is None else f", good for {issued.lifetime} s"
        self._notices.append(f"{self._side}: a new access token from {endpoint}{life}")
        if issued.refresh_token is None or self._oauth2.grant is not Grant.REFRESH_TOKEN:
            return
        renewed = issued.refresh_token.reveal().decode("ascii")
        if renewed == (self._rotated or self._stored):
            return
        if self._rotated is None:
            self._notices.append(
                f"{self._side}: {endpoint} gave a new refresh token, which this run goes on with; "
                "the Secret's is now old, and if the server takes each one only once, the next run "
                "needs another: see docs/authentication.md, Rotation"
            )
        self._rotated = renewed

    def _secrets(self) -> dict[SecretPart, str]:
        secrets = {part: self._secret(part) for part in self._account.authentication.secret_keys}
        if self._oauth2.grant is Grant.REFRESH_TOKEN:
            stored = secrets[SecretPart.TOKEN]
            if stored != self._stored:  # the first time, or somebody put in a new one
                self._stored, self._rotated = stored, None
            secrets[SecretPart.TOKEN] = self._rotated or stored
        return secrets

    def _secret(self, part: SecretPart) -> str:
        # None of them can end with a line break, and files often do.
        try:
            return self._read(part).decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            raise ConfigurationError(
                f"{self._side}.authentication.secretRef: {part} is not text (UTF-8)",
                side=self._side,
            ) from None

    def _post_over_tls(self, request: TokenRequest, stop: Stop) -> Answer:
        from mailsync_syncjob.oauth2.post import Route, post  # noqa: PLC0415

        return post(request, Route(self._ca_pem, self._proxy), side=self._side, stop=stop)

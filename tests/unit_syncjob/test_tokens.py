"""When a token is asked for, kept, and replaced: with a clock and an endpoint of the test's own."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import pytest
from typing_extensions import override

from mailsync_api.endpoint import MailAccount, SecretPart, Side
from mailsync_syncjob.deadline import Clock, Stop
from mailsync_syncjob.errors import ConfigurationError, CredentialsError
from mailsync_syncjob.oauth2.answer import Answer
from mailsync_syncjob.oauth2.tokens import Tokens
from tests.support.builders import account, merged

if TYPE_CHECKING:
    from mailsync_syncjob.oauth2.request import TokenRequest


class _HandClock(Clock):
    def __init__(self) -> None:
        self.now = 1000.0

    @override
    def monotonic(self) -> float:
        return self.now


class _Endpoint:
    """A token endpoint that numbers its tokens."""

    def __init__(self, lifetime: int | None, *, rotate: bool = False) -> None:
        self.lifetime = lifetime
        self.rotate = rotate
        self.asked: list[dict[str, list[str]]] = []
        self.busy = threading.Semaphore()

    def __call__(self, request: TokenRequest, _: Stop) -> Answer:
        assert self.busy.acquire(blocking=False), "asked by two at a time"
        self.asked.append(parse_qs(request.body))
        number = len(self.asked)
        fields: dict[str, Any] = {"access_token": f"token{number}"}
        if self.lifetime is not None:
            fields["expires_in"] = self.lifetime
        if self.rotate:
            fields["refresh_token"] = f"refresh{number}"
        self.busy.release()
        return Answer(200, json.dumps(fields).encode())

    def refresh_tokens(self) -> list[str]:
        return [form["refresh_token"][0] for form in self.asked]


class _Case:
    def __init__(
        self, lifetime: int | None = 3600, *, rotate: bool = False, **changes: Any
    ) -> None:
        oauth2 = {"grant": "RefreshToken", "tokenURL": "https://l.example/", "clientID": "app"}
        wire = account("source", authentication=merged({"oauth2": oauth2}, changes))
        self.files = {SecretPart.TOKEN: b"refresh0\n"}
        self.clock = _HandClock()
        self.endpoint = _Endpoint(lifetime, rotate=rotate)
        model = MailAccount.model_validate(wire)
        assert model.authentication.oauth2
        self.tokens = Tokens(
            model,
            model.authentication.oauth2,
            lambda part: self.files[part],
            side=Side.SOURCE,
            clock=self.clock,
            post=self.endpoint,
        )

    def take(self) -> tuple[str, bool]:
        taken = self.tokens.take(Stop(self.clock))
        return taken.value.reveal().decode(), taken.fresh


@pytest.mark.parametrize(("lifetime", "last"), [(3600, 3539), (100, 89), (4, 3.5)])
def test_a_token_is_kept_until_shortly_before_its_end(lifetime: int, last: float) -> None:
    case = _Case(lifetime)
    assert case.take() == ("token1", True)
    case.clock.now += last
    assert case.take() == ("token1", False)
    over = [case.tokens.over]
    case.clock.now = 1000 + lifetime - 0.1
    over.append(case.tokens.over)
    assert case.take() == ("token2", True)
    assert [*over, case.tokens.over] == [False, True, False]


def test_a_token_without_an_end_is_kept_until_it_is_refused() -> None:
    case = _Case(None)
    case.take()
    case.clock.now += 10**9
    assert (case.take(), case.tokens.over) == (("token1", False), False)


def test_a_refused_token_is_not_taken_again() -> None:
    case = _Case()
    first = case.tokens.take(Stop(case.clock))
    case.tokens.discard(first.value)
    assert case.take() == ("token2", True)
    case.tokens.discard(first.value)  # another session's late refusal
    assert case.take() == ("token2", False)


def test_a_rotated_refresh_token_is_used_for_this_run() -> None:
    case = _Case(60, rotate=True)
    for _ in range(3):
        case.take()
        case.clock.now += 60
    assert case.endpoint.refresh_tokens() == ["refresh0", "refresh1", "refresh2"]
    notices = case.tokens.notices()
    assert sum("the Secret's is now old" in notice for notice in notices) == 1
    assert not any("refresh1" in n or "token1" in n or "refresh0" in n for n in notices)
    assert case.tokens.notices() == []


def test_a_new_secret_goes_before_the_rotated_token() -> None:
    case = _Case(60, rotate=True)
    case.take()
    case.files[SecretPart.TOKEN] = b"put in by hand"
    case.clock.now += 60
    case.take()
    assert case.endpoint.refresh_tokens() == ["refresh0", "put in by hand"]


def test_a_static_token_is_read_at_each_login() -> None:
    case = _Case(oauth2={"grant": "StaticToken", "tokenURL": None, "clientID": None})
    case.files[SecretPart.TOKEN] = b"first\n"
    assert case.take() == ("first", True)
    case.files[SecretPart.TOKEN] = b"second\r\n"
    assert case.take() == ("second", True)
    assert case.endpoint.asked == []
    for bad in (b"", b"two words", b"a\x01b", "\u00fc".encode(), b"\xff", b"one\ntwo"):
        case.files[SecretPart.TOKEN] = bad
        with pytest.raises(
            ConfigurationError, match=r"source\.authentication\.secretRef"
        ) as caught:
            case.take()
        assert "words" not in caught.value.message.replace("no spaces", "")


def test_a_refused_request_leaves_nothing_behind() -> None:
    case = _Case()
    revoked = Answer(400, b'{"error": "invalid_grant"}')
    case.tokens._post = lambda _request, _stop: revoked
    with pytest.raises(CredentialsError):
        case.take()
    case.tokens._post = case.endpoint
    assert case.take() == ("token1", True)


def test_several_threads_share_one_token() -> None:
    case = _Case()
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(case.take()[0])) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert found == ["token1"] * 8
    assert len(case.endpoint.asked) == 1


def test_what_was_sent_is_masked_in_every_form() -> None:
    case = _Case()
    assert case.tokens.masked_words == ()
    case.take()
    xoauth2 = b"user=alice@example.org\x01auth=Bearer token1\x01\x01"
    expected = {"token1", base64.b64encode(b"token1").decode(), base64.b64encode(xoauth2).decode()}
    assert set(case.tokens.masked_words) == expected


def test_a_run_with_passwords_does_not_load_what_only_tokens_need() -> None:
    libraries = "{'httpx', 'oauthlib', 'jwt', 'cryptography', 'asyncio'}"
    program = f"import sys, mailsync_syncjob.job; print({libraries} & set(sys.modules))"
    said = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert said.stdout.strip() == "set()"

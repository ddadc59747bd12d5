"""Logging in with tokens, against a scripted server: refused, renewed once, ended in mid-run."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest

from mailsync_api.conditions import Reason
from mailsync_api.endpoint import Side
from mailsync_syncjob.errors import (
    ConfigurationError,
    EngineError,
    ProtocolError,
    TLSPolicyError,
    TokenRefusedError,
)
from mailsync_syncjob.imap.session import open_session
from mailsync_syncjob.oauth2.answer import Answer
from mailsync_syncjob.oauth2.tokens import Tokens
from tests.support.recorded import connector, endpoint, run_between
from tests.support.scripted import Peer, Script, TinyServer, says, serve

if TYPE_CHECKING:
    from mailsync_syncjob.credentials import Endpoint
    from mailsync_syncjob.deadline import Stop
    from mailsync_syncjob.oauth2.request import TokenRequest

_OAUTH2 = {"grant": "RefreshToken", "tokenURL": "https://l.example/", "clientID": "app"}
_CAPABILITIES = b"IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 SASL-IR LITERAL+ UIDPLUS"
_ERROR = base64.b64encode(b'{"status":"401","schemes":"bearer","scope":"mail"}')


@dataclass
class _Issuer:
    """A token endpoint that numbers its tokens."""

    lifetime: int = 3600
    count: int = 0
    answers: list[Answer] = field(default_factory=list)

    def __call__(self, _: TokenRequest, __: Stop) -> Answer:
        self.count += 1
        if self.answers:
            return self.answers.pop(0)
        fields = {"access_token": f"token{self.count}", "expires_in": self.lifetime}
        return Answer(200, json.dumps(fields).encode())


def _endpoint(
    script: Script, issuer: _Issuer, *, side: Side = Side.SOURCE, **authentication: Any
) -> Endpoint:
    account = endpoint(
        script.port, side=side, password=None, authentication={"oauth2": _OAUTH2, **authentication}
    )
    oauth2 = account.account.authentication.oauth2
    assert oauth2
    tokens = Tokens(account.account, oauth2, lambda _: b"refresh", side=side, post=issuer)
    return replace(account, tokens=tokens)


@dataclass
class _Door:
    """Lets tokens in that it knows, and answers the others as Google and Microsoft do."""

    good: set[bytes]
    seen: list[bytes] = field(default_factory=list)
    challenge: bytes = _ERROR
    end: bytes = b"NO AUTHENTICATE failed."

    def __call__(self, peer: Peer, tag: bytes, rest: bytes) -> None:
        said = base64.b64decode(rest.split(b" ")[2])
        token = said.partition(b"auth=Bearer ")[2].rstrip(b"\x01")
        self.seen.append(token)
        if token in self.good:
            says()(peer, tag, rest)
            return
        if self.challenge:
            peer.send(b"+ " + self.challenge + b"\r\n")
            answer = peer._line()
            assert answer in {b"\r\n", b"AQ==\r\n"}
        peer.send(tag + b" " + self.end.replace(b"%token", token) + b"\r\n")


def _server(door: _Door, capabilities: bytes = _CAPABILITIES, **fields: Any) -> TinyServer:
    return TinyServer(capabilities=capabilities, answers={b"AUTHENTICATE": door}, **fields)


@pytest.mark.parametrize("mechanism", [b"XOAUTH2", b"OAUTHBEARER"])
@pytest.mark.parametrize("challenge", [_ERROR, b""])
def test_a_fresh_token_that_is_refused_is_final(mechanism: bytes, challenge: bytes) -> None:
    door, issuer = _Door(set(), challenge=challenge), _Issuer()
    capabilities = _CAPABILITIES.replace(b"XOAUTH2", mechanism)
    with (
        serve(_server(door, capabilities)) as script,
        pytest.raises(TokenRefusedError) as caught,
    ):
        open_session(_endpoint(script, issuer), connector=connector())
    assert caught.value.reason is Reason.TOKEN_REFUSED
    assert ("status 401, scope mail" in caught.value.message) == bool(challenge)
    assert "AUTHENTICATE failed" in caught.value.message
    assert (door.seen, issuer.count) == ([b"token1"], 1)


def test_an_older_token_that_is_refused_is_replaced_once() -> None:
    door, issuer = _Door({b"token1"}), _Issuer()
    with serve(_server(door)) as script:
        account = _endpoint(script, issuer)
        open_session(account, connector=connector()).close()
        open_session(account, connector=connector()).close()
        assert issuer.count == 1
        door.good = {b"token2"}  # the first was revoked
        open_session(account, connector=connector()).close()
        assert door.seen == [b"token1"] * 3 + [b"token2"]
        door.good = set()
        with pytest.raises(TokenRefusedError):
            open_session(account, connector=connector())
    assert door.seen[4:] == [b"token2", b"token3"]
    assert issuer.count == 3


def test_a_server_without_sasl_ir_gets_the_token_when_it_asks() -> None:
    def answer(peer: Peer, tag: bytes, rest: bytes) -> None:
        assert rest == b"AUTHENTICATE XOAUTH2"
        peer.send(b"+ \r\n")
        assert b"auth=Bearer token1" in base64.b64decode(peer._line())
        says()(peer, tag, rest)

    server = _server(_Door(set()), _CAPABILITIES.replace(b" SASL-IR", b""))
    server.answers[b"AUTHENTICATE"] = answer
    with serve(server) as script:
        open_session(_endpoint(script, _Issuer()), connector=connector()).close()


def test_words_that_repeat_the_token_are_masked() -> None:
    echoed = base64.b64encode(b'{"status":"401 for token1","scope":"\\u001b[31mtoken1"}')
    door = _Door(
        set(),
        challenge=echoed,
        end=b"NO who is %token (dXNlcj1hbGljZQFhdXRoPUJlYXJlciB0b2tlbjEBAQ==)",
    )
    with serve(_server(door)) as script, pytest.raises(TokenRefusedError) as caught:
        open_session(_endpoint(script, _Issuer()), connector=connector())
    assert "status 401 for ***, scope [31m*** (who is *** (***))" in caught.value.message
    assert "token1" not in caught.value.message


def test_success_after_a_reason_is_a_violation() -> None:
    door = _Door(set(), end=b"OK never mind")
    with serve(_server(door)) as script, pytest.raises(ProtocolError):
        open_session(_endpoint(script, _Issuer()), connector=connector())


def test_a_second_reason_is_cancelled() -> None:
    def answer(peer: Peer, tag: bytes, _rest: bytes) -> None:
        said = []
        for _ in range(2):
            peer.send(b"+ " + _ERROR + b"\r\n")
            said.append(peer._line())
        assert said == [b"\r\n", b"*\r\n"]
        peer.send(tag + b" BAD enough\r\n")

    server = _server(_Door(set()))
    server.answers[b"AUTHENTICATE"] = answer
    with serve(server) as script, pytest.raises(TokenRefusedError, match="enough"):
        open_session(_endpoint(script, _Issuer()), connector=connector())


@pytest.mark.parametrize(
    ("mechanism", "offered", "words"),
    [
        ("Auto", b"AUTH=PLAIN AUTH=SCRAM-SHA-256", "neither OAUTHBEARER nor XOAUTH2"),
        ("OAuthBearer", b"AUTH=XOAUTH2", "does not offer AUTH=OAUTHBEARER"),
        ("XOAuth2", b"AUTH=OAUTHBEARER", "does not offer AUTH=XOAUTH2"),
    ],
)
def test_no_token_is_asked_for_where_none_can_be_sent(
    mechanism: str, offered: bytes, words: str
) -> None:
    issuer = _Issuer()
    with (
        serve(_server(_Door(set()), b"IMAP4rev1 SASL-IR " + offered)) as script,
        pytest.raises(ConfigurationError, match=words),
    ):
        open_session(_endpoint(script, issuer, mechanism=mechanism), connector=connector())
    assert issuer.count == 0
    assert b"AUTHENTICATE" not in script.said


def test_a_server_that_does_not_meet_the_policy_gets_no_token() -> None:
    issuer = _Issuer()
    with serve(_server(_Door({b"token1"}))) as script:
        account = _endpoint(script, issuer)
        tls = account.account.tls.model_copy(update={"mode": "StartTLS"})
        secured = replace(account, account=account.account.model_copy(update={"tls": tls}))
        with pytest.raises(TLSPolicyError):
            open_session(secured, connector=connector())
    assert issuer.count == 0


def test_an_error_of_the_endpoint_ends_the_login() -> None:
    issuer = _Issuer(answers=[Answer(429, b"", "33")])
    with serve(_server(_Door(set()))) as script, pytest.raises(EngineError) as caught:
        open_session(_endpoint(script, issuer), connector=connector())
    assert (caught.value.exit_code, caught.value.retry_after_seconds) == (75, 33)
    assert b"AUTHENTICATE" not in script.said


_BODIES = {uid: b"Message-ID: <%d@x>\r\n\r\nbody" % uid for uid in range(1, 9)}


@pytest.mark.parametrize(
    "words",
    [
        b"* BYE Session invalidated - AccessTokenExpired",
        b"%tag NO [EXPIRED] the token has ended",
        b"%tag BAD AccessTokenExpired",
    ],
)
def test_a_run_goes_on_after_each_end_of_a_token(words: bytes) -> None:
    """More often than lost connections are forgiven, and without waiting for anything."""
    issuer = _Issuer(lifetime=0)
    door = _Door({b"token%d" % number for number in range(1, 40)})
    source = _server(door, messages=_BODIES)

    def one_then_end(peer: Peer, tag: bytes, rest: bytes) -> None:
        # One message of those asked for, then the end.
        wanted = rest.split(b" ")[2].replace(b":", b",").split(b",")[0]
        body = _BODIES[int(wanted)]
        peer.send(
            b"* %s FETCH (UID %s BODY[] {%d}\r\n" % (wanted, wanted, len(body)) + body + b")\r\n"
        )
        peer.send(words.replace(b"%tag", tag) + b"\r\n")

    source.answers[b"UID FETCH"] = one_then_end
    copied = _Destination()
    with serve(source) as old, serve(copied.server) as new:
        report, output = run_between(
            _endpoint(old, issuer), endpoint(new.port, side=Side.DESTINATION)
        )
    assert report.verdict.exit_code == 0, report.verdict.message
    assert sorted(copied.bodies) == sorted(_BODIES.values())
    assert issuer.count == len(door.seen) > 6
    logs = [message for _, message in output.logs]
    assert not [message for message in logs if "connecting again" in message]
    assert "token1" not in output.everything.replace("token10", "")


class _Destination:
    """A server that shows what was stored in it."""

    def __init__(self) -> None:
        self.server = TinyServer(messages={})
        self.server.answers[b"APPEND"] = self._append

    @property
    def bodies(self) -> list[bytes]:
        return list(self.server.messages.values())

    def _append(self, peer: Peer, tag: bytes, rest: bytes) -> None:
        body = rest.partition(b"\r\n")[2]
        self.server.messages[len(self.server.messages) + 1] = body
        self.server.append(peer, tag, rest)

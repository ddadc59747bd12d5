"""OAuth2 from end to end: a real authorization server, and a Dovecot that asks it about each token.

Every grant, both mechanisms, a run that outlives its tokens, a consent that was withdrawn.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml

from mailsync_api.conditions import Reason
from tests.support.authorization import AuthorizationServer, run_authorization_server
from tests.support.checker import compare_mailboxes
from tests.support.dovecot import Dovecot, Settings, run_dovecot
from tests.support.engine import Account, Engine
from tests.support.line import run_line
from tests.support.mailbox import load, plain_message

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers.conftest import Pair

pytestmark = pytest.mark.servers

_LIFETIME: Final = 5
_TOKEN_CA: Final = {"caRef": {"name": "token-ca"}}


def _settings(server: AuthorizationServer) -> Settings:
    """Return a Dovecot that takes tokens which the authorization server says are active."""
    directory = server.directory
    directory.chmod(0o755)
    (directory / "ca.pem").write_text(server.ca_pem)
    (directory / "dovecot-oauth2.conf.ext").write_text(
        "introspection_mode = post\n"
        f"introspection_url = {server.introspection_url()}\n"
        f"tls_ca_cert_file = {directory / 'ca.pem'}\n"
        "username_attribute = mail\nactive_attribute = active\nactive_value = true\n"
    )
    passdb = (
        "passdb {\n  driver = oauth2\n  mechanisms = xoauth2 oauthbearer\n"
        f"  args = {directory / 'dovecot-oauth2.conf.ext'}\n}}"
    )
    users = {"alice": "for the tests", "bob": "for the tests"}
    no_penalty = "service anvil {\n  unix_listener anvil-auth-penalty {\n    mode = 0\n  }\n}"
    mechanisms = "plain xoauth2 oauthbearer"
    return Settings(users=users, mechanisms=mechanisms, extra=f"{passdb}\n{no_penalty}")


@pytest.fixture(scope="module")
def authorization() -> Iterator[AuthorizationServer]:
    with run_authorization_server() as server:
        yield server


@pytest.fixture(scope="module")
def dovecot(authorization: AuthorizationServer) -> Iterator[Dovecot]:
    with run_dovecot(_settings(authorization)) as server:
        with server.login("alice", "for the tests") as session:
            load(session, [plain_message(1), plain_message(2)])
        yield server


def _source(
    dovecot: Dovecot,
    authorization: AuthorizationServer,
    *,
    files: dict[str, str],
    user: str = "alice",
    mechanism: str = "Auto",
    keys: dict[str, str] | None = None,
    **oauth2: Any,
) -> Account:
    asks = oauth2["grant"] != "StaticToken"
    account = Account.at(dovecot, user, "")
    return replace(
        account,
        authentication={
            "mechanism": mechanism,
            "secretRef": {"name": "token", **(keys or {})},
            "oauth2": {**oauth2, **(_TOKEN_CA if asks else {})},
        },
        files={**files, "-token-ca/ca.crt": authorization.ca_pem},
    )


def _refreshed(
    dovecot: Dovecot, authorization: AuthorizationServer, user: str = "alice", **changes: Any
) -> Account:
    """Return a source that logs in by its refresh token."""
    files = {
        "/token": authorization.refresh_tokens[f"{user} delegated"],
        "/client-secret": authorization.client_secret("delegated"),
    }
    return _source(
        dovecot,
        authorization,
        user=user,
        files=files,
        keys={"clientSecretKey": "clientSecret"},
        grant="RefreshToken",
        tokenURL=authorization.token_url,
        clientID="delegated",
        **changes,
    )


def _grants(authorization: AuthorizationServer) -> dict[str, dict[str, Any]]:
    application = {"grant": "ClientCredentials", "tokenURL": authorization.token_url}
    return {
        "ClientCredentials": {
            "files": {"/client-secret": authorization.client_secret("app") + "\n"},
            "clientID": "app",
            "scopes": ["mail"],
            **application,
        },
        "a certificate": {
            "files": {
                "/client.crt": authorization.application.pem,
                "/client.key": authorization.application_key,
            },
            "keys": {"certKey": "tls.crt", "keyKey": "tls.key"},
            "clientID": "certified",
            "scopes": ["mail"],
            **application,
        },
        "JWTBearer": {
            "files": {"/service-account.json": authorization.service_account()},
            "clientID": "delegation",
            "scopes": ["mail"],
            "grant": "JWTBearer",
        },
        "HTTP Basic": {
            "files": {
                "/token": authorization.refresh_tokens["alice basic"],
                "/client-secret": authorization.client_secret("basic"),
            },
            "keys": {"clientSecretKey": "clientSecret"},
            "grant": "RefreshToken",
            "tokenURL": authorization.token_url,
            "clientID": "basic",
            "clientAuthentication": "Header",
        },
    }


def _engine(pair: Pair, source: Account) -> Engine:
    return Engine(pair.directory, source, pair.destination_account())


@pytest.mark.parametrize("grant", ["ClientCredentials", "a certificate", "JWTBearer", "HTTP Basic"])
def test_every_grant_logs_in(
    authorization: AuthorizationServer, dovecot: Dovecot, pair: Pair, grant: str
) -> None:
    asked = authorization.introspected()
    source = _source(dovecot, authorization, **_grants(authorization)[grant])
    result = _engine(pair, source).run()
    assert result.exit_code == 0, result.said
    assert authorization.introspected() == asked + 1
    with pair.destination() as session:
        assert session.select("INBOX")[1] == [b"2"]


@pytest.mark.parametrize(
    ("mechanism", "used"),
    [("Auto", "OAUTHBEARER"), ("XOAuth2", "XOAUTH2"), ("OAuthBearer", "OAUTHBEARER")],
)
def test_both_mechanisms(
    authorization: AuthorizationServer, dovecot: Dovecot, pair: Pair, mechanism: str, used: str
) -> None:
    before = len(dovecot.log())
    result = _engine(pair, _refreshed(dovecot, authorization, mechanism=mechanism)).run()
    assert result.exit_code == 0, result.said
    assert re.findall(r"Login: user=<alice>, method=(\w+)", dovecot.log()[before:]) == [used]


@pytest.mark.parametrize("mechanism", ["XOAuth2", "OAuthBearer"])
def test_a_token_of_another_user_is_refused_once(
    authorization: AuthorizationServer, dovecot: Dovecot, pair: Pair, mechanism: str
) -> None:
    asked, issued = authorization.introspected(), authorization.issued("delegated")
    source = replace(_refreshed(dovecot, authorization, mechanism=mechanism), user="bob")
    result = _engine(pair, source).run()
    assert (result.exit_code, authorization.introspected() - asked) == (77, 1), result.said
    assert authorization.issued("delegated") == issued + 1
    assert result.verdict
    assert result.verdict.reason == Reason.TOKEN_REFUSED
    assert "refused the access token for bob" in result.verdict.message


def test_a_run_outlives_three_tokens(pair: Pair) -> None:
    """Dovecot ends no session for its token's sake, so the line to it does; all else is real.

    The line is cut when the token that a connection logged in with has ended, by the authorization
    server's own account.
    """
    messages = [plain_message(number, size=20_000) for number in range(100)]
    rate = 100_000
    assert len(messages) * 20_000 / rate >= 4 * _LIFETIME  # seconds, at least
    with (
        run_authorization_server(lifetime=_LIFETIME, rotate=True) as authorization,
        run_dovecot(_settings(authorization)) as server,
        run_line(
            (server.host, server.tls_port), bytes_per_second=rate, end=authorization.end_of_token
        ) as line,
    ):
        with server.login("alice", "for the tests") as session:
            load(session, messages)
        source = replace(_refreshed(server, authorization), port=line.port)
        result = _engine(pair, source).run(timeout=300)
        assert result.exit_code == 0, result.said
        assert line.cuts >= 3
        assert authorization.issued("delegated") >= 4
        assert "connecting again" not in result.stdout  # no cut counted as a failure
        # Each login was checked there and then, and none was refused.
        assert authorization.introspected() == line.connections
        assert _refused(authorization) == []
        with server.login("alice", "for the tests") as old, pair.destination() as new:
            assert compare_mailboxes(old, new) == []
        assert result.report
        totals = result.report.verdict.totals
        assert (totals.copied, totals.skipped) == (len(messages), 0)
        # The server rotates: the first refresh token is of no use to the next run, which says so.
        assert "the Secret's is now old" in result.stdout
        again = _engine(pair, source).run()
        assert (again.exit_code, _reason(again.stdout)) == (77, Reason.TOKEN_REVOKED)


def test_the_command_probes_and_runs_with_tokens(
    authorization: AuthorizationServer, dovecot: Dovecot, pair: Pair, tmp_path: Path
) -> None:
    source, destination = _refreshed(dovecot, authorization), pair.destination_account()
    token = source.files["/token"]
    sides = {"source": source.wire("source"), "destination": destination.wire("destination")}
    documents = [
        _object("MailSync", "alice", apiVersion="mailsync.dev/v1alpha1", spec=sides),
        _object(
            "Secret",
            "token",
            stringData={"token": token, "clientSecret": source.files["/client-secret"]},
        ),
        _object("Secret", "destination-password", stringData={"password": destination.password}),
        _object("ConfigMap", "token-ca", data={"ca.crt": authorization.ca_pem}),
        _object("ConfigMap", "source-ca", data={"ca.crt": source.ca_pem}),
        _object("ConfigMap", "destination-ca", data={"ca.crt": destination.ca_pem}),
    ]
    path = tmp_path / "alice.yaml"
    path.write_text(yaml.safe_dump_all(documents))
    probed = _mailsync("probe", "-f", path, "--with-logins", "--trace")
    assert probed.returncode == 0, probed.stderr
    assert "mechanism OAUTHBEARER" in probed.stdout
    ran = _mailsync("run", "-f", path)
    assert ran.returncode == 0, ran.stderr
    with pair.destination() as session:
        assert session.select("INBOX")[1] == [b"2"]
    for said in (probed.stdout, probed.stderr, ran.stdout, ran.stderr):
        assert token not in said
        assert authorization.client_secret("delegated") not in said


def _object(kind: str, name: str, **fields: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, **fields}


def _mailsync(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mailsync_syncjob.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def _refused(authorization: AuthorizationServer) -> list[dict[str, Any]]:
    return [
        event.fields
        for event in authorization.events()
        if event.kind == "introspection" and not event.fields["active"]
    ]


def _reason(stdout: str) -> str:
    lines = [json.loads(line) for line in stdout.splitlines()]
    (report,) = [line["report"] for line in lines if "report" in line]
    return str(report["verdict"]["reason"])


def test_a_revoked_token_ends_the_run_with_its_reason(
    authorization: AuthorizationServer, dovecot: Dovecot, pair: Pair
) -> None:
    source = _refreshed(dovecot, authorization, "bob")
    token = authorization.refresh_tokens["bob delegated"]
    assert _engine(pair, source).run().exit_code == 0
    authorization.revoke(token, "delegated")
    logins, asked = dovecot.logins(), authorization.introspected()
    result = _engine(pair, source).run()
    assert result.exit_code == 77, result.said
    assert result.verdict
    assert result.verdict.reason == Reason.TOKEN_REVOKED
    assert result.verdict.side == "source"
    assert f"{authorization.token_url} refused the refresh token" in result.verdict.message
    assert "invalid_grant" in result.verdict.message
    # Nobody was logged in, and nothing secret was said.
    assert (dovecot.logins(), authorization.introspected()) == (logins, asked)
    for secret in (token, authorization.client_secret("delegated")):
        assert secret not in result.said


def test_a_refused_static_token_is_final(
    authorization: AuthorizationServer, dovecot: Dovecot, pair: Pair
) -> None:
    files = {"/token": "not-a-token-of-this-server\n"}
    source = _source(dovecot, authorization, files=files, grant="StaticToken")
    asked = authorization.introspected()
    result = _engine(pair, source).run()
    assert (result.exit_code, _reason(result.stdout)) == (77, Reason.TOKEN_REFUSED)
    assert authorization.introspected() == asked + 1


def test_a_wrong_client_secret_is_a_matter_of_configuration(
    authorization: AuthorizationServer, dovecot: Dovecot, pair: Pair
) -> None:
    source = _refreshed(dovecot, authorization)
    wrong = {**source.files, "/client-secret": "an-old-secret"}
    result = _engine(pair, replace(source, files=wrong)).run()
    assert result.exit_code == 78, result.said
    assert result.verdict
    assert "invalid_client" in result.verdict.message
    assert "an-old-secret" not in result.said


def test_an_authorization_server_of_another_ca_gets_nothing(
    authorization: AuthorizationServer, dovecot: Dovecot, pair: Pair
) -> None:
    source = _refreshed(dovecot, authorization)
    events = len(authorization.events())
    other = {**source.files, "-token-ca/ca.crt": dovecot.ca_pem}
    result = _engine(pair, replace(source, files=other)).run()
    assert (result.exit_code, _reason(result.stdout)) == (76, Reason.CERTIFICATE_NOT_TRUSTED)
    assert len(authorization.events()) == events

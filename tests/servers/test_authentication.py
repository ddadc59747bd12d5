"""Every mechanism against a real Dovecot: its log says which one was used, and by whom."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from mailsync_api.endpoint import MailAccount, Side
from mailsync_syncjob.clientcert import ClientCertificate
from mailsync_syncjob.credentials import Endpoint, Password
from mailsync_syncjob.errors import ConfigurationError, CredentialsError
from mailsync_syncjob.imap.session import open_session
from tests.support.dovecot import Dovecot, Settings, run_dovecot
from tests.support.engine import Account, Engine
from tests.support.mailbox import load, plain_message
from tests.support.odd_certificates import Wish, issue, key_pem
from tests.support.recorded import connector

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers.conftest import Pair

pytestmark = pytest.mark.servers

_ALL = "plain login cram-md5 scram-sha-1 scram-sha-256"
_PASSWORD = 'p\u00e4ss "word" \\ {5}'
_MASTER_PASSWORD = "the master's"
# Dovecot answers an address with many failed logins ever later.
_NO_PENALTY = "service anvil {\n  unix_listener anvil-auth-penalty {\n    mode = 0\n  }\n}"
_WEIRD = {
    "quotes": 'quote"and\\backslash\\"',
    "spaces": "  at both ends  ",
    "unicode": "sp\u00e4ce and \u00fcn\u00efcode \U0001f4ec \u65e5\u672c",
    "literal": "{5+}",
    "control": "bell\x07 and \x7f",
    "list": "(list) %* = , , =2C",
    # Not UTF-8: as surrogates in Python's texts, as single bytes in files and on the wire.
    "latin": b"gr\xfc\xdfe \xff".decode("utf-8", "surrogateescape"),
}


def _stored(scheme: str, password: str) -> str:
    """Return a password as Dovecot stores it under a scheme: it cannot be turned back."""
    command = ["doveadm", "pw", "-s", scheme, "-p", password]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="module")
def server() -> Iterator[Dovecot]:
    users = {"alice": _PASSWORD, "bob": "of bob", **_WEIRD}
    users |= {"stored1": _PASSWORD, "stored256": _PASSWORD, "storedmd5": _PASSWORD}
    verifiers = {
        "stored1": _stored("SCRAM-SHA-1", _PASSWORD),
        "stored256": _stored("SCRAM-SHA-256", _PASSWORD),
        "storedmd5": _stored("CRAM-MD5", _PASSWORD),
    }
    masters = {"admin": _MASTER_PASSWORD}
    settings = Settings(
        users=users, verifiers=verifiers, masters=masters, mechanisms=_ALL, extra=_NO_PENALTY
    )
    with run_dovecot(settings) as running:
        yield running


def _open(
    server: Dovecot, user: str, password: str, mode: str = "Implicit", **authentication: Any
) -> tuple[str, str]:
    """Log in, and return the user and the mechanism of the server's log."""
    before = len(server.log())
    tls: dict[str, Any] = {"mode": mode}
    if mode != "None":
        tls["caRef"] = {"name": "ca"}
    wire = {
        "host": server.host,
        "port": server.tls_port if mode == "Implicit" else server.port,
        "username": user,
        "tls": tls,
        "authentication": {"secretRef": {"name": "x"}, **authentication},
    }
    secret = Password(password.encode("utf-8", "surrogateescape"))
    endpoint = Endpoint(Side.SOURCE, MailAccount.model_validate(wire), secret, ca_pem=server.ca_pem)
    session = open_session(endpoint, connector=connector())
    session.survey(sizes=False)
    session.close()
    (login,) = re.findall(r"Login: user=<([^>]+)>, method=([A-Z0-9-]+)", server.log()[before:])
    return login[0], login[1]


@pytest.mark.parametrize("mode", ["Implicit", "StartTLS"])
@pytest.mark.parametrize(
    ("mechanism", "used"),
    [
        ("Auto", "SCRAM-SHA-256"),
        ("Plain", "PLAIN"),
        ("Login", "LOGIN"),
        ("LoginCommand", "PLAIN"),  # Dovecot's name for the command
        ("CramMd5", "CRAM-MD5"),
        ("ScramSha1", "SCRAM-SHA-1"),
        ("ScramSha256", "SCRAM-SHA-256"),
    ],
)
def test_every_mechanism_logs_in(server: Dovecot, mechanism: str, used: str, mode: str) -> None:
    assert _open(server, "alice", _PASSWORD, mode, mechanism=mechanism) == ("alice", used)


@pytest.mark.parametrize(
    ("user", "mechanism"),
    [("stored1", "ScramSha1"), ("stored256", "ScramSha256"), ("storedmd5", "CramMd5")],
)
def test_the_server_needs_no_password_but_what_it_stores(
    server: Dovecot, user: str, mechanism: str
) -> None:
    assert _open(server, user, _PASSWORD, mechanism=mechanism)[0] == user


@pytest.mark.parametrize(
    "mechanism", ["Plain", "Login", "LoginCommand", "CramMd5", "ScramSha1", "ScramSha256"]
)
@pytest.mark.parametrize("user", _WEIRD)
def test_passwords_of_any_bytes_arrive(server: Dovecot, user: str, mechanism: str) -> None:
    assert _open(server, user, _WEIRD[user], mechanism=mechanism)[0] == user


@pytest.mark.parametrize(
    "mechanism", ["Auto", "Plain", "Login", "LoginCommand", "CramMd5", "ScramSha1", "ScramSha256"]
)
def test_a_wrong_password_is_refused_and_nothing_else_is_tried(
    server: Dovecot, mechanism: str
) -> None:
    before = server.log().count("passwd-file(bob,")
    with pytest.raises(CredentialsError, match="refused the login of bob"):
        _open(server, "bob", "not of bob", mechanism=mechanism)
    # Dovecot's words differ between mechanisms; each names the user once for each attempt.
    assert server.log().count("passwd-file(bob,") - before <= 1
    assert "Login: user=<bob>" not in server.log()


@pytest.mark.parametrize("mechanism", ["Auto", "Plain"])
def test_an_administrator_opens_the_mailbox_of_another(server: Dovecot, mechanism: str) -> None:
    with run_dovecot(replace(server.settings, mechanisms="plain login")) as plain_server:
        opened = _open(
            plain_server,
            "admin",
            _MASTER_PASSWORD,
            mechanism=mechanism,
            authorizationIdentity="alice",
        )
    assert opened == ("alice", "PLAIN")


def test_an_administrator_proves_himself_with_scram(server: Dovecot) -> None:
    opened = _open(server, "admin", _MASTER_PASSWORD, authorizationIdentity="alice")
    assert opened == ("alice", "SCRAM-SHA-256")


def test_who_is_no_administrator_opens_no_other_mailbox(server: Dovecot) -> None:
    with pytest.raises(CredentialsError, match="bob for the mailbox of alice"):
        _open(server, "bob", "of bob", authorizationIdentity="alice")


def test_a_mechanism_that_is_not_there_is_a_matter_of_configuration(
    source_server: Dovecot,
) -> None:
    tried = source_server.logins()
    with pytest.raises(ConfigurationError, match=r"SCRAM-SHA-256.* It offers: AUTH=PLAIN, the"):
        _open(source_server, "user1", "x", mechanism="ScramSha256")
    with pytest.raises(ConfigurationError, match="EXTERNAL"):
        _open(source_server, "user1", "x", mechanism="External", secretRef=None)
    assert source_server.logins() == tried


@pytest.mark.parametrize(("mechanism", "used"), [("Auto", "SCRAM-SHA-256"), ("Plain", "PLAIN")])
def test_clear_text_is_spoken_when_the_policy_says_so(mechanism: str, used: str) -> None:
    settings = Settings(tls=False, clear_text_logins=True, mechanisms=_ALL)
    with run_dovecot(settings) as server:
        assert _open(server, "alice", "secret", "None", mechanism=mechanism)[1] == used


def test_in_clear_text_cram_md5_goes_before_plain() -> None:
    settings = Settings(tls=False, clear_text_logins=True, mechanisms="plain login cram-md5")
    with run_dovecot(settings) as server:
        assert _open(server, "alice", "secret", "None")[1] == "CRAM-MD5"


def test_an_administrator_migrates_a_mailbox(pair: Pair, server: Dovecot, tmp_path: Path) -> None:
    with server.login("alice", _PASSWORD) as session:
        load(session, [plain_message(1), plain_message(2)])
    source = replace(
        Account.at(server, "admin", _MASTER_PASSWORD),
        authentication={"authorizationIdentity": "alice"},
    )
    result = Engine(tmp_path, source, pair.destination_account()).run()
    assert result.exit_code == 0, result.said
    assert _MASTER_PASSWORD not in result.said
    with pair.destination() as session:
        assert session.select("INBOX")[1] == [b"2"]


def test_a_client_certificate_logs_in_without_a_password(tmp_path: Path) -> None:
    ca = issue(Wish((), "Client CA", ca=True))
    client = issue(Wish((), "alice", for_clients_only=True), by=ca)
    (tmp_path / "ca.pem").write_text(ca.pem)
    demand = (
        f"ssl_ca = <{tmp_path / 'ca.pem'}\nssl_verify_client_cert = yes\nssl_require_crl = no\n"
        "auth_ssl_require_client_cert = yes\nauth_ssl_username_from_cert = yes\n"
    )
    settings = Settings(
        users={"alice": ""},
        # No password at all, which Dovecot wants to be told (passwd-file's extra fields).
        verifiers={"alice": "::::::nopassword"},
        mechanisms="plain external",
        extra=demand,
    )
    with run_dovecot(settings) as server:
        account = MailAccount.model_validate(
            {
                "host": server.host,
                "port": server.tls_port,
                "tls": {"mode": "Implicit", "clientCertificateRef": {"name": "own"}},
                "username": "alice",
                "authentication": {"mechanism": "External"},
            }
        )
        shown = ClientCertificate(client.pem.encode(), key_pem(client.key))
        endpoint = Endpoint(
            Side.SOURCE, account, None, ca_pem=server.ca_pem, client_certificate=shown
        )
        session = open_session(endpoint, connector=connector())
        session.survey(sizes=False)
        session.close()
        assert "Login: user=<alice>, method=EXTERNAL" in server.log()

"""Nothing secret is said before the policy holds; a refusal is final. Dovecot's log has it."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from mailsync_api import names
from mailsync_syncjob.spki import spki_sha256
from tests.support.certificates import Authority
from tests.support.dovecot import Dovecot, Settings, run_dovecot
from tests.support.engine import Account, Engine
from tests.support.mailbox import load, plain_message
from tests.support.odd_certificates import Wish, issue, key_pem

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.conftest import Pair
    from tests.support.engine import Result

pytestmark = pytest.mark.servers

_PASSWORD = "a secret nobody says"


@dataclass(frozen=True, slots=True)
class Guarded:
    """A server that is only met in vain, so that any login in its log is a failure."""

    server: Dovecot
    directory: Path

    def run(self, *, ca_pem: str | None = None, host: str | None = None, **tls: Any) -> Result:
        """Run from it to the same place; what the policy refuses ends before any login."""
        account = Account.at(self.server, "alice", _PASSWORD, **tls)
        changed = Account(
            host or account.host,
            account.port,
            account.user,
            account.password,
            account.ca_pem if ca_pem is None else ca_pem,
            account.tls,
        )
        other = Account("127.0.0.1", 1, "bob", "unused")
        return Engine(self.directory, changed, other).run()


def _refused(result: Result, reason: str, *, code: int = 76) -> None:
    assert result.exit_code == code, result.said
    assert result.verdict is not None
    assert (result.verdict.reason, result.verdict.side) == (reason, "source")
    assert _PASSWORD not in result.said


@pytest.fixture
def guarded(tmp_path: Path, source_server: Dovecot) -> Guarded:
    return Guarded(source_server, tmp_path)


@pytest.mark.parametrize("mode", ["Implicit", "StartTLS"])
def test_a_certificate_of_another_ca_is_refused(
    guarded: Guarded, mode: str, tmp_path: Path
) -> None:
    before = guarded.server.logins()
    result = guarded.run(ca_pem=Authority(tmp_path).pem, mode=mode)
    _refused(result, "CertificateNotTrusted")
    assert guarded.server.logins() == before


@pytest.mark.parametrize("mode", ["Implicit", "StartTLS"])
def test_a_certificate_for_another_name_is_refused(guarded: Guarded, mode: str) -> None:
    before = guarded.server.logins()
    _refused(guarded.run(mode=mode, serverName="imap.example.org"), "CertificateNameMismatch")
    assert guarded.server.logins() == before


def test_the_system_does_not_know_a_ca_of_ours(guarded: Guarded) -> None:
    before = guarded.server.logins()
    _refused(guarded.run(ca_pem=""), "CertificateNotTrusted")
    assert guarded.server.logins() == before


def test_an_expired_certificate_is_refused(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    authority = Authority(tmp_path)
    pair = authority.issue(
        "127.0.0.2", not_before=now - timedelta(days=9), not_after=now - timedelta(days=1)
    )
    with run_dovecot(Settings(key_pair=pair)) as server:
        _refused(Guarded(server, tmp_path).run(ca_pem=authority.pem), "CertificateExpired")
        assert server.logins() == 0


def test_a_server_without_starttls_is_not_spoken_to_in_clear_text(tmp_path: Path) -> None:
    with run_dovecot(Settings(tls=False, clear_text_logins=True)) as server:
        _refused(Guarded(server, tmp_path).run(mode="StartTLS"), "StartTLSNotOffered")
        assert server.logins() == 0


def test_implicit_tls_to_a_port_in_clear_text_is_named(guarded: Guarded) -> None:
    before = guarded.server.logins()
    account = Account.at(guarded.server, "alice", _PASSWORD)
    wrong = Account(account.host, guarded.server.port, "alice", _PASSWORD, account.ca_pem)
    other = Account("127.0.0.1", 1, "bob", "unused")
    _refused(Engine(guarded.directory, wrong, other).run(), "TLSNotSpoken")
    assert guarded.server.logins() == before


def test_a_server_that_takes_no_password_in_clear_text_is_obeyed(guarded: Guarded) -> None:
    before = guarded.server.logins()
    _refused(guarded.run(mode="None"), "InvalidConfiguration", code=78)
    assert guarded.server.logins() == before


def test_nobody_there_is_unreachable(guarded: Guarded) -> None:
    other = Account("127.0.0.1", 1, "bob", "unused")
    _refused(Engine(guarded.directory, other, other).run(), "Unreachable", code=69)


def test_a_wrong_password_is_tried_once_and_never_repeated(pair: Pair) -> None:
    wrong = Account.at(pair.source_server, pair.user, _PASSWORD)
    result = Engine(pair.directory, wrong, pair.destination_account()).run()
    _refused(result, "CredentialsRefused", code=77)
    assert pair.source_server.logins(pair.user) == 1
    assert pair.destination_server.logins(pair.user) <= 1


def test_a_wrong_password_at_the_destination_is_told_apart(pair: Pair) -> None:
    wrong = Account.at(pair.destination_server, pair.user, _PASSWORD)
    result = Engine(pair.directory, pair.source_account(), wrong).run()
    assert result.exit_code == 77
    assert result.verdict is not None
    assert result.verdict.side == "destination"
    assert pair.destination_server.logins(pair.user) == 1


def test_every_policy_that_holds_lets_the_run_go_on(pair: Pair) -> None:
    with pair.source() as session:
        load(session, [plain_message(1)])
    policies: list[dict[str, Any]] = [
        {"mode": "Implicit"},
        {"mode": "StartTLS", "minVersion": "TLSv1.3"},
        {"mode": "Implicit", "verify": "ChainOnly", "serverName": "elsewhere.example.org"},
        {"mode": "StartTLS", "verify": "None"},
        {"mode": "Implicit", "serverName": "localhost"},
        {"mode": "Auto"},
        {"mode": "Opportunistic", "maxVersion": "TLSv1.2", "ciphers": "ECDHE+CHACHA20"},
        {"mode": "Implicit", "verify": "None", "pinnedSpkiSha256": [_pin(pair)]},
    ]
    for policy in policies:
        source = pair.source_account(**policy)
        result = Engine(pair.directory, source, pair.destination_account()).run()
        assert result.exit_code == 0, (policy, result.said)
        assert result.verdict is not None
        facts = result.verdict.tls.source
        assert facts is not None
        assert facts.secured
        assert facts.verified == policy.get("verify", "Full")
        # Dovecot's first port speaks clear text and offers STARTTLS there.
        found = "StartTLS" if policy["mode"] in {"Auto", "Opportunistic"} else policy["mode"]
        assert facts.mode == found
        assert facts.pinned == ("pinnedSpkiSha256" in policy)
        if "ciphers" in policy:
            assert (facts.protocol, "CHACHA20" in (facts.cipher or "")) == ("TLSv1.2", True)


def _pin(pair: Pair) -> str:
    address = (pair.source_server.host, pair.source_server.tls_port)
    return spki_sha256(ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(address)))


@pytest.mark.parametrize("mode", ["Auto", "Opportunistic"])
def test_a_server_without_tls(pair: Pair, mode: str) -> None:
    with run_dovecot(Settings(tls=False, clear_text_logins=True)) as server:
        source = Account.at(server, "alice", "secret", mode=mode)
        result = Engine(pair.directory, source, pair.destination_account()).run()
        logins = server.logins("alice")
    assert result.verdict is not None
    if mode == "Auto":
        assert (result.exit_code, result.verdict.reason) == (76, "StartTLSNotOffered")
        assert logins == 0
        return
    assert result.exit_code == 0, result.said
    facts = result.verdict.tls.source
    assert facts is not None
    assert (facts.mode, facts.secured) == ("Opportunistic", False)


@pytest.mark.parametrize("mode", ["Implicit", "StartTLS"])
def test_a_server_that_demands_a_client_certificate(pair: Pair, tmp_path: Path, mode: str) -> None:
    ca = issue(Wish((), "Client CA", ca=True))
    client = issue(Wish((), "alice", for_clients_only=True), by=ca)
    (tmp_path / "ca.pem").write_text(ca.pem)
    demand = (
        f"ssl_ca = <{tmp_path / 'ca.pem'}\nssl_verify_client_cert = yes\n"
        "ssl_require_crl = no\nauth_ssl_require_client_cert = yes\n"
    )
    files = pair.directory / "source-client"
    files.mkdir()
    (files / names.CLIENT_CERTIFICATE_FILE_NAME).write_text(client.pem)
    (files / names.CLIENT_KEY_FILE_NAME).write_bytes(key_pem(client.key))
    shown = {"mode": mode, "clientCertificateRef": {"name": "own"}}
    with run_dovecot(Settings(extra=demand)) as server:
        for tls, code in (({"mode": mode}, 77), (shown, 0)):
            source = Account.at(server, "alice", "secret", **tls)
            result = Engine(pair.directory, source, pair.destination_account()).run()
            assert result.exit_code == code, result.said
            assert "PRIVATE" not in result.said


def test_clear_text_is_used_when_asked_for_and_said(pair: Pair) -> None:
    with run_dovecot(Settings(tls=False, clear_text_logins=True)) as server:
        source = Account.at(server, "alice", "secret", mode="None")
        result = Engine(pair.directory, source, pair.destination_account()).run()
    assert result.exit_code == 0, result.said
    assert result.verdict is not None
    facts = result.verdict.tls.source
    assert facts is not None
    assert not facts.secured


@pytest.mark.parametrize(
    "password",
    ['quote"and\\backslash', "späce and ünïcode", "{5}", "(list) %*", "\u0007bell"],
    # pytest puts a test's name into the environment of what it starts.
    ids=["quotes", "not ASCII", "a literal's size", "a list", "a control character"],
)
def test_passwords_of_any_characters_arrive(pair: Pair, password: str, tmp_path: Path) -> None:
    with run_dovecot(Settings(users={"alice": password})) as server:
        source = Account.at(server, "alice", password)
        result = Engine(tmp_path, source, pair.destination_account()).run()
    assert result.exit_code == 0, result.said


def test_no_password_in_anything_that_is_said(pair: Pair) -> None:
    with pair.source() as session:
        load(session, [plain_message(1)])
    result = pair.engine().run()
    assert result.exit_code == 0
    assert pair.source_password not in result.said
    assert pair.destination_password not in result.said


@pytest.mark.parametrize("content", ["", None], ids=["empty", "missing"])
def test_a_password_file_that_cannot_be_used_is_named(pair: Pair, content: str | None) -> None:
    engine = pair.engine()
    file = pair.directory / "source" / "password"
    file.unlink()
    if content is not None:
        file.write_text(content)
    result = engine.run()
    assert result.exit_code == 78
    assert result.verdict is not None
    assert str(file) in result.verdict.message
    assert pair.source_server.logins(pair.user) == 0

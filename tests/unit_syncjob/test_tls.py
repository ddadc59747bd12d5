"""From the policy to the context, field by field; from a refused handshake to its reason."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

from mailsync_api.conditions import Reason
from mailsync_api.endpoint import Side, TLSPolicy
from mailsync_syncjob.errors import ConfigurationError, EngineError
from mailsync_syncjob.imap.session import open_session
from mailsync_syncjob.tls import make_context, policy_error, server_name
from tests.support.certificates import Authority
from tests.support.recorded import connector, endpoint
from tests.support.scripted import TinyServer, serve


def _context(ca_pem: str | None = None, **policy: Any) -> ssl.SSLContext:
    return make_context(TLSPolicy.model_validate(policy), ca_pem=ca_pem, side=Side.SOURCE)


@pytest.mark.parametrize(
    ("verify", "mode", "checks_name"),
    [
        ("Full", ssl.CERT_REQUIRED, True),
        ("ChainOnly", ssl.CERT_REQUIRED, False),
        ("None", ssl.CERT_NONE, False),
    ],
)
def test_verify(verify: str, mode: ssl.VerifyMode, *, checks_name: bool) -> None:
    context = _context(verify=verify)
    assert context.verify_mode is mode
    assert context.check_hostname is checks_name


def test_the_default_verifies_everything() -> None:
    context = _context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname is True


@pytest.mark.parametrize(
    ("version", "minimum"),
    [("TLSv1.2", ssl.TLSVersion.TLSv1_2), ("TLSv1.3", ssl.TLSVersion.TLSv1_3)],
)
def test_min_version(version: str, minimum: ssl.TLSVersion) -> None:
    assert _context(minVersion=version).minimum_version is minimum


def test_what_is_set_and_not_left_to_the_distribution() -> None:
    context = _context()
    assert context.hostname_checks_common_name is False
    assert context.security_level == 2
    assert context.options & ssl.OP_NO_COMPRESSION
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert context.verify_flags & ssl.VerifyFlags.VERIFY_X509_TRUSTED_FIRST
    assert context.protocol is ssl.PROTOCOL_TLS_CLIENT


def test_a_ca_replaces_the_systems(authority: Authority) -> None:
    context = _context(authority.pem)
    assert len(context.get_ca_certs()) == 1
    assert context.verify_flags & ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN


@pytest.mark.parametrize("pem", ["", "no pem", "-----BEGIN CERTIFICATE-----\nx\n"])
def test_a_ca_that_cannot_be_read_is_the_configurations_fault(pem: str) -> None:
    with pytest.raises(ConfigurationError, match=r"source\.tls\.caRef"):
        _context(pem)


@pytest.mark.parametrize(
    ("host", "policy", "name"),
    [
        ("imap.example.org", {}, "imap.example.org"),
        ("imap.example.org.", {}, "imap.example.org"),
        ("10.0.0.1", {"serverName": "imap.example.org"}, "imap.example.org"),
        ("::1", {}, "::1"),
    ],
)
def test_the_name_that_is_verified(host: str, policy: dict[str, str], name: str) -> None:
    assert server_name(endpoint(993, host=host, tls={"mode": "Implicit", **policy})) == name


def _verification_error(code: int) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, "as OpenSSL says it"
    return error


def _other_error(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, reason)
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (_verification_error(9), Reason.CERTIFICATE_NOT_YET_VALID),
        (_verification_error(10), Reason.CERTIFICATE_EXPIRED),
        (_verification_error(18), Reason.CERTIFICATE_NOT_TRUSTED),
        (_verification_error(20), Reason.CERTIFICATE_NOT_TRUSTED),
        (_verification_error(62), Reason.CERTIFICATE_NAME_MISMATCH),
        (_verification_error(64), Reason.CERTIFICATE_NAME_MISMATCH),
        (_other_error("WRONG_VERSION_NUMBER"), Reason.TLS_NOT_SPOKEN),
        (_other_error("TLSV1_ALERT_PROTOCOL_VERSION"), Reason.TLS_HANDSHAKE_FAILED),
        (_other_error("SSLV3_ALERT_HANDSHAKE_FAILURE"), Reason.TLS_HANDSHAKE_FAILED),
    ],
)
def test_reasons(error: ssl.SSLError, reason: Reason) -> None:
    result = policy_error(error, endpoint=endpoint(993, tls={"mode": "Implicit"}))
    assert result.reason is reason
    assert "no credentials were sent" in result.message


def _log_in(names: tuple[str, ...], authority: Authority, ca_pem: str, **tls: Any) -> None:
    with serve(TinyServer(), key_pair=authority.issue(*names), implicit_tls=True) as script:
        account = endpoint(script.port, ca_pem=ca_pem, tls={"mode": "Implicit", **tls})
        session = open_session(account, connector=connector())
        facts = session.facts
        session.close()
    assert facts.secured
    assert facts.sha256 is not None
    assert facts.protocol in {"TLSv1.2", "TLSv1.3"}


@pytest.mark.parametrize("mistake", ["localhost.evil.org", "*.org", "127.0.0.2"])
def test_a_name_that_only_resembles_is_refused(mistake: str, authority: Authority) -> None:
    with pytest.raises(EngineError) as caught:
        _log_in((mistake,), authority, authority.pem, serverName="localhost")
    assert caught.value.reason is Reason.CERTIFICATE_NAME_MISMATCH


def test_an_address_needs_the_address_in_the_certificate(authority: Authority) -> None:
    _log_in(("127.0.0.1",), authority, authority.pem)
    with pytest.raises(EngineError) as caught:
        _log_in(("localhost",), authority, authority.pem)
    assert caught.value.reason is Reason.CERTIFICATE_NAME_MISMATCH


def test_chain_only_takes_any_name_but_not_any_ca(authority: Authority, tmp_path: Any) -> None:
    _log_in(("elsewhere.example.org",), authority, authority.pem, verify="ChainOnly")
    with pytest.raises(EngineError) as caught:
        _log_in(("127.0.0.1",), authority, Authority(tmp_path).pem, verify="ChainOnly")
    assert caught.value.reason is Reason.CERTIFICATE_NOT_TRUSTED


def test_a_common_name_is_no_host_name(authority: Authority) -> None:
    names = ("other.example.org",)
    pair = authority.issue(*names, common_name="localhost")
    with serve(TinyServer(), key_pair=pair, implicit_tls=True) as script:
        account = endpoint(
            script.port, ca_pem=authority.pem, tls={"mode": "Implicit", "serverName": "localhost"}
        )
        with pytest.raises(EngineError) as caught:
            open_session(account, connector=connector())
    assert caught.value.reason is Reason.CERTIFICATE_NAME_MISMATCH

"""From the policy to the context, field by field; from a refused handshake to its reason."""

from __future__ import annotations

import base64
import hashlib
import os
import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st

from mailsync_api.conditions import Reason
from mailsync_api.endpoint import Side, TLSPolicy
from mailsync_syncjob.clientcert import ClientCertificate
from mailsync_syncjob.errors import ConfigurationError, EngineError
from mailsync_syncjob.imap.session import open_session
from mailsync_syncjob.spki import spki_sha256
from mailsync_syncjob.tls import make_context, policy_error, server_name
from tests.support.certificates import Authority, KeyPair
from tests.support.odd_certificates import Wish, issue, key_pem, new_key
from tests.support.recorded import connector, endpoint
from tests.support.scripted import TinyServer, serve

_DER = issue(Wish()).certificate.public_bytes(serialization.Encoding.DER)


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
    [
        ("TLSv1.0", ssl.TLSVersion.TLSv1),
        ("TLSv1.1", ssl.TLSVersion.TLSv1_1),
        ("TLSv1.2", ssl.TLSVersion.TLSv1_2),
        ("TLSv1.3", ssl.TLSVersion.TLSv1_3),
    ],
)
def test_versions(version: str, minimum: ssl.TLSVersion) -> None:
    level = 0 if version in {"TLSv1.0", "TLSv1.1"} else 2
    context = _context(minVersion=version, securityLevel=level)
    assert context.minimum_version is minimum
    assert context.maximum_version is ssl.TLSVersion.MAXIMUM_SUPPORTED
    context = _context(minVersion=version, maxVersion=version, securityLevel=level)
    assert (context.minimum_version, context.maximum_version) == (minimum, minimum)


@pytest.mark.parametrize("level", range(6))
def test_security_level(level: int) -> None:
    assert _context(securityLevel=level).security_level == level


def _ciphers(**policy: Any) -> set[str]:
    return {cipher["name"] for cipher in _context(**policy).get_ciphers()}


def test_ciphers() -> None:
    offered = _ciphers(ciphers="ECDHE-RSA-AES128-GCM-SHA256, ECDHE+CHACHA20")
    old = {name for name in offered if not name.startswith("TLS_")}
    assert old == {
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-RSA-CHACHA20-POLY1305",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
    }


def test_no_list_offers_ciphers_without_a_certificate_or_without_encryption() -> None:
    for policy in ({"ciphers": "ALL:aNULL:eNULL"}, {"ciphers": "ALL:COMPLEMENTOFALL"}, {}):
        offered = _ciphers(securityLevel=0, **policy)
        assert offered
        assert not {n for n in offered if n.startswith(("ADH", "AECDH")) or "NULL" in n}


@pytest.mark.parametrize("ciphers", ["NO-SUCH-CIPHER", "aNULL", "RC4"])
def test_a_list_that_leaves_nothing_is_the_configurations_fault(ciphers: str) -> None:
    with pytest.raises(ConfigurationError, match=r"source\.tls\.ciphers") as caught:
        _context(ciphers=ciphers)
    assert ciphers in caught.value.message


def _client_context(client: ClientCertificate) -> ssl.SSLContext:
    return make_context(TLSPolicy(), ca_pem=None, side=Side.SOURCE, client=client)


def test_a_client_certificate_and_its_file_that_does_not_stay(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own = issue(Wish())
    client = ClientCertificate(own.pem.encode().rstrip(), key_pem(own.key))
    _client_context(client)
    opened = [str(each.resolve()) for each in Path("/proc/self/fd").iterdir()]
    assert opened
    assert not [path for path in opened if "client-certificate" in path]
    # Where there is no memfd_create: a file that only its owner can read, and that is gone again.
    monkeypatch.delattr(os, "memfd_create")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    _client_context(client)
    assert list(tmp_path.iterdir()) == []
    assert "PRIVATE" not in repr(client)


@pytest.mark.parametrize(
    ("certificate", "key", "words"),
    [
        ("own", "another", "key values mismatch"),
        ("own", "encrypted", "passphrase"),
        ("own", "garbage", "PEM"),
        ("garbage", "own", "PEM"),
        ("weak", "weak", "securityLevel"),
    ],
)
def test_a_client_certificate_that_cannot_be_used(certificate: str, key: str, words: str) -> None:
    own, weak = issue(Wish()), issue(Wish(key="rsa1024"))
    certificates = {"own": own.pem.encode(), "garbage": b"x", "weak": weak.pem.encode()}
    keys = {
        "own": key_pem(own.key),
        "another": key_pem(new_key("ec")),
        "encrypted": key_pem(own.key, passphrase=b"word"),
        "garbage": b"x",
        "weak": key_pem(weak.key),
    }
    with pytest.raises(ConfigurationError, match=r"source\.tls\.clientCertificateRef") as caught:
        _client_context(ClientCertificate(certificates[certificate], keys[key]))
    assert words in caught.value.message


@pytest.mark.parametrize("key", ["ec", "ed25519", "rsa2048", "rsa1024"])
@pytest.mark.parametrize("names", [(), ("a.example.org",) * 40], ids=["short", "long"])
def test_the_public_keys_hash_is_that_of_another_implementation(
    key: str, names: tuple[str, ...]
) -> None:
    own = issue(Wish(names, key=key))
    spki = own.certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    expected = base64.b64encode(hashlib.sha256(spki).digest()).decode()
    assert spki_sha256(own.certificate.public_bytes(serialization.Encoding.DER)) == expected


@given(st.binary(max_size=64) | st.integers(0, len(_DER) - 1).map(lambda end: _DER[:end]))
def test_what_is_no_certificate_has_no_hash(data: bytes) -> None:
    with pytest.raises(ValueError, match="certificate"):
        spki_sha256(data)


def test_facts_of_a_pinned_connection(authority: Authority, key_pair: KeyPair) -> None:
    pem = key_pair.certificate.read_text()
    pin = spki_sha256(ssl.PEM_cert_to_DER_cert(pem[: pem.index("-----END") + 26]))
    with serve(TinyServer(), key_pair=key_pair, implicit_tls=True) as script:
        for pins in ([], [pin]):
            tls = {"mode": "Implicit", "pinnedSpkiSha256": pins}
            session = open_session(
                endpoint(script.port, ca_pem=authority.pem, tls=tls), connector=connector()
            )
            session.close()
            assert (session.facts.spki_sha256, session.facts.pinned) == (pin, bool(pins))


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
        (_verification_error(66), Reason.CERTIFICATE_TOO_WEAK),
        (_verification_error(67), Reason.CERTIFICATE_TOO_WEAK),
        (_verification_error(68), Reason.CERTIFICATE_TOO_WEAK),
        (_other_error("WRONG_VERSION_NUMBER"), Reason.TLS_NOT_SPOKEN),
        (_other_error("TLSV1_ALERT_PROTOCOL_VERSION"), Reason.TLS_HANDSHAKE_FAILED),
        (_other_error("SSLV3_ALERT_HANDSHAKE_FAILURE"), Reason.TLS_HANDSHAKE_FAILED),
        (_other_error("TLSV13_ALERT_CERTIFICATE_REQUIRED"), Reason.CLIENT_CERTIFICATE_REFUSED),
        (_other_error("TLSV1_ALERT_UNKNOWN_CA"), Reason.CLIENT_CERTIFICATE_REFUSED),
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

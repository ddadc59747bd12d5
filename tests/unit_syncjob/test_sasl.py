"""The exchanges by themselves: the RFCs' own examples, and every way to deviate from them."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime
from typing import Literal

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from mailsync_syncjob.imap.binding import Binding, certificate_hash
from mailsync_syncjob.imap.sasl import (
    CramMd5,
    ExchangeError,
    Identity,
    external,
    login,
    oauthbearer,
    plain,
    xoauth2,
)
from mailsync_syncjob.imap.scram import MAX_ITERATIONS, MIN_ITERATIONS, Scram, prepare
from tests.support.scram import ScramServer

_PENCIL = Identity(b"user", b"pencil")
_NONCE_1 = b"fyko+d2lbbFgONRv9qkxdawL"
_FIRST_1 = b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096"

# ---- the RFCs' examples --------------------------------------------------------------------------


def test_rfc_5802_section_5() -> None:
    scram = Scram(_PENCIL, "sha1", nonce=_NONCE_1)
    assert scram.first() == b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL"
    assert scram.answer(_FIRST_1) == (
        b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts="
    )
    assert not scram.complete
    assert scram.answer(b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=") == b""
    assert scram.complete


def test_rfc_7677_section_3() -> None:
    scram = Scram(_PENCIL, "sha256", nonce=b"rOprNGfwEbeRWgbNEkqO")
    assert scram.first() == b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
    nonce = b"rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    assert scram.answer(b"r=" + nonce + b",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096") == (
        b"c=biws,r=" + nonce + b",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    )
    assert scram.answer(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=") == b""


def test_rfc_2195_section_2() -> None:
    exchange = CramMd5(Identity(b"tim", b"tanstaaftanstaaf"))
    assert exchange.first() is None
    assert exchange.answer(b"<1896.697170952@postoffice.reston.mci.net>") == (
        b"tim b913a602c7eda7a495b4e6e7334d3890"
    )
    assert exchange.complete


def test_rfc_4616_section_4() -> None:
    assert plain(Identity(b"tim", b"tanstaaftanstaaf")).first() == b"\0tim\0tanstaaftanstaaf"
    administrator = Identity(b"Kurt", b"xipj3plmq", b"Ursel")
    assert plain(administrator).first() == b"Ursel\0Kurt\0xipj3plmq"


_TOKEN = b"vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="


def test_rfc_7628_section_4() -> None:
    exchange = oauthbearer(
        Identity(b"user@example.com", _TOKEN), host="server.example.com", port=143
    )
    assert exchange.first() == (
        b"n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=Bearer "
        + _TOKEN
        + b"\x01\x01"
    )
    assert exchange.complete
    # Section 4.3: the reason is acknowledged with ^A, and there is no success after it.
    challenge = base64.b64decode(
        "eyJzdGF0dXMiOiJpbnZhbGlkX3Rva2VuIiwic2NvcGUiOiJleGFtcGxlX3Njb3BlIiwib3BlbmlkLWNvbmZpZ3Vy"
        "YXRpb24iOiJodHRwczovL2V4YW1wbGUuY29tLy53ZWxsLWtub3duL29wZW5pZC1jb25maWd1cmF0aW9uIn0="
    )
    assert exchange.answer(challenge) == b"\x01"
    refusal = "status invalid_token, scope example_scope"
    assert (exchange.refusal, exchange.complete) == (refusal, False)
    assert exchange.answer(challenge) is None


def test_xoauth2_as_google_describes_it() -> None:
    exchange = xoauth2(
        Identity(b"someuser@example.com", b"ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29t")
    )
    first = exchange.first()
    assert first is not None
    assert base64.b64encode(first) == (
        b"dXNlcj1zb21ldXNlckBleGFtcGxlLmNvbQFhdXRoPUJlYXJlciB5YTI5LnZGOWRmdDRxbVRjMk52YjNSbGNrQmhkSFJo"
        b"ZG1semRHRXVZMjl0AQE="
    )
    challenge = b'{"status":"401","schemes":"bearer mac","scope":"https://mail.google.com/"}\n'
    assert exchange.answer(challenge) == b""
    assert exchange.refusal == "status 401, scope https://mail.google.com/"


@pytest.mark.parametrize(
    "challenge",
    [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"status": {}, "scope": null}'],
)
def test_a_reason_that_is_none_is_acknowledged_all_the_same(challenge: bytes) -> None:
    exchange = xoauth2(_PENCIL)
    exchange.first()
    assert (exchange.answer(challenge), exchange.refusal) == (b"", "")


def test_no_name_ends_its_field_in_oauthbearer() -> None:
    first = oauthbearer(Identity(b"a=b,c", b"t"), host="h", port=1).first()
    assert first is not None
    assert first.startswith(b"n,a=a=3Db=2Cc,\x01")


@pytest.mark.parametrize(
    ("given_text", "prepared"),
    [
        # RFC 4013 section 3.
        ("I\u00adX", "IX"),
        ("user", "user"),
        ("USER", "USER"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        # Prohibited and bidirectional: as they are.
        ("\u0007", "\u0007"),
        ("\u06271", "\u06271"),
        # Not known to Unicode 3.2: allowed in a query.
        ("\U0001f4ec", "\U0001f4ec"),
        ("a\u00a0b", "a b"),
        ("\u00ad", "\u00ad"),
    ],
)
def test_saslprep(given_text: str, prepared: str) -> None:
    assert prepare(given_text.encode()) == prepared.encode()


def test_what_is_no_utf_8_is_left_alone() -> None:
    assert prepare(b"gr\xfc\xdfe") == b"gr\xfc\xdfe"


# ---- against a server of the test's own, which knows the password --------------------------------


@settings(deadline=None, max_examples=50)
@given(
    password=st.one_of(st.binary(min_size=1), st.text(min_size=1).map(str.encode)),
    user=st.text(st.characters(min_codepoint=0x20, codec="utf-8"), min_size=1),
    digest=st.sampled_from(["sha1", "sha256"]),
)
def test_any_password_and_name(
    password: bytes, user: str, digest: Literal["sha1", "sha256"]
) -> None:
    server = ScramServer(digest, prepare(password))
    scram = Scram(Identity(user.encode(), password), digest)
    first = scram.first()
    name = first.removeprefix(b"n,,n=").rpartition(b",r=")[0]
    assert b"," not in name
    assert name.replace(b"=2C", b",").replace(b"=3D", b"=") == prepare(user.encode())
    final = scram.answer(server.first(first))
    assert final is not None
    assert scram.answer(server.final(final)) == b""
    assert scram.complete


@given(password=st.binary(), user=st.binary(), authorized=st.binary())
def test_plain_and_login_carry_bytes_as_they_are(
    password: bytes, user: bytes, authorized: bytes
) -> None:
    identity = Identity(user, password, authorized)
    assert plain(identity).first() == authorized + b"\0" + user + b"\0" + password
    exchange = login(identity)
    assert [exchange.first(), exchange.answer(b"?"), exchange.answer(b"?")] == [
        None,
        user,
        password,
    ]
    assert exchange.answer(b"once more") is None


def test_scram_carries_the_administrator_and_the_binding() -> None:
    binding = Binding("tls-unique", b"\x01\x02")
    server = ScramServer("sha256", b"word")
    scram = Scram(Identity(b"admin", b"word", b"a,b=c"), "sha256", binding=binding)
    first = scram.first()
    assert first.startswith(b"p=tls-unique,a=a=2Cb=3Dc,n=admin,r=")
    final = scram.answer(server.first(first))
    assert final is not None
    assert scram.answer(server.final(final, binding=b"\x01\x02")) == b""


def test_the_client_says_that_it_could_have_bound() -> None:
    assert Scram(_PENCIL, "sha256", unbound="y").first().startswith(b"y,,n=user,r=")


def test_two_logins_have_different_nonces() -> None:
    assert Scram(_PENCIL, "sha256").first() != Scram(_PENCIL, "sha256").first()


@pytest.mark.parametrize(
    "challenge",
    [
        b"",
        b"nonsense",
        b"m=ext," + _FIRST_1,
        b"r=" + _NONCE_1 + b",s=QSXCR+Q6sek8bf92,i=4096",
        b"r=fyko,s=QSXCR+Q6sek8bf92,i=4096",
        b"r=other" + _NONCE_1 + b"x,s=QSXCR+Q6sek8bf92,i=4096",
        _FIRST_1.replace(b"i=4096", b"i=1"),
        _FIRST_1.replace(b"i=4096", b"i=%d" % (MIN_ITERATIONS - 1)),
        _FIRST_1.replace(b"i=4096", b"i=%d" % (MAX_ITERATIONS + 1)),
        _FIRST_1.replace(b"i=4096", b"i=1000000000"),
        _FIRST_1.replace(b"i=4096", b"i=-4096"),
        _FIRST_1.replace(b"i=4096", b"i=" + b"9" * 5000),
        _FIRST_1.replace(b"s=QSXCR+Q6sek8bf92", b"s=QQQ"),
        b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
    ],
)
def test_a_first_challenge_that_is_not_safe_is_not_answered(challenge: bytes) -> None:
    with pytest.raises(ExchangeError):
        Scram(_PENCIL, "sha1", nonce=_NONCE_1).answer(challenge)


@pytest.mark.parametrize(
    "challenge",
    [
        b"v=rmF9pqV8S7suAoZWja4dJRkFsKU=",
        b"v=rmF9pqV8S7suAoZWja4dJRkFsA==",
        b"v=AAAA",
        b"v=A",
        b"v=",
        b"",
        _FIRST_1,
    ],
)
def test_a_server_that_does_not_know_the_password_is_found_out(challenge: bytes) -> None:
    scram = Scram(_PENCIL, "sha1", nonce=_NONCE_1)
    scram.answer(_FIRST_1)
    with pytest.raises(ExchangeError):
        scram.answer(challenge)
    assert not scram.complete


@pytest.mark.parametrize("at", [0, 1])
def test_an_error_of_the_server_is_cancelled_and_kept(at: int) -> None:
    scram = Scram(_PENCIL, "sha1", nonce=_NONCE_1)
    for challenge in [_FIRST_1][:at]:
        scram.answer(challenge)
    assert scram.answer(b"e=invalid-proof") is None
    assert (scram.refusal, scram.complete) == ("invalid-proof", False)


def test_one_challenge_too_many_is_cancelled() -> None:
    scram = Scram(_PENCIL, "sha1", nonce=_NONCE_1)
    scram.answer(_FIRST_1)
    scram.answer(b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=")
    assert scram.answer(_FIRST_1) is None
    cram = CramMd5(_PENCIL)
    cram.answer(b"<1@x>")
    assert cram.answer(b"<2@x>") is None
    anonymous = external(Identity(b"", b""))
    assert anonymous.first() == b""
    assert anonymous.answer(b"") is None


def test_cram_md5_does_not_sign_nothing() -> None:
    with pytest.raises(ExchangeError):
        CramMd5(_PENCIL).answer(b"")


def test_no_password_in_what_python_shows() -> None:
    assert "pencil" not in repr(_PENCIL)


# ---- the certificate's hash (RFC 5929 section 4.1) -----------------------------------------------


_KEYS: dict[str, CertificateIssuerPrivateKeyTypes] = {
    "rsa": rsa.generate_private_key(65537, 2048),
    "ec": ec.generate_private_key(ec.SECP256R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate(),
}


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        ("rsa", hashes.SHA224()),
        ("rsa", hashes.SHA256()),
        ("rsa", hashes.SHA384()),
        ("rsa", hashes.SHA512()),
        ("ec", hashes.SHA224()),
        ("ec", hashes.SHA256()),
        ("ec", hashes.SHA384()),
        ("ec", hashes.SHA512()),
        ("ed25519", None),
    ],
)
def test_the_certificate_is_hashed_as_it_was_signed(
    key: str, algorithm: hashes.SHA256 | None
) -> None:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x" * 60)])
    day = datetime(2026, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder(name, name, _KEYS[key].public_key(), 7, day, day)
    der = builder.sign(_KEYS[key], algorithm).public_bytes(Encoding.DER)
    expected = hashlib.new(algorithm.name, der).digest() if algorithm else None
    assert certificate_hash(der) == expected


@given(der=st.binary(max_size=40))
def test_what_is_no_certificate_has_no_hash(der: bytes) -> None:
    assert certificate_hash(der) is None

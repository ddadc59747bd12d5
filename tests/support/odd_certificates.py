"""Certificates that no good authority issues: weak keys, old hashes, missing names, self-signed."""

from __future__ import annotations

import ipaddress
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Issuer", "Key", "Wish", "issue", "issue_with_old_hash", "key_pem", "new_key"]

Key: TypeAlias = "rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey"


@dataclass(frozen=True, slots=True)
class Issuer:
    """Who signs: a CA, or the certificate itself."""

    certificate: x509.Certificate
    key: Key

    @property
    def pem(self) -> str:
        """The certificate as PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")


@dataclass(frozen=True, slots=True)
class Wish:
    """What a certificate is to be like; by default a good one for loopback."""

    names: tuple[str, ...] = ("127.0.0.1", "localhost")
    common_name: str = "mail"
    begins: timedelta = timedelta(days=-1)
    ends: timedelta = timedelta(days=30)
    key: str = "ec"
    ca: bool = False
    for_clients_only: bool = False


def new_key(kind: str) -> Key:
    """Return a key: ``ec``, ``ed25519`` or ``rsa`` with its bits."""
    if kind == "ec":
        return ec.generate_private_key(ec.SECP256R1())
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(65537, int(kind.removeprefix("rsa")))


def issue(wish: Wish, *, by: Issuer | None = None) -> Issuer:
    """Return a certificate with its key; self-signed without an issuer."""
    key = new_key(wish.key)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, wish.common_name)])
    now = datetime.now(UTC)
    signer = by.key if by else key
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.certificate.subject if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + wish.begins)
        .not_valid_after(now + wish.ends)
        .add_extension(x509.BasicConstraints(ca=wish.ca, path_length=None), critical=True)
    )
    if wish.names:
        names = x509.SubjectAlternativeName([_name(name) for name in wish.names])
        builder = builder.add_extension(names, critical=False)
    if wish.for_clients_only:
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
        builder = builder.add_extension(usage, critical=False)
    algorithm = None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return Issuer(builder.sign(signer, algorithm), key)


def issue_with_old_hash(name: str, *, by: Issuer, directory: Path) -> Issuer:
    """Return a certificate for loopback signed with SHA-1 or MD5, which only openssl still does."""
    key = new_key("ec")
    names = x509.SubjectAlternativeName([_name(name) for name in Wish().names])
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail")]))
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    (directory / "csr.pem").write_bytes(request.public_bytes(encoding))
    (directory / "ca.pem").write_text(by.pem)
    (directory / "ca.key").write_bytes(key_pem(by.key))
    said = subprocess.run(
        [
            *("openssl", "x509", "-req", f"-{name}", "-days", "30", "-copy_extensions", "copyall"),
            *("-in", "csr.pem", "-CA", "ca.pem", "-CAkey", "ca.key"),
        ],
        cwd=directory,
        capture_output=True,
        check=True,
    )
    return Issuer(x509.load_pem_x509_certificate(said.stdout), key)


def _name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def key_pem(key: Key, *, passphrase: bytes | None = None) -> bytes:
    """Return a key as PEM."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(passphrase)
        if passphrase
        else serialization.NoEncryption(),
    )

"""Throw-away certificate authorities for one run of the local cluster."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["Authority", "KeyPair", "write_signing_key"]

_VALID = dt.timedelta(days=365)
# Clocks of machines differ, and a certificate from the future is refused.
_BACKDATED = dt.timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class KeyPair:
    """Files of one certificate and its private key."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority whose files are in one folder."""

    folder: Path
    name: str
    _key: ec.EllipticCurvePrivateKey
    _certificate: x509.Certificate

    @classmethod
    def create(cls, folder: Path, name: str) -> Authority:
        """Make a new authority; its certificate becomes ``folder/NAME.crt``."""
        folder.mkdir(parents=True, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        builder = _builder(subject, subject, key).add_extension(constraints, critical=True)
        certificate = builder.sign(key, hashes.SHA256())
        authority = cls(folder, name, key, certificate)
        _write(authority.pair.certificate, certificate.public_bytes(serialization.Encoding.PEM))
        _write(authority.pair.key, _pem(key))
        return authority

    @property
    def pair(self) -> KeyPair:
        """The authority's own certificate and key."""
        return KeyPair(self.folder / f"{self.name}.crt", self.folder / f"{self.name}.key")

    def issue(
        self,
        file_name: str,
        common_name: str,
        *,
        organization: str = "",
        names: Sequence[str] = (),
        addresses: Sequence[str] = (),
    ) -> KeyPair:
        """Issue a certificate for a client, and for a server where names or addresses are given.

        Kubernetes reads the common name as the user and the organization as the user's group.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
        if organization:
            attributes.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
        builder = _builder(x509.Name(attributes), self._certificate.subject, key)
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
        if names or addresses:
            usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
            alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
            alternatives += [x509.IPAddress(ipaddress.ip_address(each)) for each in addresses]
            builder = builder.add_extension(
                x509.SubjectAlternativeName(alternatives), critical=False
            )
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        pair = KeyPair(self.folder / f"{file_name}.crt", self.folder / f"{file_name}.key")
        _write(pair.certificate, certificate.public_bytes(serialization.Encoding.PEM))
        _write(pair.key, _pem(key))
        return pair


def write_signing_key(path: Path) -> None:
    """Write a new private key that signs service account tokens."""
    key = ec.generate_private_key(ec.SECP256R1())
    # The API server takes the public half out of this form ("EC PRIVATE KEY") but not of PKCS 8.
    form = serialization.PrivateFormat.TraditionalOpenSSL
    encoding = serialization.Encoding.PEM
    _write(path, key.private_bytes(encoding, form, serialization.NoEncryption()))


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + _VALID)
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Never readable by others, not even for the moment before a chmod.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)

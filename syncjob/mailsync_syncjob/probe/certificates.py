"""Certificates as a server shows them, trusted or not, for people.

Python's ssl takes a certificate apart only after verifying it, and those that were refused are the
ones that people want to see.
"""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mailsync_api.probe import CertificateFacts
from mailsync_syncjob.spki import spki_sha256
from mailsync_syncjob.texts import sanitise

if TYPE_CHECKING:
    import ssl

    from cryptography import x509

__all__ = ["Link", "Shown", "peer_chain", "read_chain"]

_MAX_CHAIN: Final = 10
_MAX_NAMES: Final = 20
# The names that ssl.SSLSocket.getpeercert gives them, so that both look alike on a status.
_ATTRIBUTES: Final = {
    "2.5.4.3": "commonName",
    "2.5.4.5": "serialNumber",
    "2.5.4.6": "countryName",
    "2.5.4.7": "localityName",
    "2.5.4.8": "stateOrProvinceName",
    "2.5.4.10": "organizationName",
    "2.5.4.11": "organizationalUnitName",
    "1.2.840.113549.1.9.1": "emailAddress",
}


@dataclass(frozen=True, slots=True)
class Link:
    """One certificate of a chain."""

    facts: CertificateFacts
    signed_by: str
    """Who signed it, as far as the chain shows: itself, the next one, or one that was not sent."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What a server shows: its own certificate first."""

    links: tuple[Link, ...]
    names: tuple[str, ...]
    """The DNS names and IP addresses that its own is for."""

    @property
    def own(self) -> CertificateFacts:
        """The server's own."""
        return self.links[0].facts


def peer_chain(tls_socket: ssl.SSLSocket) -> tuple[bytes, ...]:
    """Return the certificates that the server sent, in DER, its own first."""
    public = getattr(tls_socket, "get_unverified_chain", None)  # Python 3.13
    if public is not None:
        return tuple(public() or ())[:_MAX_CHAIN]
    inner = getattr(tls_socket, "_sslobj", None)
    private = getattr(inner, "get_unverified_chain", None)  # the same before it was made public
    chain = private() if private is not None else None
    if chain:
        der = 2  # _ssl.ENCODING_DER
        return tuple(bytes(each.public_bytes(der)) for each in chain)[:_MAX_CHAIN]
    own = tls_socket.getpeercert(binary_form=True)
    return (own,) if own else ()


def read_chain(chain: tuple[bytes, ...]) -> Shown | None:
    """Take certificates apart; None if there is none, or the server's own cannot be read."""
    with warnings.catch_warnings():
        # What the library thinks of odd certificates would get between the lines of the output.
        warnings.simplefilter("ignore")
        parsed: list[tuple[x509.Certificate, CertificateFacts]] = []
        for der in chain:
            one = _read(der)
            if one is None:
                break
            parsed.append(one)
        if not parsed:
            return None
        following = (*(certificate for certificate, _ in parsed[1:]), None)
        links = tuple(
            Link(facts, _signed_by(each, after))
            for (each, facts), after in zip(parsed, following, strict=True)
        )
        return Shown(links, _names(parsed[0][0]))


def _read(der: bytes) -> tuple[x509.Certificate, CertificateFacts] | None:
    from cryptography import x509  # noqa: PLC0415  a large library that runs do not need

    try:
        certificate = x509.load_der_x509_certificate(der)
        return certificate, _facts(certificate)
    except Exception:  # noqa: BLE001  a hostile server chooses among all that the library has
        return None


def _facts(certificate: x509.Certificate) -> CertificateFacts:
    der = _der(certificate)
    return CertificateFacts(
        subject=_name(certificate.subject),
        issuer=_name(certificate.issuer),
        not_before_time=certificate.not_valid_before_utc,
        not_after_time=certificate.not_valid_after_utc,
        sha256=hashlib.sha256(der).hexdigest(),
        spki_sha256=spki_sha256(der),
        self_signed=_is_signed_by(certificate, certificate),
        key=_key(certificate),
    )


def _der(certificate: x509.Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415  see above

    return certificate.public_bytes(Encoding.DER)


def _name(name: x509.Name) -> str:
    words = [
        f"{_ATTRIBUTES.get(a.oid.dotted_string, a.oid.dotted_string)}={sanitise(a.value)}"
        for a in name
    ]
    return ", ".join(words)[:1024]


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    from cryptography import x509  # noqa: PLC0415  see above

    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        found = [
            sanitise(str(name.value))[:255]
            for name in extension.value
            if isinstance(name, x509.DNSName | x509.IPAddress)
        ]
    except Exception:  # noqa: BLE001  as above; having none is one of them
        return ()
    return tuple(found[:_MAX_NAMES])


def _key(certificate: x509.Certificate) -> str:
    from cryptography.hazmat.primitives.asymmetric import ec, rsa  # noqa: PLC0415  see above

    try:
        key = certificate.public_key()
    except Exception:  # noqa: BLE001  as above
        return ""
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size}"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"EC {key.curve.name}"
    return type(key).__name__.removesuffix("PublicKey")


def _signed_by(certificate: x509.Certificate, following: x509.Certificate | None) -> str:
    if _is_signed_by(certificate, certificate):
        return "itself"
    if following is None:
        return "one that the server does not send"
    if _is_signed_by(certificate, following):
        return "the next one"
    return "not the next one"


def _is_signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except Exception:  # noqa: BLE001  as above; a wrong signature is one of them
        return False
    return True

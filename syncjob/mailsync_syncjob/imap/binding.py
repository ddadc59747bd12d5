"""What ties a login to its TLS connection (RFC 5056, RFC 5929), as far as Python's ssl tells."""

from __future__ import annotations

import hashlib
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    import socket

__all__ = ["Binding", "certificate_hash", "channel_binding"]

_HASHES: Final = {
    # RFC 5929 section 4.1: MD5 and SHA-1 are replaced by SHA-256.
    "2a864886f70d010104": "sha256",  # md5WithRSAEncryption
    "2a864886f70d010105": "sha256",  # sha1WithRSAEncryption
    "2a864886f70d01010b": "sha256",  # sha256WithRSAEncryption
    "2a864886f70d01010c": "sha384",
    "2a864886f70d01010d": "sha512",
    "2a864886f70d01010e": "sha224",
    "2a8648ce3d0401": "sha256",  # ecdsa-with-SHA1
    "2a8648ce3d040301": "sha224",
    "2a8648ce3d040302": "sha256",
    "2a8648ce3d040303": "sha384",
    "2a8648ce3d040304": "sha512",
}
"""The hash function of a certificate's signature, by the DER of its algorithm's identifier."""


@dataclass(frozen=True, slots=True)
class Binding:
    """A name and the bytes that both ends of one connection know."""

    kind: Literal["tls-unique", "tls-server-end-point"]
    data: bytes


def channel_binding(sock: socket.socket) -> Binding | None:
    """Return what a login on this connection can be bound to.

    TLS 1.2 has tls-unique, which every server with channel binding knows (RFC 5802 section 6). It
    does not exist in TLS 1.3, and its successor tls-exporter (RFC 9266) cannot be had from Python's
    ssl: there the server's certificate remains, which not all servers take.
    """
    if not isinstance(sock, ssl.SSLSocket):
        return None
    if sock.version() == "TLSv1.2":
        unique = sock.get_channel_binding("tls-unique")
        return Binding("tls-unique", unique) if unique else None
    certificate = sock.getpeercert(binary_form=True)
    digest = certificate_hash(certificate) if certificate else None
    return Binding("tls-server-end-point", digest) if digest else None


def certificate_hash(der: bytes) -> bytes | None:
    """Return tls-server-end-point's data; None where its hash is not defined or not known.

    RSASSA-PSS and EdDSA signatures are the latter.
    """
    try:
        # Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm SEQUENCE { OID, ... }, ... }
        start, _ = _element(der, 0)
        _, after_body = _element(der, start)
        algorithm, _ = _element(der, after_body)
        first, end = _element(der, algorithm)
    except IndexError:
        return None
    name = _HASHES.get(der[first:end].hex())
    return hashlib.new(name, der).digest() if name else None


def _element(der: bytes, at: int) -> tuple[int, int]:
    """Return where the content of the DER element at a place starts and ends."""
    length, start = der[at + 1], at + 2
    if length & 0x80:
        size = length & 0x7F
        length = int.from_bytes(der[start : start + size], "big")
        start += size
    return start, start + length

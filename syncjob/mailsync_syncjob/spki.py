"""The public key of a certificate, hashed: what a pin is compared with (RFC 7469 section 2.4).

Only the way down to one field is walked, over bytes that OpenSSL has parsed before. A general ASN.1
or cryptography library would be the engine's largest dependency for these few lines; the tests
compare them with one.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Final

__all__ = ["spki_sha256"]

_SEQUENCE: Final = 0x30
_VERSION: Final = 0xA0
_LONG_FORM: Final = 0x80
_FIELDS_BEFORE_SPKI: Final = 5
"""Serial number, signature, issuer, validity, subject (RFC 5280 section 4.1)."""


def spki_sha256(certificate: bytes) -> str:
    """Return the SHA-256 hash of a DER certificate's SubjectPublicKeyInfo, in base64.

    Raises
    ------
    ValueError
        It is no certificate.
    """
    start, _ = _content(certificate, 0)
    position, _ = _content(certificate, start)
    if certificate[position : position + 1] == bytes([_VERSION]):
        position = _end(certificate, position)
    for _ in range(_FIELDS_BEFORE_SPKI):
        position = _end(certificate, position)
    _content(certificate, position)
    digest = hashlib.sha256(certificate[position : _end(certificate, position)]).digest()
    return base64.b64encode(digest).decode("ascii")


def _content(data: bytes, position: int) -> tuple[int, int]:
    """Return where the content of a SEQUENCE begins and ends."""
    if data[position : position + 1] != bytes([_SEQUENCE]):
        raise ValueError("no SEQUENCE where a certificate has one")
    return _bounds(data, position)


def _end(data: bytes, position: int) -> int:
    return _bounds(data, position)[1]


def _bounds(data: bytes, position: int) -> tuple[int, int]:
    """Return where the content of a DER element begins and ends (X.690 section 8.1)."""
    if len(data) < position + 2:
        raise ValueError("the certificate ends too early")
    length = data[position + 1]
    begin = position + 2
    if length & _LONG_FORM:
        count = length & ~_LONG_FORM
        length = int.from_bytes(data[begin : begin + count], "big")
        begin += count
    if len(data) < begin + length:
        raise ValueError("the certificate ends too early")
    return begin, begin + length

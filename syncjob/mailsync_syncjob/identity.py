"""What makes two messages the same one, on servers that change what they store. Pure.

A message is recognised by its Message-ID; where that is absent or repeated, by its other identity
headers, its internal date and its size. Servers rewrite 8-bit characters, line ends, folding and
white space in headers, so all of these are left out of the comparison. Nothing here is a name of a
message for ever: keys are only compared between two folders, within one run.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from mailsync_syncjob.dates import header_instant

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["DIGEST_BYTES", "UNKNOWN", "Identity", "identify", "identify_bare"]

DIGEST_BYTES: Final = 12

_FIELD: Final = re.compile(
    rb"^([!-9;-~]{1,128})[ \t]*:((?:[^\n]*\n?)(?:[ \t][^\n]*\n?)*)", re.MULTILINE
)
_BRACKETED: Final = re.compile(rb"<([^>]+)>")
# Servers that store no NUL put another character (Dovecot 0x80) in its place.
_REPLACED: Final = bytes.maketrans(bytes((0, *range(128, 256))), b"X" * 129)
_LEFT_OUT: Final = bytes((*range(1, 33), 127))


@dataclass(frozen=True, slots=True)
class Identity:
    """What a message is recognised by."""

    message_id: bytes | None
    """A digest of the normalised Message-ID; None without one."""
    headers: bytes | None
    """A digest of the other identity headers; None when there are none at all."""
    sent: int | None
    """The Date header as seconds since 1970; None where there is none that can be read."""

    @property
    def bare(self) -> bool:
        """Whether nothing in the headers identifies the message."""
        return self.message_id is None and self.headers is None


UNKNOWN: Final = Identity(message_id=None, headers=None, sent=None)
"""Of a message whose headers say nothing, or were not read: there is nothing to compare it by."""


def identify(header: bytes) -> Identity:
    """Return the identity in a message's identity headers."""
    message_id = date = None
    others: list[bytes] = []
    for spelled, value in _FIELD.findall(header):
        name = spelled.lower()
        squeezed = _squeezed(value)
        if name == b"date" and date is None:
            date = value
        if name == b"message-id":
            message_id = message_id or (value if squeezed else None)
        elif squeezed:
            others.append(name + b":" + squeezed)
    others.sort()
    return Identity(
        message_id=None if message_id is None else _digest(_message_id(message_id)),
        headers=_digest(b"\n".join(others)) if others else None,
        sent=header_instant(date) if date is not None else None,
    )


def identify_bare(header: Iterable[bytes]) -> Identity:
    """Return the identity of a message without identity headers, from its whole header.

    Parameters
    ----------
    header
        In pieces, as it may be of any size.
    """
    digest = blake2b(b"bare\n", digest_size=DIGEST_BYTES)
    for piece in header:
        digest.update(_squeezed(piece))
    return Identity(message_id=None, headers=digest.digest(), sent=None)


def _message_id(value: bytes) -> bytes:
    found = _BRACKETED.search(value)
    return _squeezed(found[1] if found else value)


def _squeezed(value: bytes) -> bytes:
    """Leave out what servers change: white space, folding, control and 8-bit characters."""
    return value.translate(_REPLACED, _LEFT_OUT)


def _digest(value: bytes) -> bytes:
    return blake2b(value, digest_size=DIGEST_BYTES).digest()

"""Folder names on the wire: modified UTF-7 (RFC 3501 section 5.1.3)."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["decode_name", "encode_name"]

_AS_IT_IS: Final = re.compile(r"[\x20-\x25\x27-\x7e]*")


def encode_name(name: str) -> bytes:
    """Return a folder name in modified UTF-7; control characters come out as harmless base64."""
    if _AS_IT_IS.fullmatch(name):
        return name.encode("ascii")
    from imapclient.imap_utf7 import encode  # noqa: PLC0415  costs as much as all else of IMAP

    return bytes(encode(name))


def decode_name(raw: bytes) -> str:
    """Return a name decoded from modified UTF-7, or as Latin-1 where it is not valid."""
    if b"&" in raw:
        from imapclient.imap_utf7 import decode  # noqa: PLC0415  costs as much as all else of IMAP

        try:
            return str(decode(raw))
        except (UnicodeError, ValueError):
            pass
    return raw.decode("latin-1")

"""How a secret could appear in a text, and the search for it."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote, quote_plus

__all__ = ["SHORTEST", "forms"]

SHORTEST = 8
"""Shorter forms would be found by chance."""


def forms(secret: bytes) -> tuple[bytes, ...]:
    """Return how a secret could appear: as it is, escaped, and in base64 at each of 3 offsets.

    PLAIN's base64 is among them: its password begins at one of the three offsets.
    """
    text = secret.decode("utf-8", "replace")
    found = [
        secret,
        text.encode(),
        json.dumps(text)[1:-1].encode(),
        json.dumps(text, ensure_ascii=False)[1:-1].encode(),
        repr(text)[1:-1].encode(),
        repr(secret)[2:-1].encode(),
        secret.replace(b"\\", b"\\\\").replace(b'"', b'\\"'),
        quote(secret, safe="").encode(),
        quote_plus(secret).encode(),
        secret.hex().encode(),
    ]
    for offset in range(3):
        coded = base64.b64encode(b"\0" * offset + secret)
        # The first and the last group of four depend on what stands beside it.
        inner = coded[4 if offset else 0 : -4]
        found += [inner, inner.replace(b"+", b"-").replace(b"/", b"_")]
    found.append(base64.b64encode(secret).rstrip(b"="))
    return tuple(dict.fromkeys(form for form in found if len(form) >= SHORTEST))

"""What a server speaks, by its first words."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final

__all__ = ["Spoken", "spoken"]


class Spoken(StrEnum):
    """A protocol that is found on a port instead of IMAP."""

    SMTP = "SMTP"
    FTP = "FTP"
    POP3 = "POP3"
    HTTP = "HTTP"
    SSH = "SSH"
    SIEVE = "ManageSieve"
    LMTP = "LMTP"
    TLS = "TLS"


# RFC 5321 section 4.2 and RFC 2033 (both greet with 220), RFC 1939 section 3, RFC 9112 section 4,
# RFC 4253 section 4.2, RFC 5804 section 1.2, RFC 8446 section 5.1 (an alert record).
_FIRST_WORDS: Final = (
    (Spoken.LMTP, re.compile(rb"220[ -].*\bLMTP\b", re.IGNORECASE)),
    (Spoken.FTP, re.compile(rb"220[ -].*\bFTP", re.IGNORECASE)),
    (Spoken.SMTP, re.compile(rb"(220|421|554)[ -]")),
    (Spoken.POP3, re.compile(rb"(\+OK|-ERR)\b")),
    (Spoken.HTTP, re.compile(rb"HTTP/\d|<(!doctype )?html", re.IGNORECASE)),
    (Spoken.SSH, re.compile(rb"SSH-\d")),
    (Spoken.SIEVE, re.compile(rb'"(IMPLEMENTATION|SIEVE)" ', re.IGNORECASE)),
    (Spoken.TLS, re.compile(rb"[\x15\x16]\x03[\x00-\x04]", re.DOTALL)),
)


def spoken(line: bytes) -> Spoken | None:
    """Return the protocol that begins so; None where it is none of those known, or IMAP."""
    return next((found for found, words in _FIRST_WORDS if words.match(line)), None)

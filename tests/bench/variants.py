"""What is measured: variants of one question each, and named sets of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from tests.bench.corpus import Mailbox

__all__ = ["SETS", "VARIANTS", "Variant"]

_MASKED: Final = ("MULTIAPPEND", "LITERAL+")
_SHORT: Final = Mailbox(messages=500)


@dataclass(frozen=True, slots=True)
class Variant:
    """Tools that take turns with the same work.

    Attributes
    ----------
    tools
        As ``peers.tool`` reads them. The first that copies is what the others are compared with.
    milliseconds
        The round trip to each side.
    masked
        Capabilities that the destination does not announce.
    again
        Whether each tool runs once more on what it has copied.
    minutes
        About how long it takes: three runs on two cores, with all tools.
    """

    name: str
    title: str
    tools: tuple[str, ...]
    mailbox: Mailbox = field(default_factory=Mailbox)
    tls: bool = False
    milliseconds: float = 0
    masked: tuple[str, ...] = ()
    again: bool = False
    minutes: float = 1.0


VARIANTS: Final = {
    variant.name: variant
    for variant in (
        Variant(
            "first",
            "First copy and nothing new, clear text",
            ("start", "mailsync:4", "resumed:4", "bound:4", "doveadm", "mbsync", "imapsync"),
            again=True,
            minutes=3.5,
        ),
        Variant(
            "tls",
            "First copy, TLS on both sides",
            ("mailsync:4", "bound:4", "mbsync", "imapsync"),
            tls=True,
            minutes=2.5,
        ),
        Variant(
            "20ms",
            "20 ms to each side",
            ("mailsync:4", "mbsync", "doveadm", "imapsync"),
            _SHORT,
            milliseconds=20,
            minutes=2.5,
        ),
        Variant(
            "100ms",
            "100 ms to each side",
            ("mailsync:4", "mbsync"),
            _SHORT,
            milliseconds=100,
            minutes=0.7,
        ),
        Variant(
            "masked",
            "A destination without MULTIAPPEND and LITERAL+",
            ("mailsync:4", "imapsync"),
            Mailbox(messages=2000),
            masked=_MASKED,
            minutes=1.0,
        ),
        Variant(
            "masked-20ms",
            "A destination without MULTIAPPEND and LITERAL+, 20 ms to each side",
            ("mailsync:4", "imapsync"),
            Mailbox(messages=250),
            masked=_MASKED,
            milliseconds=20,
            minutes=1.2,
        ),
        Variant(
            "memory",
            "Memory, with one message of 100 MB",
            ("start", "mailsync:4", "mailsync:1"),
            Mailbox(extra=100_000_000),
            minutes=1.0,
        ),
        Variant(
            "connections",
            "Connections",
            ("mailsync:4", "mailsync:2", "mailsync:1", "bound:4", "bound:2", "bound:1"),
            minutes=1.5,
        ),
        Variant(
            "small",
            "Small messages",
            ("mailsync:4", "bound:4", "doveadm", "mbsync", "imapsync"),
            Mailbox(median=2048.0, sigma=0.0),
            minutes=2.5,
        ),
        Variant(
            "large",
            "Large messages",
            ("mailsync:4", "bound:4", "doveadm", "mbsync", "imapsync"),
            Mailbox(messages=20, median=5e6, sigma=0.0, most=5_000_000),
            minutes=1.0,
        ),
        Variant(
            "100ms-imapsync",
            "100 ms to each side, few messages",
            ("mailsync:4", "mbsync", "imapsync@1"),
            Mailbox(messages=100),
            milliseconds=100,
            minutes=1.0,
        ),
        Variant(
            "offlineimap",
            "Beside offlineimap",
            ("mailsync:4", "offlineimap@1"),
            again=True,
            minutes=1.5,
        ),
    )
}

SETS: Final = {
    "quick": ("connections", "100ms"),
    "full": ("first", "tls", "20ms", "100ms", "masked", "masked-20ms", "memory"),
    "rest": ("connections", "small", "large", "100ms-imapsync", "offlineimap"),
    "all": tuple(VARIANTS),
}
"""Names of variants by the name of the set."""

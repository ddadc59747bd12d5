"""Mailboxes to measure with: the same bytes for the same arguments."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from tests.support.mailbox import Message

__all__ = ["Mailbox", "corpus"]

_FOLDERS: Final = (
    *(("INBOX",), ("Sent",), ("Archive",)),
    *(("Archive", "2019"), ("Projects",), ("Lists", "announce")),
)
_SHARES: Final = (30, 15, 25, 15, 10, 5)
_FLAGS: Final = ((), ("\\Seen",), ("\\Seen",), ("\\Seen", "\\Answered"), ("\\Seen", "$Forwarded"))
_LINE: Final = 76


@dataclass(frozen=True, slots=True)
class Mailbox:
    """How many messages in six folders, and log-normal sizes of their bodies in bytes.

    Attributes
    ----------
    extra
        The size of one more message; none by default.
    """

    messages: int = 5000
    median: float = 5700.0
    sigma: float = 1.52
    most: int = 4_000_000
    extra: int = 0


def corpus(mailbox: Mailbox, *, seed: int = 7) -> Iterator[Message]:
    """Yield the messages; with the default sizes 19 KB each on average."""
    rng = random.Random(seed)  # noqa: S311  the same for the same seed is the point
    text = rng.randbytes(1 << 20).hex().encode("ascii")
    for number in range(mailbox.messages):
        size = int(rng.lognormvariate(0.0, mailbox.sigma) * mailbox.median)
        (path,) = rng.choices(_FOLDERS, _SHARES)
        yield _message(number, path, rng, _lines(text, rng, min(size, mailbox.most)))
    if mailbox.extra:
        yield _message(mailbox.messages, ("INBOX",), rng, _lines(text, rng, mailbox.extra))


def _message(number: int, path: tuple[str, ...], rng: random.Random, body: bytes) -> Message:
    date = datetime(2015, 1, 1, tzinfo=UTC) + timedelta(seconds=rng.randrange(300_000_000))
    head = (
        f"Message-ID: <{number}@bench.example.org>\r\n"
        f"Date: {date:%a, %d %b %Y %H:%M:%S %z}\r\n"
        f"From: Sender {number % 97} <sender{number % 97}@example.org>\r\n"
        f"To: Alice <alice@example.org>\r\nSubject: message {number}\r\n\r\n"
    ).encode("ascii")
    return Message(path, head + body, rng.choice(_FLAGS), date)


def _lines(text: bytes, rng: random.Random, size: int) -> bytes:
    """Return lines of base64's length, other ones for each message."""
    lines: list[bytes] = []
    left = size
    while left > 0:
        start = rng.randrange(len(text) - (1 << 16))
        piece = text[start : start + min(left, 1 << 16)]
        lines += [piece[i : i + _LINE] for i in range(0, len(piece), _LINE)]
        left -= len(piece) + 2 * (len(piece) // _LINE + 1)
    return b"\r\n".join(lines) + b"\r\n"

"""Mailboxes to measure with: the same bytes for the same arguments."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from tests.support.mailbox import Message

__all__ = ["Sizes", "corpus"]

_FOLDERS: Final = (
    *(("INBOX",), ("Sent",), ("Archive",)),
    *(("Archive", "2019"), ("Projects",), ("Lists", "announce")),
)
_SHARES: Final = (30, 15, 25, 15, 10, 5)
_FLAGS: Final = ((), ("\\Seen",), ("\\Seen",), ("\\Seen", "\\Answered"), ("\\Seen", "$Forwarded"))
_LINE: Final = 76


@dataclass(frozen=True, slots=True)
class Sizes:
    """Log-normal sizes of bodies in bytes."""

    median: float = 5700.0
    sigma: float = 1.52
    most: int = 4_000_000


def corpus(*, count: int, sizes: Sizes | None = None, seed: int = 7) -> Iterator[Message]:
    """Yield so many messages in six folders; with the default sizes 19 KB each on average."""
    sizes = sizes or Sizes()
    rng = random.Random(seed)  # noqa: S311  the same for the same seed is the point
    text = rng.randbytes(1 << 20).hex().encode("ascii")
    for number in range(count):
        size = min(int(rng.lognormvariate(0.0, sizes.sigma) * sizes.median), sizes.most)
        date = datetime(2015, 1, 1, tzinfo=UTC) + timedelta(seconds=rng.randrange(300_000_000))
        head = (
            f"Message-ID: <{number}.{seed}@bench.example.org>\r\n"
            f"Date: {date:%a, %d %b %Y %H:%M:%S %z}\r\n"
            f"From: Sender {number % 97} <sender{number % 97}@example.org>\r\n"
            f"To: Alice <alice@example.org>\r\nSubject: message {number}\r\n\r\n"
        ).encode("ascii")
        (path,) = rng.choices(_FOLDERS, _SHARES)
        yield Message(path, head + _lines(text, rng, size), rng.choice(_FLAGS), date)


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

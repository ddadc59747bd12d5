"""A mailbox of varied messages, the same for the same seed, and how to load it into an account."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Final

from tests.support.imap import capabilities, layout, quote, run

if TYPE_CHECKING:
    import imaplib
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["FOLDERS", "Message", "generate", "load", "plain_message"]

FOLDERS: Final = (
    ("INBOX",),
    ("Sent",),
    ("Archive",),
    ("Archive", "2019"),
    ("Archive", "2019", "Q1"),
    ("Entwürfe",),
    ("Projekte & Pläne",),
    ("Projekte & Pläne", "日本語"),
    ("仕事",),
    ("Lists", "announce"),
    ("007",),
    ("With space", "and (brackets) [too]"),
    ("Emoji 📬",),
    ("Empty",),
)
"""Nested, non-ASCII, numeric and awkward names; the last one has no messages."""

_SYSTEM: Final = ("\\Seen", "\\Answered", "\\Flagged", "\\Deleted", "\\Draft")
_KEYWORDS: Final = ("$Forwarded", "$MDNSent", "Important", "$Label1", "todo", "NonJunk")
_MONTHS: Final = (
    *("Jan", "Feb", "Mar", "Apr", "May", "Jun"),
    *("Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
)
_BATCH_BYTES: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class Message:
    """One message and where it lies."""

    path: tuple[str, ...]
    body: bytes
    flags: tuple[str, ...]
    date: datetime

    @property
    def internal_date(self) -> bytes:
        """The date as APPEND takes it."""
        day = self.date
        text = f"{day.day:2d}-{_MONTHS[day.month - 1]}-{day.year} {day:%H:%M:%S %z}"
        return f'"{text}"'.encode("ascii")


def plain_message(
    number: int, *, path: Sequence[str] = ("INBOX",), flags: Sequence[str] = (), size: int = 100
) -> Message:
    """Return an ordinary message; equal arguments give equal messages."""
    date = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=number)
    head = _head(number, date, f"plain {number}")
    return Message(tuple(path), head + b"\r\n" + _lines(size), tuple(flags), date)


def generate(*, count: int = 500, seed: int = 1, large_bytes: int = 3_000_000) -> list[Message]:
    """Return a mailbox.

    Parameters
    ----------
    large_bytes
        The size of its one large message.
    """
    rng = random.Random(seed)  # noqa: S311  the same for the same seed is the point
    messages: list[Message] = []
    while len(messages) < count:
        number = len(messages)
        kind = _KINDS[number % len(_KINDS)]
        date = _date(rng)
        body = kind(number, date, rng)
        messages.append(Message(rng.choice(FOLDERS[:-1]), body, _flags(rng), date))
        if number % 40 == 7:
            # A true duplicate: every byte, flag and date, in the same folder.
            messages.append(messages[-1])
    large = (
        _head(count, _date(rng), "large") + b"\r\n" + rng.randbytes(large_bytes // 2).hex().encode()
    )
    messages[0] = Message(("INBOX",), _wrapped(large), ("\\Seen",), _date(rng))
    return messages[:count]


def load(session: imaplib.IMAP4, messages: Iterable[Message]) -> None:
    """Put messages into an account, creating (and subscribing to) folders, byte for byte."""
    known = layout(session)
    wanted = list(messages)
    paths = {m.path for m in wanted} | (set(FOLDERS) if len(wanted) > 100 else set())
    for path in sorted(paths):
        for depth in range(1, len(path) + 1):
            part = path[:depth]
            if part not in known.folders and part != ("INBOX",):
                run(session, b"CREATE " + quote(known.raw(part)))
                run(session, b"SUBSCRIBE " + quote(known.raw(part)))
                known.folders[part] = known.raw(part)
    many = "MULTIAPPEND" in capabilities(session)
    by_path: dict[tuple[str, ...], list[Message]] = {}
    for message in wanted:
        by_path.setdefault(message.path, []).append(message)
    for path, group in by_path.items():
        for batch in _batches(group) if many else [[m] for m in group]:
            parts = [b"APPEND " + quote(known.raw(path))]
            for message in batch:
                flags = " ".join(message.flags).encode()
                head = b" (%s) %s {%d+}\r\n" % (flags, message.internal_date, len(message.body))
                parts.append(head + message.body)
            run(session, b"".join(parts))


def _batches(messages: Iterable[Message]) -> list[list[Message]]:
    batches: list[list[Message]] = [[]]
    size = 0
    for message in messages:
        if batches[-1] and (size > _BATCH_BYTES or len(batches[-1]) >= 100):
            batches.append([])
            size = 0
        batches[-1].append(message)
        size += len(message.body)
    return batches


def _date(rng: random.Random) -> datetime:
    zone = timezone(timedelta(minutes=rng.choice((-720, -480, 0, 60, 330, 765))))
    start = datetime(1999, 1, 1, tzinfo=UTC)
    return (start + timedelta(seconds=rng.randrange(800_000_000))).astimezone(zone)


def _flags(rng: random.Random) -> tuple[str, ...]:
    chosen = rng.sample(_SYSTEM, rng.choice((0, 0, 1, 1, 2)))
    return (*chosen, *rng.sample(_KEYWORDS, rng.choice((0, 0, 0, 1, 2, 3))))


def _head(number: int, date: datetime, subject: str, *, message_id: bool = True) -> bytes:
    lines = [
        f"Date: {date:%a, %d %b %Y %H:%M:%S %z}",
        f"From: Sender {number} <sender{number}@example.org>",
        "To: Alice <alice@example.org>",
        f"Subject: {subject}",
    ]
    if message_id:
        lines.insert(0, f"Message-ID: <{number}.test@example.org>")
    return "".join(f"{line}\r\n" for line in lines).encode()


def _lines(size: int) -> bytes:
    line = b"The quick brown fox jumps over the lazy dog.\r\n"
    return (line * (size // len(line) + 1))[:size].rstrip(b"\r") + b"\r\n"


def _wrapped(data: bytes) -> bytes:
    head, _, body = data.partition(b"\r\n\r\n")
    lines = [body[i : i + 76] for i in range(0, len(body), 76)]
    return head + b"\r\n\r\n" + b"\r\n".join(lines) + b"\r\n"


def _plain(number: int, date: datetime, rng: random.Random) -> bytes:
    return _head(number, date, f"plain {number}") + b"\r\n" + _lines(rng.randrange(20, 5000))


def _eight_bit(number: int, date: datetime, rng: random.Random) -> bytes:
    head = _head(number, date, "Grüße, 8-bit").replace("ü".encode(), "ü".encode("latin-1"))
    return head + b"\r\n" + bytes(rng.choice(b"\x80\xe4\xf6\xfcabc ") for _ in range(200)) + b"\r\n"


def _without_id(number: int, date: datetime, rng: random.Random) -> bytes:
    head = _head(number, date, "no Message-ID", message_id=False)
    return head + b"\r\n" + _lines(rng.randrange(50, 400))


def _nightly(number: int, _: datetime, rng: random.Random) -> bytes:
    """Write mail as cron does: neither date nor id, always the same headers."""
    head = b"From: root@example.org\r\nTo: root@example.org\r\nSubject: Cron job\r\n\r\n"
    return head + f"run {number}: {rng.random()}\r\n".encode()


def _empty_body(number: int, date: datetime, _: random.Random) -> bytes:
    return _head(number, date, "empty body") + b"\r\n"


def _only_header(number: int, date: datetime, _: random.Random) -> bytes:
    return _head(number, date, "no empty line either")


def _no_header(number: int, _: datetime, rng: random.Random) -> bytes:
    return f"\r\njust a body, number {number}, {rng.random()}\r\n".encode()


def _same_id(number: int, date: datetime, rng: random.Random) -> bytes:
    """Write one of many messages that share an id but differ in all else."""
    head = _head(number, date, f"shared id {number}", message_id=False)
    return b"Message-ID: <shared@example.org>\r\n" + head + b"\r\n" + _lines(rng.randrange(20, 90))


def _folded(number: int, date: datetime, _: random.Random) -> bytes:
    head = _head(number, date, "=?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n =?utf-8?q?_gefaltet?=")
    return head + b"X-Long: " + b"x" * 2000 + b"\r\n\r\nbody without a final line end"


def _multipart(number: int, date: datetime, rng: random.Random) -> bytes:
    head = _head(number, date, "multipart") + b'Content-Type: multipart/mixed; boundary="b"\r\n'
    part = (
        b"--b\r\nContent-Type: application/octet-stream\r\n\r\n" + rng.randbytes(900).hex().encode()
    )
    return (
        head + b"\r\n" + part + b"\r\n--b\r\nContent-Type: text/plain\r\n\r\n) OK {10}\r\n--b--\r\n"
    )


def _looks_like_imap(number: int, date: datetime, _: random.Random) -> bytes:
    """Write a body that a client out of step would take for the server's words."""
    traps = b"* BYE\r\nT1 OK done\r\n* 1 FETCH (UID 1 FLAGS (\\Deleted))\r\n{5}\r\n)\r\n"
    return _head(number, date, "traps") + b"\r\n" + traps


_KINDS: Final[tuple[Callable[[int, datetime, random.Random], bytes], ...]] = (
    *(_plain, _plain, _multipart, _eight_bit, _plain, _without_id, _nightly),
    *(_empty_body, _only_header, _same_id, _folded, _no_header, _looks_like_imap),
)

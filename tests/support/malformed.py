"""Six hundred messages that no program should write, and a server that has them.

Deterministic: the same arguments give the same bytes. Each has a kind, for what a test says of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from typing_extensions import override

from tests.support.scripted import TinyServer, numbers

if TYPE_CHECKING:
    from tests.support.scripted import Answer, Peer

__all__ = ["COUNT", "CorpusServer", "Malformed", "corpus"]

COUNT: Final = 600
_HUGE: Final = 40_000_000
_PLAIN_DATE: Final = b'"01-Feb-2015 03:04:05 +0100"'
_SECTION: Final = re.compile(rb"BODY(?:\.PEEK)?\[([^]]*)\]")
_FIELD: Final = re.compile(rb"[^\n]*\n?(?:[ \t][^\n]*\n?)*")
_BLANK: Final = re.compile(rb"\n\r?\n")
_WANTED: Final = (b"UID", b"FLAGS", b"INTERNALDATE", b"RFC822.SIZE")


@dataclass(frozen=True, slots=True)
class Malformed:
    """One message."""

    kind: str
    body: bytes
    date: bytes | None = _PLAIN_DATE
    """INTERNALDATE as it goes over the wire; None where a server gives NIL or nonsense."""
    shown_date: bytes = _PLAIN_DATE
    """What the source says for it."""
    flags: tuple[bytes, ...] = ()


def _head(
    number: int, *, date: bytes = b"Sun, 1 Feb 2015 02:04:05 +0000", ident: bool = True
) -> bytes:
    lines = [b"Message-ID: <odd.%d@example.org>" % number] if ident else []
    lines += [b"Date: " + date, b"From: a%d@example.org" % number, b"Subject: odd %d" % number]
    return b"".join(line + b"\r\n" for line in lines)


def _text(number: int) -> bytes:
    return b"\r\nbody of number %d\r\n" % number


def _plain(n: int) -> bytes:
    return _head(n) + _text(n)


_LOOK_ALIKES: Final = (
    b"* BYE\r\n", b"m000001 OK done\r\n", b"* 1 FETCH (UID 1 FLAGS (\\Deleted))\r\n", b"{5}\r\n",
    b"{5+}\r\nhello)\r\n", b")\r\n", b"+ go on\r\n", b"x DELETE INBOX\r\n", b".\r\n", b"DONE\r\n",
)  # fmt: skip
_SIMPLE: Final[dict[str, Callable[[int], bytes]]] = {
    "plain": _plain,
    "no Message-ID": lambda n: _head(n, ident=False) + _text(n),
    "a Message-ID that others have": lambda n: (
        b"Message-ID: <same@x>\r\n" + _head(n, ident=False) + _text(n)
    ),
    "identical to others": lambda n: _plain(1000 + n % 4),
    "nightly mail of a program": lambda n: b"From: root@x\r\nSubject: Cron\r\n\r\nrun %d\r\n" % n,
    "an empty header": _text,
    "a header and nothing else": _head,
    "a header and an empty line": lambda n: _head(n) + b"\r\n",
    "no header, no empty line": lambda n: b"just words, number %d\r\n" % n,
    "NUL in the body": lambda n: _head(n) + b"\r\nbefore \0 after %d\0\0\r\n" % n,
    "NUL in the header": lambda n: _head(n) + b"X-Nul: a\0b %d\r\n" % n + _text(n),
    "bare LF": lambda n: _plain(n).replace(b"\r\n", b"\n"),
    "bare LF in the body": lambda n: _head(n) + b"\r\none\ntwo\nthree %d\r\n" % n,
    "bare CR in the body": lambda n: _head(n) + b"\r\none\rtwo\r\r\nthree %d\r\n" % n,
    "bare CR in the header": lambda n: _head(n) + b"X-Cr: a\rb %d\r\n" % n + _text(n),
    "mixed line ends": lambda n: _head(n) + b"X-Mixed: a\n\r\none\n\rtwo\r\n\nthree %d\n" % n,
    "8 bit in the header": lambda n: (
        _head(n).replace(b"odd", b"Gr\xfc\xdfe \xe4\xf6 \xff") + _text(n)
    ),
    "UTF-8 in the header": lambda n: _head(n).replace(b"odd", "Grüße 日本語".encode()) + _text(n),
    "a header line of 30 KB": lambda n: _head(n) + b"X-Long: " + b"y" * 30_000 + b"\r\n" + _text(n),
    "a body line of 30 KB": lambda n: _head(n) + b"\r\n" + b"z" * 30_000 + b" %d\r\n" % n,
    "looks like the protocol": lambda n: _head(n) + b"\r\n" + b"".join(_LOOK_ALIKES) + _text(n),
    "ends like the protocol": lambda n: _head(n) + b"\r\n%d " % n + _LOOK_ALIKES[n % 10],
    "no final CRLF": lambda n: _head(n) + b"\r\nthe end %d" % n,
    "a final CR": lambda n: _head(n) + b"\r\nthe end %d\r" % n,
    "a From line of mbox": lambda n: b"From a@x Mon Jan  1 10:00:00 2024\r\n" + _plain(n),
    "MIME without an end": lambda n: (
        _head(n)
        + b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n'
        + b"Content-Type: multipart/mixed\r\n"
        + _text(n)
    ),
    "MIME that names no boundary": lambda n: (
        _head(n)
        + b"Content-Type: multipart/mixed\r\nContent-Transfer-Encoding: none\r\n"
        + _text(n)
    ),
    "no Date": lambda n: b"Message-ID: <undated.%d@x>\r\nFrom: a@x\r\n" % n + _text(n),
    "a Date that is none": lambda n: _head(n, date=b"yesterday, 99 Foo 0000 25:61") + _text(n),
    "two of each field": lambda n: _head(n) + _head(n + 5000) + _text(n),
    "2000 header fields": lambda n: (
        _head(n) + b"".join(b"X-%d: %d\r\n" % (i, n) for i in range(2000)) + _text(n)
    ),
    "fields without a name": lambda n: _head(n) + b": nameless\r\nno colon at all\r\n" + _text(n),
}
_RARE: Final = {"a header line of 30 KB": 8, "a body line of 30 KB": 8, "2000 header fields": 3}
_EACH: Final = 18
_DATES: Final = (
    ("before 1971", b'" 1-Jun-1970 00:00:00 +0000"'),
    ("before 1971", b'"31-Dec-1960 23:59:59 +0000"'),
    ("after 2037", b'"19-Jan-2038 03:14:08 +0000"'),
    ("after 2037", b'" 1-Jan-2105 00:00:00 +0000"'),
    ("an odd zone", b'"01-Feb-2015 03:04:05 +1345"'),
    ("an odd zone", b'"01-Feb-2015 03:04:05 -1159"'),
)
_KEYWORDS: Final = (
    *(b"$MDNSent", b"$Label1", b"a/b", b"=x", b"1", b"x" * 60, b"[x", b"&a-", b"UPPER", b"upper2"),
    *(b"a|b", b"it's", b"$", b"<tag>", b"}", b"#1", b"a@b", b"a;b", b"~", b"`x`"),
)


def corpus(*, huge: bool = False, seed: int = 0) -> list[Malformed]:
    """Return the messages, ``COUNT`` of them.

    Parameters
    ----------
    huge
        Whether one of them has 40 MB instead of few.
    seed
        Where the numbers in them begin.
    """
    found = list(_special(huge=huge, seed=seed))
    for kind, make in _SIMPLE.items():
        found += [Malformed(kind, make(seed + i)) for i in range(_RARE.get(kind, _EACH))]
    found += [Malformed("plain", _plain(seed + 2000 + i)) for i in range(COUNT - len(found))]
    assert len(found) == COUNT
    # Neighbours of all kinds, so that one that is refused is in a batch with others.
    return [found[i * 7 % COUNT] for i in range(COUNT)]


def _special(*, huge: bool, seed: int) -> Iterator[Malformed]:
    yield Malformed("empty", b"")
    yield Malformed("empty", b"")
    for number in (1, 2):
        wide = b"X-Wide: " + b"w" * 900 + b"\r\n"
        yield Malformed(
            "a header of 1 MB", _head(seed + 3000 + number) + wide * 1150 + _text(number)
        )
    size = _HUGE if huge else 100
    line = b"0123456789" * 7 + b"\r\n"
    yield Malformed("40 MB", _head(seed + 3100) + b"\r\n" + line * (size // len(line)))
    for number, (kind, date) in enumerate(_DATES):
        yield Malformed(f"a date {kind}", _plain(seed + 3200 + number), date, date)
    for number, shown in enumerate((b"NIL", b'"31-Feb-2020 10:00:00 +0000"', b'"today"')):
        yield Malformed("a date that is none", _plain(seed + 3300 + number), None, shown)
    for number, keyword in enumerate(_KEYWORDS):
        flags = (keyword, b"\\Seen") if number % 2 else (keyword,)
        yield Malformed("an odd keyword", _plain(seed + 3400 + number), flags=flags)


@dataclass
class CorpusServer(TinyServer):
    """A server that has these messages in INBOX, by UID from 1 on."""

    corpus: list[Malformed] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.messages = {uid: one.body for uid, one in enumerate(self.corpus, start=1)}

    @override
    def _defaults(self) -> dict[bytes, Answer]:
        return {**super()._defaults(), b"FETCH": self._fetch, b"UID FETCH": self._fetch}

    def _fetch(self, peer: Peer, tag: bytes, rest: bytes) -> None:
        words = rest.split(b" ")
        # Message numbers and UIDs are the same here.
        wanted = numbers(words[2] if words[0].upper() == b"UID" else words[1])
        for uid in sorted(wanted):
            if uid in self.messages:
                peer.send(b"* %d FETCH (%s)\r\n" % (uid, self._items(uid, rest)))
        peer.send(tag + b" OK done\r\n")

    def _items(self, uid: int, rest: bytes) -> bytes:
        one = self.corpus[uid - 1]
        values = (b"%d" % uid, b"(" + b" ".join(one.flags) + b")", one.shown_date)
        sized = zip(_WANTED, (*values, b"%d" % len(one.body)), strict=True)
        items = [name + b" " + value for name, value in sized if name in rest or name == b"UID"]
        if section := _SECTION.search(rest):
            part = _part(one.body, section[1].upper())
            items.append(b"BODY[%s] {%d}\r\n" % (section[1], len(part)) + part)
        return b" ".join(items)


def _part(body: bytes, section: bytes) -> bytes:
    if not section:
        return body
    header = _header(body)
    if not section.startswith(b"HEADER.FIELDS"):
        return header
    names = set(section.partition(b"(")[2].rstrip(b")").split())
    fields = (found[0] for found in _FIELD.finditer(header) if found[0])
    kept = (text for text in fields if text.partition(b":")[0].strip().upper() in names)
    return b"".join(kept) + b"\r\n"


def _header(body: bytes) -> bytes:
    if body.startswith((b"\r\n", b"\n")):
        return body[: body.index(b"\n") + 1]
    found = _BLANK.search(body)
    return body[: found.end()] if found else body

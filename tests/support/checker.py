"""Are two mailboxes the same? Independent of the engine: standard library only.

Messages are compared per folder, as multisets, by the SHA-256 of their bytes, then their flags and
keywords, then their internal dates as instants.
"""

from __future__ import annotations

import calendar
import hashlib
import re
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support.imap import layout, quote, run

if TYPE_CHECKING:
    import imaplib
    from collections.abc import Iterator, Mapping

__all__ = [
    "Difference",
    "Found",
    "compare_found",
    "compare_mailboxes",
    "count_messages",
    "read_mailbox",
]

_WINDOW = 100
_FETCH = re.compile(rb"\* \d+ FETCH \((.*?) ?BODY\[\] (?:\{(\d+)\}\r\n|(\"\"|NIL))", re.DOTALL)
_FLAGS = re.compile(rb"FLAGS \(([^)]*)\)")
_DATE = re.compile(rb'INTERNALDATE "([^"]+)"')


@dataclass(frozen=True, slots=True)
class Found:
    """What a server has of one message."""

    sha256: str
    flags: frozenset[str]
    instant: int


@dataclass(frozen=True, slots=True)
class Difference:
    """One way in which the mailboxes are not the same."""

    folder: str
    kind: str
    """folder, missing, extra, flags or date."""
    detail: str


def read_mailbox(session: imaplib.IMAP4) -> dict[tuple[str, ...], list[Found]]:
    """Read every message of an account, by folder."""
    return {path: list(_messages(session, raw)) for path, raw in layout(session).folders.items()}


def count_messages(session: imaplib.IMAP4) -> int:
    """Count the messages of an account."""
    total = 0
    for raw in layout(session).folders.values():
        for line in run(session, b"STATUS " + quote(raw) + b" (MESSAGES)"):
            if found := re.search(rb"MESSAGES (\d+)", line):
                total += int(found[1])
    return total


def compare_mailboxes(source: imaplib.IMAP4, destination: imaplib.IMAP4) -> list[Difference]:
    """Return all differences; an empty list means that the mailboxes are the same."""
    return compare_found(read_mailbox(source), read_mailbox(destination))


def compare_found(
    here: Mapping[tuple[str, ...], list[Found]], there: Mapping[tuple[str, ...], list[Found]]
) -> list[Difference]:
    """Return all differences between what was read of a source and of a destination."""
    differences: list[Difference] = []
    for path in sorted(here.keys() | there.keys()):
        name = "/".join(path)
        if path not in there:
            differences.append(Difference(name, "folder", "is missing at the destination"))
        elif path not in here:
            differences.append(Difference(name, "folder", "is not at the source"))
        else:
            differences += _compare_folder(name, here[path], there[path])
    return differences


def _compare_folder(name: str, here: list[Found], there: list[Found]) -> Iterator[Difference]:
    ours, theirs = _by_content(here), _by_content(there)
    for sha in sorted(ours.keys() | theirs.keys()):
        a, b = ours.get(sha, []), theirs.get(sha, [])
        if len(a) != len(b):
            kind = "missing" if len(a) > len(b) else "extra"
            yield Difference(name, kind, f"{sha}: {len(a)} at the source, {len(b)} at the other")
            continue
        if Counter(m.flags for m in a) != Counter(m.flags for m in b):
            yield Difference(name, "flags", f"{sha}: {_flags(a)} became {_flags(b)}")
        if Counter(m.instant for m in a) != Counter(m.instant for m in b):
            dates = [[time.strftime("%FT%TZ", time.gmtime(m.instant)) for m in x] for x in (a, b)]
            yield Difference(name, "date", f"{sha}: {dates[0]} became {dates[1]}")


def _by_content(messages: list[Found]) -> dict[str, list[Found]]:
    result: defaultdict[str, list[Found]] = defaultdict(list)
    for message in messages:
        result[message.sha256].append(message)
    return result


def _flags(messages: list[Found]) -> list[list[str]]:
    return [sorted(message.flags) for message in messages]


def _messages(session: imaplib.IMAP4, raw: bytes) -> Iterator[Found]:
    exists = 0
    for line in run(session, b"EXAMINE " + quote(raw)):
        if found := re.match(rb"\* (\d+) EXISTS", line):
            exists = int(found[1])
    for first in range(1, exists + 1, _WINDOW):
        last = min(first + _WINDOW - 1, exists)
        window = [
            _found(line)
            for line in run(
                session, b"FETCH %d:%d (FLAGS INTERNALDATE BODY.PEEK[])" % (first, last)
            )
            if b" FETCH (" in line[:40] and b"BODY[]" in line
        ]
        assert len(window) == last - first + 1, f"{raw!r}: {len(window)} answers for {first}:{last}"
        yield from window


def _found(line: bytes) -> Found:
    match = _FETCH.match(line)
    assert match, f"no FETCH answer: {line[:200]!r}"
    size = int(match[2] or 0)
    body = line[match.end() : match.end() + size]
    # The attributes may stand before the body or after it.
    attributes = match[1] + b" " + line[match.end() + size :]
    flags, date = _FLAGS.search(attributes), _DATE.search(attributes)
    assert flags, f"no flags: {attributes!r}"
    assert date, f"no date: {attributes!r}"
    words = {flag.decode("ascii", "replace") for flag in flags[1].split()}
    return Found(
        hashlib.sha256(body).hexdigest(), frozenset(words - {"\\Recent"}), _instant(date[1])
    )


def _instant(value: bytes) -> int:
    text, zone = value.decode("ascii").strip().rsplit(" ", 1)
    offset = int(zone[1:3]) * 3600 + int(zone[3:5]) * 60
    seconds = calendar.timegm(time.strptime(text, "%d-%b-%Y %H:%M:%S"))
    return seconds - offset if zone[0] == "+" else seconds + offset

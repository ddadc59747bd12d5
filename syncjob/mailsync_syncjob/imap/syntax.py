"""Pieces of IMAP's grammar (RFC 9051 section 9) that are sent or taken apart. Pure."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from mailsync_syncjob.dates import EPOCH_DAY, MONTHS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = [
    "astring",
    "count_of_set",
    "date_time",
    "parse_date_time",
    "quoted",
    "sequence_sets",
]

_MONTHS: Final = {name.encode("ascii"): number for number, name in enumerate(MONTHS, start=1)}
_DATE_TIME: Final = re.compile(
    rb'"?\s?(\d{1,2})-([A-Za-z]{3})-(\d{4}) (\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)"?'
)
# quoted = DQUOTE *QUOTED-CHAR DQUOTE; QUOTED-CHAR is any TEXT-CHAR but quoted-specials, or those
# with a backslash; TEXT-CHAR is 7-bit without CR and LF. NUL is no CHAR.
_QUOTABLE: Final = re.compile(rb"[\x01-\x09\x0b\x0c\x0e-\x7f]*")
_COMMAND_BYTES: Final = 900
_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001  what is added to it has the zone in it
_NUMBERS: Final = re.compile(rb"\d{1,10}(?::\d{1,10})?(?:,\d{1,10}(?::\d{1,10})?)*")


def quoted(value: bytes) -> bytes | None:
    """Return a quoted string, None when only a literal can carry the value."""
    if not _QUOTABLE.fullmatch(value) or len(value) > _COMMAND_BYTES:
        return None
    return b'"' + value.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def astring(value: bytes) -> bytes:
    """Return a mailbox name ready for a command.

    Raises
    ------
    ValueError
        It holds bytes that no quoted string can carry; mailbox names in modified UTF-7 have none.
    """
    text = quoted(value)
    if text is None:
        raise ValueError(f"{value!r} cannot be written as a quoted string")
    return text


def parse_date_time(value: bytes) -> tuple[int, int] | None:
    """Return an INTERNALDATE as seconds since 1970 and offset in minutes; None if it is not one."""
    found = _DATE_TIME.fullmatch(value)
    if found is None:
        return None
    day, month, year, hour, minute, second, sign, zone_hours, zone_minutes = found.groups()
    try:
        offset = int(zone_hours) * 60 + int(zone_minutes)
        offset = -offset if sign == b"-" else offset
        local = datetime(  # noqa: DTZ001  the zone is subtracted below
            int(year),
            _MONTHS[month.title()],
            int(day),
            int(hour),
            int(minute),
            min(int(second), 59),
        )
    except (KeyError, ValueError):
        return None
    days = local.toordinal() - EPOCH_DAY
    return days * 86400 + local.hour * 3600 + (local.minute - offset) * 60 + local.second, offset


def date_time(epoch: int, offset_minutes: int) -> bytes | None:
    """Return an instant as IMAP's date-time, in the zone it came with.

    None for an instant outside the years 1 to 9999, which the grammar cannot write.
    """
    if abs(offset_minutes) >= 24 * 60:
        offset_minutes = 0
    try:
        # The clock's reading there: objects for zones cost more than all the rest of this.
        moment = _EPOCH + timedelta(seconds=epoch + offset_minutes * 60)
    except OverflowError:
        return None
    sign = "-" if offset_minutes < 0 else "+"
    hours, minutes = divmod(abs(offset_minutes), 60)
    return (
        f'"{moment.day:2d}-{MONTHS[moment.month - 1]}-{moment.year:04d} '
        f'{moment.hour:02d}:{moment.minute:02d}:{moment.second:02d} {sign}{hours:02d}{minutes:02d}"'
    ).encode("ascii")


def sequence_sets(numbers: Iterable[int], *, limit: int = _COMMAND_BYTES) -> Iterator[bytes]:
    """Write numbers as sequence sets with ranges, each at most ``limit`` bytes long.

    The order is kept; only runs of consecutive ascending numbers become ranges. RFC 2683 section
    3.2.1.5 advises lines of at most 1,000 octets.
    """
    line = b""
    for first, last in _ranges(numbers):
        part = b"%d" % first if first == last else b"%d:%d" % (first, last)
        if line and len(line) + 1 + len(part) > limit:
            yield line
            line = b""
        line = line + b"," + part if line else part
    if line:
        yield line


def count_of_set(sequence_set: bytes) -> int | None:
    """Return how many numbers a set without ``*`` holds; None if it is none."""
    if not _NUMBERS.fullmatch(sequence_set):
        return None
    count = 0
    for part in sequence_set.split(b","):
        first, _, last = part.partition(b":")
        count += abs(int(last or first) - int(first)) + 1
    return count


def _ranges(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    first = last = -1
    for number in numbers:
        if first >= 0 and number == last + 1:
            last = number
            continue
        if first >= 0:
            yield first, last
        first = last = number
    if first >= 0:
        yield first, last

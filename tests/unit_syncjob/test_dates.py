"""Dates are read in a fast way that gives what the lenient one gives."""

from __future__ import annotations

import calendar
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsync_syncjob.dates import header_instant, lenient_instant
from mailsync_syncjob.imap.syntax import date_time, parse_date_time


@pytest.mark.parametrize(
    ("value", "instant"),
    [
        (b" Mon, 1 Jan 2024 10:00:00 +0000\r\n", 1_704_103_200),
        (b" 01 Jan 2024 10:00:00 +0130 (somewhere)\r\n", 1_704_097_800),
        (b" Mon,  1 Jan 2024 10:00:00 -0500", 1_704_121_200),
        (b" Mon, 1 Jan 2024 10:00 GMT", 1_704_103_200),
        (b" Mon, 1 Jan 24 10:00:00 +0000", 1_704_103_200),
        (b" no date", None),
        (b"", None),
        (b" 31 Feb 2024 00:00:00 +0000", 1_709_337_600),
        (b" 1 Jan 2024 10:00:00 +" + b"9" * 40, None),
    ],
)
def test_the_date_header(value: bytes, instant: int | None) -> None:
    assert header_instant(value) == instant


_WORDS = st.sampled_from(
    [
        *(b"Mon,", b"Mon", b"mon,", b"Mon,1", b"1", b"01", b"31", b"32", b"99", b"0", b"x"),
        *(b"Jan", b"JAN", b"Feb", b"Dec", b"January", b"Foo", b"2024", b"1999", b"24", b"0024"),
        *(b"10:00:00", b"10:00", b"25:61:61", b"1:2:3", b"10.00.00", b"+0000", b"-0000"),
        *(b"+0130", b"-2359", b"+9999", b"+000", b"+00000", b"GMT", b"EST", b"(UTC)", b"+0000,"),
    ]
)
_USUAL = st.tuples(
    st.sampled_from([b"", b"Mon, ", b"Tue,  ", b"Mittwoch, "]),
    st.sampled_from([b"1", b"01", b"31", b"00", b"99"]),
    st.sampled_from([b" Jan ", b" Feb  ", b" Dec ", b" jan ", b" Foo ", b"\tMay ", b"-Jan-"]),
    st.sampled_from([b"2024", b"1970", b"1600", b"9999", b"0099", b"24", b"20244"]),
    st.sampled_from([b" 10:00:00 ", b" 23:59:60 ", b" 99:99:99 ", b" 10:00 ", b" 10:00:00"]),
    st.sampled_from([b"+0000", b"-0000", b"+0199", b"-9900", b"GMT", b"+01300", b"0100", b""]),
    st.sampled_from([b"", b"\r\n", b" (CET)\r\n", b",", b"x", b"\x1c", b"\x85", b" 5 6"]),
).map(b"".join)


@given(st.one_of(_USUAL, st.lists(_WORDS, max_size=8).map(b" ".join), st.binary(max_size=40)))
def test_the_fast_way_gives_what_the_lenient_one_gives(value: bytes) -> None:
    assert header_instant(value) == lenient_instant(value)


_MOMENTS = st.datetimes(min_value=datetime(1000, 1, 1), max_value=datetime(9998, 1, 1))  # noqa: DTZ001
_ZONES = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(_MOMENTS, _ZONES)
def test_what_mail_programs_write_is_read(moment: datetime, zone: timezone) -> None:
    zoned = moment.replace(microsecond=0, tzinfo=zone)
    instant = calendar.timegm(zoned.astimezone(UTC).timetuple())
    assert header_instant(b" " + format_datetime(zoned).encode("ascii") + b"\r\n") == instant
    offset = int(zone.utcoffset(None).total_seconds()) // 60
    written = date_time(instant, offset)
    assert written is not None
    assert parse_date_time(written) == (instant, offset)

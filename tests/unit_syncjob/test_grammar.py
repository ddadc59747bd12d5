"""What is sent and what is taken apart: quoting, dates, sequence sets, answers, words."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsync_syncjob.imap.parse import FetchItems, parse_any_fetch, parse_fetch, parse_values
from mailsync_syncjob.imap.syntax import date_time, parse_date_time, quoted, sequence_sets
from mailsync_syncjob.texts import Meaning, parse_status_text, sanitise

if TYPE_CHECKING:
    from collections.abc import Callable


@given(st.binary(max_size=40))
def test_a_quoted_string_holds_the_value_and_no_line_end(value: bytes) -> None:
    text = quoted(value)
    if text is None:
        assert set(value) & {0, 10, 13} or any(byte > 127 for byte in value)
    else:
        assert not set(text) & {0, 10, 13}
        assert parse_values([text]) == [value]


_NUMBERS = st.lists(st.integers(1, 3000), max_size=400, unique=True)


@given(_NUMBERS.map(sorted), st.integers(20, 900))
def test_sequence_sets_hold_each_number_once_on_short_lines(numbers: list[int], limit: int) -> None:
    sets = list(sequence_sets(numbers, limit=limit))
    found: list[int] = []
    for line in sets:
        assert len(line) <= limit
        for part in line.split(b","):
            first, _, last = part.partition(b":")
            found.extend(range(int(first), int(last or first) + 1))
    assert found == numbers


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        (b"17-Jul-1996 02:44:25 -0700", datetime(1996, 7, 17, 9, 44, 25, tzinfo=UTC)),
        (b" 1-Jan-1970 00:00:00 +0000", datetime(1970, 1, 1, tzinfo=UTC)),
        (b'"01-jan-2038 05:45:00 +0545"', datetime(2038, 1, 1, tzinfo=UTC)),
        (b"31-Dec-1969 23:59:59 +0000", datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_dates_are_instants(text: bytes, instant: datetime) -> None:
    parsed = parse_date_time(text)
    assert parsed is not None
    assert parsed[0] == int(instant.timestamp())


@pytest.mark.parametrize(
    "text", [b"", b"yesterday", b"32-Jan-2020 00:00:00 +0000", b"01-Foo-2020 00:00:00 +0000"]
)
def test_what_is_no_date_is_none(text: bytes) -> None:
    assert parse_date_time(text) is None


@given(st.integers(-62135424000, 253402128000), st.integers(-1439, 1439))
def test_a_date_survives_being_written(epoch: int, offset: int) -> None:
    text = date_time(epoch, offset)
    assert text is not None
    assert parse_date_time(text) == (epoch, offset)


def test_a_date_beyond_the_calendar_cannot_be_written() -> None:
    assert date_time(10**15, 0) is None


@pytest.mark.parametrize(
    ("parts", "items"),
    [
        (
            [b'5 FETCH (UID 9 FLAGS (\\Seen a) INTERNALDATE "x" RFC822.SIZE 12)'],
            FetchItems(5, 9, (b"\\Seen", b"a"), b"x", 12),
        ),
        (
            [b"1 FETCH (BODY[HEADER.FIELDS (MESSAGE-ID DATE)] {3}", b"a)b", b" UID 2)"],
            FetchItems(1, 2, has_body=True, body=b"a)b"),
        ),
        ([b'1 FETCH (BODY[] "" UID 2)'], FetchItems(1, 2, has_body=True, body=b"")),
        ([b"1 FETCH (BODY[] NIL UID 2)"], FetchItems(1, 2, has_body=True, body=None)),
        ([b"1 fetch (uid 2 flags ())"], FetchItems(1, 2, ())),
        ([b'1 FETCH (UID 2 MODSEQ (12) X-GM-LABELS ("a b" c))'], FetchItems(1, 2)),
        ([b"1 FETCH (FLAGS ({4}", b"a\r\nb", b" c))"], FetchItems(1, flags=(b"a\r\nb", b"c"))),
        ([b"12 EXISTS"], None),
        ([b"OK FETCH"], None),
        ([b""], None),
    ],
)
def test_fetch_answers(parts: list[bytes], items: FetchItems | None) -> None:
    assert parse_fetch(parts) == items


@pytest.mark.parametrize(
    "text",
    [
        b"1 FETCH",
        b"1 FETCH x",
        b"1 FETCH (UID x)",
        b"1 FETCH (UID 4294967296)",
        b"1 FETCH (UID 1 RFC822.SIZE 9223372036854775808)",
        b"1 FETCH (UID 1",
        b"1 FETCH (UID 1))",
        b'1 FETCH ("',
    ],
)
def test_fetch_answers_that_are_none(text: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_fetch([text])


_PIECES = st.sampled_from(
    [
        *(b"UID 7", b"UID 4294967296", b"uid 8", b"UID 07", b"UID x", b"UID NIL", b"UID  9"),
        *(b"FLAGS (\\Seen $a)", b"FLAGS ()", b"FLAGS (NIL a)", b"FLAGS ( a  b )", b"FLAGS NIL"),
        *(b"FLAGS (a (b))", b'FLAGS ("a b")', b"FLAGS (\\*)", b"FLAGS (\xe9\t|)"),
        *(b'INTERNALDATE "1-Jan-2024 00:00:00 +0000"', b'INTERNALDATE ""', b"INTERNALDATE x"),
        *(b'INTERNALDATE "a\\"b"', b"RFC822.SIZE 12", b"RFC822.SIZE 9223372036854775808"),
        *(b"MODSEQ (5)", b"BODY[HEADER.FIELDS (A B)] {3}", b"BODY[] {3}", b"BODY[]<0> {3}"),
        *(b"BODY[] NIL", b'BODY[] "x"', b"BODY[] ~{3}", b"X", b"(", b")", b"", b"{3}"),
    ]
)
_ENDS = st.sampled_from([b")", b" )", b"", b"))", b" UID 3)", b") x", b" FLAGS (b))", b"]"])


@given(
    st.sampled_from([b"1", b"12", b"x", b"0012", b""]),
    st.sampled_from([b" FETCH (", b" fetch (", b" FETCH  (", b" FETCH ", b" EXISTS ("]),
    st.lists(_PIECES, max_size=6),
    _ENDS,
    st.none() | _ENDS,
)
def test_the_fast_way_to_read_an_answer_gives_what_the_general_one_gives(
    number: bytes, verb: bytes, pieces: list[bytes], end: bytes, after: bytes | None
) -> None:
    text = number + verb + b" ".join(pieces)
    parts = [text + end] if after is None else [text, b"a)b", after]

    def outcome(parse: Callable[[list[bytes]], FetchItems | None]) -> object:
        try:
            return parse(parts)
        except ValueError as error:
            return str(error)

    assert outcome(parse_fetch) == outcome(parse_any_fetch)


@given(st.binary(max_size=60))
def test_any_text_is_parsed_or_refused(text: bytes) -> None:
    try:
        parse_values([text])
    except ValueError:
        return


@pytest.mark.parametrize(
    ("text", "code", "meaning", "seconds"),
    [
        (b"[AUTHENTICATIONFAILED] no", "AUTHENTICATIONFAILED", Meaning.OTHER, None),
        (b"[overquota] full", "OVERQUOTA", Meaning.OVER_QUOTA, None),
        (b"Mailbox is full", "", Meaning.OVER_QUOTA, None),
        (b"[LIMIT] too large", "LIMIT", Meaning.OTHER, None),
        (b"[THROTTLED] slow down", "THROTTLED", Meaning.THROTTLED, None),
        (
            b"Request is throttled. Suggested Backoff Time: 1001 milliseconds",
            "",
            Meaning.THROTTLED,
            2,
        ),
        (b"[ALERT] Too many simultaneous connections. (Failure)", "ALERT", Meaning.THROTTLED, None),
        (b"Account exceeded command or bandwidth limits.", "", Meaning.THROTTLED, 3600),
        (b"[UNAVAILABLE] later", "UNAVAILABLE", Meaning.OTHER, None),
        (b"[APPENDUID 7 8] done", "APPENDUID", Meaning.OTHER, None),
        (b"[HIGHESTMODSEQ 5]", "HIGHESTMODSEQ", Meaning.OTHER, None),
        (b"", "", Meaning.OTHER, None),
    ],
)
def test_what_servers_mean(text: bytes, code: str, meaning: Meaning, seconds: int | None) -> None:
    status = parse_status_text(text)
    assert (status.code, status.meaning, status.retry_after_seconds) == (code, meaning, seconds)


@given(st.binary(max_size=900))
def test_words_are_one_printable_line(raw: bytes) -> None:
    text = sanitise(raw)
    assert text
    assert len(text) <= 300
    assert "\n" not in text
    assert "\x1b" not in text


def test_secrets_are_masked_wherever_they_stand() -> None:
    said = sanitise(b"no: hunter2, aHVudGVyMg==, hunter2", secrets=("hunter2", "aHVudGVyMg=="))
    assert said == "no: ***, ***, ***"

"""Which messages are missing: never one too few, and none twice."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsync_syncjob.compare import Item, compare
from mailsync_syncjob.identity import identify, identify_bare


def _item(
    uid: int, header: bytes, *, size: int = 100, instant: int | None = 1000, bare: bool = False
) -> Item:
    identity = identify_bare([header]) if bare else identify(header)
    return Item(uid, size, None if instant is None else (instant, 0), (), identity)


def _header(message_id: str | None = "<1@x>", **fields: str) -> bytes:
    lines = [f"Message-ID: {message_id}"] if message_id is not None else []
    lines += [f"{name.title()}: {value}" for name, value in fields.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


_DATE = "Mon, 1 Jan 2024 10:00:00 +0000"
_PLAIN = _header(date=_DATE, subject="hello")


@pytest.mark.parametrize(
    ("source", "destination", "missing"),
    [
        pytest.param([_item(1, _PLAIN)], [], [1], id="nothing there"),
        pytest.param([_item(1, _PLAIN)], [_item(9, _PLAIN)], [], id="there"),
        pytest.param(
            [_item(1, _PLAIN), _item(2, _PLAIN)], [_item(9, _PLAIN)], [2], id="one of two"
        ),
        pytest.param(
            [_item(1, _PLAIN)], [_item(9, _PLAIN, size=130, instant=5)], [], id="date and size lost"
        ),
        pytest.param(
            [_item(1, _PLAIN)],
            [_item(9, _header("<1@x>", date=_DATE, subject="[list] hello"), instant=5)],
            [],
            id="another subject, same Date header",
        ),
        pytest.param(
            [_item(1, _PLAIN)],
            [_item(9, _header("<1@x>", date="Tue, 2 Jan 2024 10:00:00 +0000"), instant=5)],
            [1],
            id="same id, all else different",
        ),
        pytest.param(
            [_item(1, _PLAIN, instant=1, size=10), _item(2, _PLAIN, instant=2, size=20)],
            [_item(9, _PLAIN, instant=2, size=20)],
            [1],
            id="each copy finds its own by date",
        ),
        pytest.param(
            [_item(1, _PLAIN, size=10), _item(2, _PLAIN, size=20)],
            [_item(9, _PLAIN, size=20)],
            [1],
            id="each copy finds its own by size",
        ),
        pytest.param(
            [_item(1, _header(None, **{"from": "cron", "subject": "job"}), instant=1)],
            [_item(9, _header(None, **{"from": "cron", "subject": "job"}), instant=2, size=7)],
            [1],
            id="nightly mails are not the same",
        ),
        pytest.param(
            [_item(1, _header(None, date=_DATE, subject="s"))],
            [_item(9, _header("<new@server>", date=_DATE, subject="s"))],
            [],
            id="the destination added a Message-ID",
        ),
        pytest.param(
            [_item(1, _header("<a@x>", date=_DATE, subject="s"))],
            [_item(9, _header("<b@x>", date=_DATE, subject="s"))],
            [1],
            id="different ids are different messages",
        ),
        pytest.param(
            [_item(1, b"x-odd: 1\r\n\r\n", bare=True)],
            [_item(9, b"x-odd: 1\r\n\r\n", bare=True, size=101)],
            [],
            id="bare, a final line end added",
        ),
        pytest.param(
            [_item(1, b"", bare=True, size=5, instant=3)],
            [_item(9, b"", bare=True, size=6, instant=4)],
            [1],
            id="bare and nothing in common",
        ),
    ],
)
def test_what_is_missing(source: list[Item], destination: list[Item], missing: list[int]) -> None:
    assert [item.uid for item in compare(source, destination).missing] == missing


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b"Message-ID: <1@x>\r\n\r\n", b"message-id:<1@x>\n\n"),
        (b"Message-ID: <1@x>\r\n\r\n", b"Message-ID:\r\n <1@x>\r\n\r\n"),
        (b"Message-ID: <1@x>\r\n\r\n", b"Message-ID: <1@x> (added)\r\n\r\n"),
        (b"Message-ID: <1@x>\r\nSubject: a b\r\n", b"Subject: a\r\n\tb\r\nMessage-ID: <1@x>\r\n"),
        (b"Subject: gr\xfc\xdfe\r\n\r\n", b"Subject: grXXe\r\n\r\n"),
        (b"Subject: nul\0here\r\n\r\n", b"Subject: nul\x80here\r\n\r\n"),
    ],
    ids=["case and line ends", "folding", "comment", "order", "8-bit", "NUL"],
)
def test_what_servers_change_does_not_count(one: bytes, other: bytes) -> None:
    assert identify(one) == identify(other)


@pytest.mark.parametrize(
    "header",
    [b"", b"\r\n", b"Message-ID:\r\n\r\n", b"Message-ID: \r\nSubject:\r\n"],
)
def test_a_message_without_identity_is_known_as_such(header: bytes) -> None:
    assert identify(header).bare


@given(st.binary(max_size=200), st.integers(0, 200))
def test_a_whole_header_may_come_in_pieces(header: bytes, cut: int) -> None:
    assert identify_bare([header]) == identify_bare([header[:cut], header[cut:]])


@given(st.binary(max_size=200))
def test_any_header_has_an_identity(header: bytes) -> None:
    identify(header)
    identify_bare([header])


_HEADERS = st.sampled_from(
    [
        _PLAIN,
        _header("<2@x>", date=_DATE, subject="hello"),
        _header(None, subject="job"),
        _header(None, date=_DATE, subject="s"),
        _header("<1@x>", subject="no date"),
        _header("", subject="empty id"),
    ]
)
_ITEMS = st.lists(
    st.builds(
        _item,
        st.just(0),
        _HEADERS,
        size=st.sampled_from([10, 20]),
        instant=st.sampled_from([None, 1, 2]),
    ),
    max_size=12,
).map(lambda items: [replace(item, uid=number) for number, item in enumerate(items, start=1)])


def _stored(items: list[Item]) -> list[Item]:
    return [replace(item, uid=1000 + item.uid) for item in items]


@given(_ITEMS, _ITEMS)
def test_what_is_copied_is_there_the_next_time(source: list[Item], there: list[Item]) -> None:
    missing = list(compare(source, there).missing)
    after = compare(source, [*there, *_stored(missing)])
    assert not after.missing


@given(_ITEMS, _ITEMS)
def test_each_message_is_matched_once(source: list[Item], there: list[Item]) -> None:
    result = compare(source, there)
    matched = [a.uid for a, _ in result.matched]
    assert sorted(matched + [item.uid for item in result.missing]) == [i.uid for i in source]
    assert len({b.uid for _, b in result.matched}) == len(result.matched)
    assert result.extra == len(there) - len(result.matched)


@given(_ITEMS)
def test_a_whole_copy_has_no_gap_and_no_part_of_it_is_copied_twice(source: list[Item]) -> None:
    assert not compare(source, _stored(source)).missing
    half = source[: len(source) // 2]
    assert len(compare(source, _stored(half)).missing) == len(source) - len(half)


@given(_ITEMS, st.sampled_from(["date", "size", "headers"]))
def test_a_destination_that_changes_one_thing_is_not_copied_to_again(
    source: list[Item], change: str
) -> None:
    """What is copied with a Message-ID and a date is found again whatever one thing changes."""
    solid = [i for i in source if i.identity.message_id and i.identity.sent and i.date]
    for number, item in enumerate(solid):
        other = item.identity if change != "headers" else replace(item.identity, headers=b"?")
        solid_there = replace(
            item,
            uid=1000 + number,
            identity=other,
            date=(9, 0) if change == "date" else item.date,
            size=999 if change == "size" else item.size,
        )
        assert not compare([item], [solid_there]).missing

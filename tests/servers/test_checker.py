"""The checker finds each single difference; otherwise its silence would mean nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta, timezone
from typing import TYPE_CHECKING

import pytest

from tests.support.checker import compare_mailboxes
from tests.support.mailbox import load, plain_message

if TYPE_CHECKING:
    from tests.servers.conftest import Pair
    from tests.support.mailbox import Message

pytestmark = pytest.mark.servers

_MESSAGES = [
    plain_message(1),
    plain_message(2, flags=["\\Seen", "todo"]),
    plain_message(3, path=("Box", "below")),
]


def _changed(index: int, changed: Message) -> list[Message]:
    return [changed if i == index else message for i, message in enumerate(_MESSAGES)]


_BODY = replace(_MESSAGES[0], body=_MESSAGES[0].body.replace(b"quick", b"quiet"))
_LATER = replace(_MESSAGES[1], date=_MESSAGES[1].date + timedelta(seconds=1))


@pytest.mark.parametrize(
    ("destination", "kinds"),
    [
        (_MESSAGES, []),
        (_MESSAGES[1:], ["missing"]),
        ([*_MESSAGES, _MESSAGES[0]], ["extra"]),
        (_changed(0, _BODY), ["extra", "missing"]),
        (_changed(1, replace(_MESSAGES[1], flags=("\\Seen",))), ["flags"]),
        (_changed(1, replace(_MESSAGES[1], flags=())), ["flags"]),
        (_changed(1, _LATER), ["date"]),
        (_changed(2, replace(_MESSAGES[2], path=("Box",))), ["extra", "folder"]),
    ],
    ids=["same", "one less", "one twice", "a byte", "a keyword", "flags", "a second", "folder"],
)
def test_each_difference_is_found(pair: Pair, destination: list[Message], kinds: list[str]) -> None:
    with pair.source() as source, pair.destination() as other:
        load(source, _MESSAGES)
        load(other, destination)
        found = compare_mailboxes(source, other)
    assert sorted(difference.kind for difference in found) == kinds


def test_the_same_instant_in_another_zone_is_no_difference(pair: Pair) -> None:

    elsewhere = timezone(timedelta(hours=-8))
    moved = [replace(m, date=m.date.astimezone(elsewhere)) for m in _MESSAGES]
    with pair.source() as source, pair.destination() as other:
        load(source, _MESSAGES)
        load(other, moved)
        assert compare_mailboxes(source, other) == []

"""Which messages are missing, in few and plain words: what the engine's comparison is checked by.

It looks at every pair of messages, so it is only for a handful of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mailsync_syncjob.compare import Item

__all__ = ["PlainComparison", "plain_compare", "plain_look_alikes"]


@dataclass
class PlainComparison:
    """The result."""

    missing: list[Item] = field(default_factory=list)
    matched: list[tuple[Item, Item]] = field(default_factory=list)
    extra: int = 0


def plain_compare(source: Sequence[Item], destination: Sequence[Item]) -> PlainComparison:
    """Return what is missing at the destination."""
    left, there = list(source), list(destination)
    pairs: dict[int, Item] = {}
    for same in _RULES:
        for item in list(left):
            other = next((other for other in there if same(item, other)), None)
            if other is not None:
                pairs[item.uid] = other
                left.remove(item)
                there.remove(other)
    matched = [(item, pairs[item.uid]) for item in source if item.uid in pairs]
    return PlainComparison(left, matched, len(there))


def plain_look_alikes(result: PlainComparison) -> tuple[set[int], set[int]]:
    """Return the UIDs of messages that nothing but their bodies can tell apart."""
    ours: set[int] = set()
    theirs: set[int] = set()
    for lost in result.missing:
        for here, there in result.matched:
            if _exact(lost, here):
                ours |= {lost.uid, here.uid}
                theirs.add(there.uid)
    return ours, theirs


def _exact(one: Item, other: Item) -> bool:
    return (
        one.identity.message_id == other.identity.message_id
        and one.identity.headers == other.identity.headers
        and one.instant == other.instant
        and one.size == other.size
    )


def _same_bytes(one: Item, other: Item) -> bool:
    return one.digest is not None and one.digest == other.digest and _exact(one, other)


def _same_id(one: Item, other: Item) -> bool:
    """Whether both have the same Message-ID, or both have none."""
    return one.identity.message_id == other.identity.message_id


def _same_headers(one: Item, other: Item) -> bool:
    return one.identity.headers is not None and one.identity.headers == other.identity.headers


def _same_id_and_headers(one: Item, other: Item) -> bool:
    return (
        not one.identity.bare
        and _same_id(one, other)
        and one.identity.headers == other.identity.headers
    )


def _same_instant(one: Item, other: Item) -> bool:
    return one.instant is not None and one.instant == other.instant


def _same_sent(one: Item, other: Item) -> bool:
    return one.identity.sent is not None and one.identity.sent == other.identity.sent


def _id_headers(one: Item, other: Item) -> bool:
    """Without a Message-ID both must have a Date, whose value is part of the headers."""
    if not _same_id_and_headers(one, other):
        return False
    dated = one.identity.sent is not None and other.identity.sent is not None
    return one.identity.message_id is not None or dated


def _without_any(one: Item, other: Item) -> bool:
    nameless = all(i.identity.message_id is None and i.identity.sent is None for i in (one, other))
    return nameless and _same_instant(one, other) and one.size == other.size


def _headers_date(one: Item, other: Item) -> bool:
    dated = one.identity.sent is not None and other.identity.sent is not None
    return (
        one.identity.message_id is None
        and dated
        and _same_headers(one, other)
        and _same_instant(one, other)
    )


_RULES: Sequence[Callable[[Item, Item], bool]] = (
    _same_bytes,
    _exact,
    lambda a, b: _same_id_and_headers(a, b) and _same_instant(a, b),
    lambda a, b: _same_id_and_headers(a, b) and a.size == b.size,
    lambda a, b: a.identity.message_id is not None and _same_id(a, b) and _same_instant(a, b),
    _id_headers,
    lambda a, b: a.identity.message_id is not None and _same_id(a, b) and _same_sent(a, b),
    _without_any,
    _headers_date,
)
"""What makes two messages the same, strictest first."""

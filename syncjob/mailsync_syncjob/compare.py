"""Which messages of a folder are missing at the destination. Pure.

Both folders are multisets: a message that is there twice must be there twice. Messages with the
same Message-ID form a group, and within it the best fit is taken first, so that of two copies which
differ only in date and size each finds its own.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Sequence

    from mailsync_syncjob.identity import Identity

__all__ = ["Comparison", "Item", "compare", "look_alikes"]


@dataclass(frozen=True, slots=True)
class Item:
    """One message of a folder."""

    uid: int
    size: int
    date: tuple[int, int] | None
    """INTERNALDATE: seconds since 1970 and the zone's offset in minutes."""
    flags: tuple[bytes, ...]
    identity: Identity
    digest: bytes | None = None
    """Of all its bytes; only where nothing else tells it from others."""

    @property
    def instant(self) -> int | None:
        """INTERNALDATE as seconds since 1970; servers give it back in other zones."""
        return self.date[0] if self.date else None


@dataclass(frozen=True, slots=True)
class Comparison:
    """The result, in UID order of the source."""

    missing: tuple[Item, ...]
    """Messages that the destination lacks."""
    matched: tuple[tuple[Item, Item], ...]
    """Pairs of the same message: source, destination."""
    extra: int
    """How many of the destination's messages have no match."""


_Key: TypeAlias = "Callable[[Item], Hashable | None]"
"""What must be equal for two messages to be the same; None for one that cannot be judged so."""


def compare(source: Sequence[Item], destination: Iterable[Item]) -> Comparison:
    """Return what is missing at the destination.

    Notes
    -----
    Each pass pairs messages that are equal by a key, from the strictest key to the loosest. In no
    pass are two messages paired that only resemble each other: taking one for the other would lose
    it, whereas a message copied in vain is at worst a duplicate.
    """
    pairs: dict[int, Item] = {}
    left = list(source)
    there = list(destination)
    for source_key, destination_key in _PASSES:
        if not left or not there:
            break
        offers = [(destination_key(item), item) for item in there]
        left, there = _pair(left, offers, key=source_key, pairs=pairs)
    return Comparison(
        missing=tuple(left),
        matched=tuple((item, pairs[item.uid]) for item in source if item.uid in pairs),
        extra=len(there),
    )


def look_alikes(comparison: Comparison) -> tuple[frozenset[int], frozenset[int]]:
    """Return the UIDs of messages that nothing but their bodies can tell apart, on each side.

    A program may write several messages within a second that differ in their bodies only. While
    some of them are at the destination and others are not, it matters which.
    """
    missing = {_exact(item) for item in comparison.missing}
    if not missing or not comparison.matched:
        return frozenset(), frozenset()
    pairs = [pair for pair in comparison.matched if _exact(pair[0]) in missing]
    keys = {_exact(here) for here, _ in pairs}
    left = (item.uid for item in comparison.missing if _exact(item) in keys)
    return (
        frozenset({here.uid for here, _ in pairs}.union(left)),
        frozenset(there.uid for _, there in pairs),
    )


def _pair(
    source: Iterable[Item],
    offers: Iterable[tuple[Hashable | None, Item]],
    *,
    key: _Key,
    pairs: dict[int, Item],
) -> tuple[list[Item], list[Item]]:
    """Pair by one key and return what is left of both sides, in order."""
    offered: defaultdict[Hashable, list[Item]] = defaultdict(list)
    unjudged: list[Item] = []
    for value, item in offers:
        (unjudged if value is None else offered[value]).append(item)
    for items in offered.values():
        items.reverse()  # so that pop() gives the lowest UID
    left: list[Item] = []
    for item in source:
        value = key(item)
        candidates = offered.get(value) if value is not None else None
        if candidates:
            pairs[item.uid] = candidates.pop()
        else:
            left.append(item)
    rest = [*unjudged, *(item for items in offered.values() for item in items)]
    rest.sort(key=lambda item: item.uid)
    return left, rest


def _same_bytes(item: Item) -> Hashable | None:
    return None if item.digest is None else (item.digest, _exact(item))


def _exact(item: Item) -> Hashable | None:
    identity = item.identity
    return (identity.message_id, identity.headers, item.instant, item.size)


def _id_headers_date(item: Item) -> Hashable | None:
    identity = item.identity
    if identity.bare or item.instant is None:
        return None
    return (identity.message_id, identity.headers, item.instant)


def _id_headers_size(item: Item) -> Hashable | None:
    identity = item.identity
    return None if identity.bare else (identity.message_id, identity.headers, item.size)


def _id_date(item: Item) -> Hashable | None:
    """Allow that the destination rewrote headers but kept the internal date."""
    if item.identity.message_id is None or item.instant is None:
        return None
    return (item.identity.message_id, item.instant)


def _id_headers(item: Item) -> Hashable | None:
    """Allow that the destination set its own date and changed the size.

    Without a Message-ID only a Date header makes equal headers mean the same message: those of
    mails that a program sends every night are equal too.
    """
    identity = item.identity
    if identity.bare or (identity.message_id is None and identity.sent is None):
        return None
    return (identity.message_id, identity.headers)


def _id_sent(item: Item) -> Hashable | None:
    """Headers rewritten and the internal date lost: Message-ID and Date are what is left."""
    identity = item.identity
    if identity.message_id is None or identity.sent is None:
        return None
    return (identity.message_id, identity.sent)


def _without_any(item: Item) -> Hashable | None:
    """Neither Message-ID nor Date, and the destination changed what headers there are."""
    identity = item.identity
    if identity.message_id is not None or identity.sent is not None or item.instant is None:
        return None
    return (item.instant, item.size)


def _headers_date(item: Item) -> Hashable | None:
    if item.identity.headers is None or item.identity.sent is None or item.instant is None:
        return None
    return (item.identity.headers, item.instant)


def _headers_date_without_id(item: Item) -> Hashable | None:
    """Allow that the destination gave the message a Message-ID, as Exchange does."""
    return _headers_date(item) if item.identity.message_id is None else None


_PASSES: tuple[tuple[_Key, _Key], ...] = (
    (_same_bytes, _same_bytes),
    (_exact, _exact),
    (_id_headers_date, _id_headers_date),
    (_id_headers_size, _id_headers_size),
    (_id_date, _id_date),
    (_id_headers, _id_headers),
    (_id_sent, _id_sent),
    (_without_any, _without_any),
    (_headers_date_without_id, _headers_date),
)
"""The keys of each pass, for the source and for the destination, strictest first."""

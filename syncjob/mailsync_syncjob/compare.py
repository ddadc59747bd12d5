"""Which messages of a folder are missing at the destination. Pure.

Both folders are multisets: a message that is there twice must be there twice. Messages with the
same Message-ID form a group, and within it the best fit is taken first, so that of two copies which
differ only in date and size each finds its own.

A folder may hold a million messages. So what is equal is looked up by parts: only those messages
are in a dictionary at a time whose keys fall into the same part, and what is found are their places
in the listings.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias, overload

from typing_extensions import override

from mailsync_syncjob.listing import NO_DIGEST, NO_TIME, Item, Listing, Places, Selection

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator

__all__ = ["Comparison", "Item", "Pairs", "compare", "look_alikes"]

_PART: Final = 1 << 14
"""About how many messages are looked up at a time; each takes some 400 bytes meanwhile."""
_NOBODY: Final = (1 << 32) - 1
"""Stands for no place in a listing."""

_Key: TypeAlias = "Callable[[Listing, int], Hashable | None]"
"""What must be equal for two messages to be the same; None for one that cannot be judged so."""


class Pairs(Sequence[tuple[Item, Item]]):
    """Messages of the source, each with the same one at the destination."""

    __slots__ = ("here", "there")

    def __init__(self, here: Selection, there: Selection) -> None:
        self.here = here
        self.there = there

    @override
    def __len__(self) -> int:
        return len(self.here)

    @overload
    def __getitem__(self, index: int) -> tuple[Item, Item]: ...

    @overload
    def __getitem__(self, index: slice) -> Pairs: ...

    @override
    def __getitem__(self, index: int | slice) -> tuple[Item, Item] | Pairs:
        if isinstance(index, slice):
            return Pairs(self.here[index], self.there[index])
        return self.here[index], self.there[index]

    def flags(self) -> Iterator[tuple[tuple[bytes, ...], tuple[bytes, ...]]]:
        """Yield the flags of both, which are the same objects again and again."""
        return zip(self.here.flags(), self.there.flags(), strict=True)


@dataclass(frozen=True, slots=True)
class Comparison:
    """The result, in the order of the source's listing."""

    missing: Selection
    """Messages that the destination lacks."""
    matched: Pairs
    """Pairs of the same message: source, destination."""
    extra: int
    """How many of the destination's messages have no match."""


def compare(
    source: Iterable[Item], destination: Iterable[Item], *, part: int = _PART
) -> Comparison:
    """Return what is missing at the destination.

    Parameters
    ----------
    part
        How many messages are looked up at a time; matters for time and memory only.

    Notes
    -----
    Each pass pairs messages that are equal by a key, from the strictest key to the loosest. In no
    pass are two messages paired that only resemble each other: taking one for the other would lose
    it, whereas a message copied in vain is at worst a duplicate.
    """
    here, there = Listing.of(source), Listing.of(destination)
    pairing = _Pairing(here, there, part=part)
    if here.told_apart and there.told_apart:
        pairing.pair(_same_bytes, _same_bytes)
    for source_key, destination_key in _PASSES:
        pairing.pair(source_key, destination_key)
    return pairing.result()


def look_alikes(comparison: Comparison, *, part: int = _PART) -> tuple[Selection, Selection]:
    """Return messages that nothing but their bodies can tell apart, on each side.

    A program may write several messages within a second that differ in their bodies only. While
    some of them are at the destination and others are not, it matters which.
    """
    missing, matched = comparison.missing, comparison.matched
    here = missing.listing
    ours, theirs = array("I"), array("I")
    partners = array("I", [_NOBODY]) * (len(here) if missing else 0)
    if missing:
        for place, partner in zip(matched.here.places, matched.there.places, strict=True):
            partners[place] = partner
    sides = ((here, missing.places, _exact), (here, matched.here.places, _exact))
    for left, paired in _parts(*sides, size=part) if missing and matched else ():
        wanted = {_exact(here, place) for place in left}
        found: set[Hashable] = set()
        for place in paired:
            key = _exact(here, place)
            if key in wanted:
                found.add(key)
                ours.append(place)
                theirs.append(partners[place])
        if found:
            ours.extend(place for place in left if _exact(here, place) in found)
    return (
        Selection(here, array("I", sorted(ours))),
        Selection(matched.there.listing, array("I", sorted(theirs))),
    )


class _Pairing:
    """Pairs messages, pass by pass; what is paired once stays so."""

    def __init__(self, here: Listing, there: Listing, *, part: int) -> None:
        self._here = here
        self._there = there
        self._part = part
        self._partners = array("I", [_NOBODY]) * len(here)
        """Of each message of the source, its place at the destination."""
        self._taken = bytearray(len(there))
        self._following = array("I", [_NOBODY]) * len(there)
        """Of messages of the destination with equal keys, each one's next."""
        self._left: Places = range(len(here))
        self._offered: Places = range(len(there))

    def pair(self, source_key: _Key, destination_key: _Key) -> None:
        """Pair what is left of both sides by one key."""
        if not self._left or not self._offered:
            return
        ours = (self._here, self._left, source_key)
        theirs = (self._there, self._offered, destination_key)
        for left, offered in _parts(ours, theirs, size=self._part):
            if left and offered:
                self._pair_part(left, offered, source_key, destination_key)
        self._left = array("I", (p for p in self._left if self._partners[p] == _NOBODY))
        self._offered = array("I", (p for p in self._offered if not self._taken[p]))

    def _pair_part(
        self, left: Places, offered: Places, source_key: _Key, destination_key: _Key
    ) -> None:
        first: dict[Hashable, int] = {}
        for place in reversed(offered):  # so that the first of equal ones is taken first
            key = destination_key(self._there, place)
            if key is not None:
                self._following[place] = first.get(key, _NOBODY)
                first[key] = place
        for place in left:
            key = source_key(self._here, place)
            partner = first.get(key, _NOBODY)
            if partner != _NOBODY:
                first[key] = self._following[partner]
                self._partners[place] = partner
                self._taken[partner] = True

    def result(self) -> Comparison:
        """Return what was paired and what was not."""
        matched = array("I", (p for p, other in enumerate(self._partners) if other != _NOBODY))
        partners = array("I", (other for other in self._partners if other != _NOBODY))
        return Comparison(
            missing=Selection(self._here, self._left),
            matched=Pairs(Selection(self._here, matched), Selection(self._there, partners)),
            extra=len(self._offered),
        )


def _parts(*sides: tuple[Listing, Places, _Key], size: int) -> Iterator[tuple[Places, ...]]:
    """Yield the messages of all sides in parts, so that equal keys are in the same one."""
    count = 1 + max(len(places) for _, places, _ in sides) // size
    if count == 1:
        yield tuple(places for _, places, _ in sides)
        return
    parts = [[array("I") for _ in range(count)] for _ in sides]
    for side, (listing, places, key_of) in zip(parts, sides, strict=True):
        for place in places:
            key = key_of(listing, place)
            if key is not None:
                side[hash(key) % count].append(place)
    yield from zip(*parts, strict=True)


def _same_bytes(listing: Listing, place: int) -> Hashable | None:
    digest = listing.digest(place)
    return None if digest is None else (digest, _exact(listing, place))


def _exact(listing: Listing, place: int) -> Hashable | None:
    return listing.exact(place)


def _id_headers_date(listing: Listing, place: int) -> Hashable | None:
    row = listing.row(place)
    if row.bare or row.instant == NO_TIME:
        return None
    return (row.message_id, row.headers, row.instant)


def _id_headers_size(listing: Listing, place: int) -> Hashable | None:
    row = listing.row(place)
    return None if row.bare else (row.message_id, row.headers, row.size)


def _id_date(listing: Listing, place: int) -> Hashable | None:
    """Allow that the destination rewrote headers but kept the internal date."""
    row = listing.row(place)
    if row.message_id == NO_DIGEST or row.instant == NO_TIME:
        return None
    return (row.message_id, row.instant)


def _id_headers(listing: Listing, place: int) -> Hashable | None:
    """Allow that the destination set its own date and changed the size.

    Without a Message-ID only a Date header makes equal headers mean the same message: those of
    mails that a program sends every night are equal too.
    """
    row = listing.row(place)
    if row.bare or (row.message_id == NO_DIGEST and row.sent == NO_TIME):
        return None
    return (row.message_id, row.headers)


def _id_sent(listing: Listing, place: int) -> Hashable | None:
    """Headers rewritten and the internal date lost: Message-ID and Date are what is left."""
    row = listing.row(place)
    if row.message_id == NO_DIGEST or row.sent == NO_TIME:
        return None
    return (row.message_id, row.sent)


def _without_any(listing: Listing, place: int) -> Hashable | None:
    """Neither Message-ID nor Date, and the destination changed what headers there are."""
    row = listing.row(place)
    if row.message_id != NO_DIGEST or row.sent != NO_TIME or row.instant == NO_TIME:
        return None
    return (row.instant, row.size)


def _headers_date(listing: Listing, place: int) -> Hashable | None:
    row = listing.row(place)
    if row.headers == NO_DIGEST or NO_TIME in {row.sent, row.instant}:
        return None
    return (row.headers, row.instant)


def _headers_date_without_id(listing: Listing, place: int) -> Hashable | None:
    """Allow that the destination gave the message a Message-ID, as Exchange does."""
    if listing.row(place).message_id != NO_DIGEST:
        return None
    return _headers_date(listing, place)


_PASSES: tuple[tuple[_Key, _Key], ...] = (
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

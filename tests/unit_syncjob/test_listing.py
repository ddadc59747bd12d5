"""A listing keeps what it is given, in little memory, and is compared as objects would be."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from mailsync_syncjob.compare import compare, look_alikes
from mailsync_syncjob.identity import Identity
from mailsync_syncjob.listing import Item, Listing, Selection
from tests.support.plain_compare import plain_compare, plain_look_alikes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_LISTING_BYTES = 80
"""What a message may take in a listing; docs/performance.md says so."""
_COMPARING_BYTES = 160
"""What it may take at both sides together, with all that comparing them needs."""

_MANY = settings(max_examples=10 * settings().max_examples)


def _digests(count: int, length: int = 12) -> st.SearchStrategy[bytes | None]:
    return st.sampled_from([None, *(bytes([n]) * length for n in range(1, count + 1))])


# Python's hashes of -1 and -2 are the same, so keys of different messages collide.
_TIMES = st.sampled_from([None, -1, -2, 1000])
_IDENTITIES = st.builds(Identity, _digests(2), _digests(2), _TIMES)
_ITEMS = st.builds(
    Item,
    uid=st.just(0),
    size=st.sampled_from([10, 20]),
    date=_TIMES.map(lambda instant: None if instant is None else (instant, 60)),
    flags=st.sampled_from([(), (b"\\Seen",), (b"\\Seen", b"$a")]),
    identity=_IDENTITIES,
    digest=_digests(2, 16),
)


def _folder(first: int) -> st.SearchStrategy[list[Item]]:
    return st.lists(_ITEMS, max_size=14).map(
        lambda items: [replace(item, uid=first + n) for n, item in enumerate(items)]
    )


@given(_folder(1))
def test_a_listing_gives_back_what_it_was_given(items: list[Item]) -> None:
    listing = Listing(items)
    assert list(listing) == items
    assert list(listing[1:]) == items[1:]
    assert Listing.of(listing) is listing
    chosen = Selection(listing).where(lambda item: item.size == 10)
    assert list(chosen) == [item for item in items if item.size == 10]
    assert chosen.total_bytes == 10 * len(chosen)
    assert [uid for part in chosen.parts(3) for uid in part.uids()] == [i.uid for i in chosen]
    assert list(chosen.flags()) == [item.flags for item in chosen]


@given(_folder(1), st.data())
def test_a_message_gets_another_identity(items: list[Item], data: st.DataObject) -> None:
    listing = Listing(items)
    for place, item in enumerate(items):
        identity = data.draw(_IDENTITIES)
        listing.identify(place, identity)
        assert listing[place] == replace(item, identity=identity)


@_MANY
@given(_folder(1), _folder(1001), st.sampled_from([1, 3, 1000]))
def test_it_is_compared_as_plain_objects_are(
    source: list[Item], there: list[Item], part: int
) -> None:
    """Also where keys have equal hashes, and where only part of them is looked up at a time."""
    result, plain = compare(source, there, part=part), plain_compare(source, there)
    assert list(result.missing) == plain.missing
    assert list(result.matched) == plain.matched
    assert result.extra == plain.extra
    ours, theirs = look_alikes(result, part=part)
    assert (list(ours.uids()), list(theirs.uids())) == tuple(
        sorted(uids) for uids in plain_look_alikes(plain)
    )


def _numbered(numbers: Iterable[int]) -> Iterator[Item]:
    for number in numbers:
        digest = b"%012d" % number
        flags = (b"\\Seen",) if number % 2 else ()
        yield Item(number, 300, (10**9 + number, 0), flags, Identity(digest, digest, 10**9))


def test_a_message_takes_few_bytes() -> None:
    """Both bounds are missed by far where the messages are objects."""
    count = 40_000
    tracemalloc.start()
    try:
        here = Listing(_numbered(range(1, count + 1)))
        listed, _ = tracemalloc.get_traced_memory()
        there = Listing(_numbered(range(1, count, 2)))
        result = compare(here, there, part=1000)
        ours, _ = look_alikes(result, part=1000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (len(result.missing), len(result.matched), len(ours)) == (count // 2, count // 2, 0)
    assert listed / count < _LISTING_BYTES
    assert peak / count < _COMPARING_BYTES

"""How work is shared: every message once, in order, evenly; no connection without enough to do."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from mailsync_syncjob.compare import Item
from mailsync_syncjob.identity import Identity
from mailsync_syncjob.sharing import Shares, Supply

_NOBODY = Identity(None, None, None)


def _items(sizes: list[int]) -> list[Item]:
    return [Item(uid, size, None, (), _NOBODY) for uid, size in enumerate(sizes, start=1)]


@given(st.lists(st.integers(0, 1 << 24), max_size=2000), st.integers(1, 8))
def test_each_message_is_given_away_once_and_shares_are_contiguous(
    sizes: list[int], hands: int
) -> None:
    items = _items(sizes)
    supply = Supply(items, Shares())
    shares: list[Sequence[Item]] = []
    while share := supply.take(hands):
        shares.append(share)
        left = sum(sizes) - sum(item.size for one in shares for item in one)
        assert (supply.messages, supply.bytes) == (len(items) - sum(map(len, shares)), left)
    assert [item for share in shares for item in share] == items
    for share in shares:
        assert len(share) <= Shares().most_messages
        assert len(share) == 1 or sum(item.size for item in share) <= Shares().most_bytes


@given(st.integers(1, 50_000), st.integers(1, 8))
def test_workers_of_the_same_speed_end_at_about_the_same_time(count: int, hands: int) -> None:
    shares = Shares()
    supply = Supply(_items([1000] * count), shares)
    done = [0] * hands
    while supply.messages:
        done[done.index(min(done))] += len(supply.take(hands))
    assert sum(done) == count
    # One that has nothing left waits for as long as a share of the others takes, at most.
    assert max(done) - min(done) <= max(shares.least_messages, count // (2 * hands) + 1)


def test_what_is_closed_is_given_to_nobody() -> None:
    supply = Supply(_items([10, 20, 30]), Shares(least_messages=1, most_messages=1))
    assert [item.uid for item in supply.take(1)] == [1]
    supply.close()
    assert not supply.take(1)
    assert (supply.messages, supply.bytes) == (0, 0)


def test_another_pair_must_pay() -> None:
    shares = Shares(pair_messages=100, pair_bytes=1000)
    assert shares.pairs(0, 0, most=4) == 1
    assert shares.pairs(100, 1000, most=4) == 1
    assert shares.pairs(101, 0, most=4) == 2
    assert shares.pairs(3, 2001, most=4) == 3
    assert shares.pairs(10**6, 10**12, most=4) == 4
    assert shares.pairs(10**6, 10**12, most=1) == 1


@given(st.integers(0, 10**6), st.integers(0, 10**12), st.integers(1, 50))
def test_there_is_one_pair_at_least_and_never_more_than_allowed(
    messages: int, size: int, most: int
) -> None:
    assert 1 <= Shares().pairs(messages, size, most=most) <= most

"""How messages are put together: bounded, in order, and smaller where batches are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsync_syncjob.batching import (
    LEAST_BYTES,
    MOST_BYTES,
    MOST_MESSAGES,
    BatchSize,
    Window,
    fetch_batches,
)
from mailsync_syncjob.compare import Item
from mailsync_syncjob.identity import Identity
from mailsync_syncjob.imap.syntax import count_of_set, sequence_sets

_NOBODY = Identity(None, None, None)


def _items(sizes: list[int]) -> list[Item]:
    return [Item(uid, size, None, (), _NOBODY) for uid, size in enumerate(sizes, start=1)]


@given(st.lists(st.integers(0, 1 << 27), max_size=900))
def test_fetches_have_all_messages_in_order_and_are_bounded(sizes: list[int]) -> None:
    items = _items(sizes)
    batches = list(fetch_batches(items))
    assert [item for batch in batches for item in batch] == items
    for batch in batches:
        assert 0 < len(batch) <= 200
        assert len(batch) == 1 or sum(item.size for item in batch) <= 64 << 20


@given(st.lists(st.booleans()))
def test_the_size_of_a_batch_stays_within_its_bounds(answers: list[bool]) -> None:
    size = BatchSize()
    for stored in answers:
        if stored:
            size.taken()
        else:
            size.refused()
        assert 1 <= size.messages <= MOST_MESSAGES


def test_batches_that_are_refused_end_at_single_messages_and_others_grow_again() -> None:
    size = BatchSize()
    for _ in range(6):
        size.refused()
    assert size.messages == 1
    for _ in range(4 * 6):
        size.taken()
    assert size.messages == MOST_MESSAGES


def test_a_batch_is_full_by_number_or_by_bytes() -> None:
    size = BatchSize(most=3)
    assert not size.full(2, MOST_BYTES - 1)
    assert size.full(3, 0)
    assert size.full(1, MOST_BYTES)


@given(st.sets(st.integers(1, 1 << 31), min_size=1, max_size=50))
def test_a_set_counts_what_was_written_into_it(numbers: set[int]) -> None:
    sets = sequence_sets(sorted(numbers))
    assert sum(count_of_set(text) or 0 for text in sets) == len(numbers)


@pytest.mark.parametrize("text", [b"", b"*", b"1:*", b"1,", b"a", b"1:2:3", b"1 2", b"9" * 11])
def test_what_is_no_set_of_numbers_has_no_count(text: bytes) -> None:
    assert count_of_set(text) is None


def test_the_ends_of_a_range_may_come_in_any_order() -> None:
    assert count_of_set(b"9:7,3") == 4


@pytest.mark.parametrize(
    ("seconds", "messages"), [(0.0, 32), (0.002, 32), (0.01, 20), (0.05, 4), (0.5, 2), (60.0, 2)]
)
def test_what_is_under_way_is_soon_done(seconds: float, messages: int) -> None:
    window = Window()
    for _ in range(100):
        window.answered(3, 3 * seconds)
    assert window.messages == pytest.approx(messages, abs=1)
    assert window.messages >= 2


def test_a_batch_that_takes_long_is_followed_by_smaller_ones_and_larger_ones_again() -> None:
    size = BatchSize()
    for _ in range(9):
        size.taken(30.0)
    assert (size.bytes, size.messages) == (LEAST_BYTES, MOST_MESSAGES)
    assert size.full(1, LEAST_BYTES)
    for _ in range(4 * 9):
        size.taken(1.0)
    assert size.bytes == MOST_BYTES

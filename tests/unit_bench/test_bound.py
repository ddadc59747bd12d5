"""How connections share the commands of the raw bound."""

from __future__ import annotations

from tests.bench.bound import Shelves


def test_a_connection_keeps_to_its_folder_until_it_is_empty() -> None:
    shelves = Shelves({b"a": [b"a1", b"a2"], b"b": [b"b1", b"b2"]})
    first, second = shelves.take(0), shelves.take(1)
    assert {first, second} == {b"a1", b"b1"}
    assert first is not None
    assert shelves.take(0) == first[:1] + b"2"


def test_connections_share_the_folder_where_most_is_left() -> None:
    shelves = Shelves({b"a": [b"a1"], b"b": [b"b1", b"b2", b"b3"]})
    assert shelves.take(0) == b"b1"
    assert shelves.take(1) == b"a1"
    assert shelves.take(1) == b"b2"
    assert shelves.take(0) == b"b3"
    assert shelves.take(0) is None
    assert shelves.take(1) is None

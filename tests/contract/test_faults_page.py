"""docs/faults.md: its table is the one that is run."""

from __future__ import annotations

from tests.faults.table import FAULTS, table
from tests.support.pages import page


def test_the_page_has_this_table() -> None:
    assert table() in page("faults.md")


def test_each_row_is_there_once() -> None:
    rows = [(fault.name, side) for fault in FAULTS for side in fault.sides]
    assert len(set(rows)) == len(rows)

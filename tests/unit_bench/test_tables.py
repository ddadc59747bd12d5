"""What is made of figures."""

from __future__ import annotations

import pytest

from tests.bench.measure import Figures
from tests.bench.tables import replaced, summary, table
from tests.bench.variants import SETS, VARIANTS, Variant


def test_a_table_compares_medians_with_the_first_that_copies() -> None:
    figures = [
        Figures("start-up alone", [0.5, 0.4, 9.0], [0.3], [], [40.0], copies=False),
        Figures("ours", [2.0, 1.0, 9.0], [0.7], [1.0], [60.0], exact="yes"),
        Figures("another", [20.0], [9.0], [], [189.4], exact="no: 1 missing"),
    ]
    variant = Variant("name", "A question", ("start", "ours", "another@1"), milliseconds=20)
    text = table(variant, figures, runs=3)
    assert text.startswith("A question: 5000 messages, clear text, 20 ms to each side, median of 3")
    assert "| start-up alone | 0.50 |  | 0.30 |  |  | 40 |  |" in text
    assert "| ours | 2.00 | 1.00 | 0.70 | 1.00 | 1.00 | 60 | yes |" in text
    assert "| another (1 run) | 20.00 | 10.00 | 9.00 |  |  | 189 | no: 1 missing |" in text
    assert text.endswith("- ours: first copy 1.50 s, again 0.50 s, memory 20 MiB")


def test_a_summary_has_the_ratios_of_all_variants() -> None:
    ours, another = Figures("ours", [2.0]), Figures("another", [5.0])
    third, start = Figures("third", [1.0]), Figures("start-up alone", [1.0], copies=False)
    assert summary({"a": [start, ours, another], "b": [ours, third]}).splitlines() == [
        "| | another | third |",
        "|---|---|---|",
        "| a | 2.50 |  |",
        "| b |  | 0.50 |",
    ]


def test_a_page_keeps_what_stands_around() -> None:
    page = "before\n<!-- bench: a -->\nold\n<!-- bench: end -->\nafter\n<!-- bench: b -->\n"
    assert replaced(page, "a", "new") == page.replace("old", "new")
    with pytest.raises(ValueError, match="no place for c"):
        replaced(page, "c", "new")
    with pytest.raises(ValueError, match="no place for b"):
        replaced(page, "b", "new")


def test_sets_name_variants() -> None:
    assert {name for names in SETS.values() for name in names} == set(VARIANTS)

"""Generated mailboxes are real enough for a run, and the growth table says what was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mailsync_api.exitcodes import ExitCode
from tests.bench.generated import generated
from tests.bench.growth import CASES, Case, row
from tests.support.engine import Engine

if TYPE_CHECKING:
    from pathlib import Path

_COUNT = 700


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_a_generated_mailbox_is_what_its_case_says(case: Case, tmp_path: Path) -> None:
    there = case.there(_COUNT)
    with generated(range(1, _COUNT + 1)) as source, generated(there) as destination:
        result = Engine(tmp_path, source, destination, **case.job).run()
    assert result.exit_code == ExitCode.DONE, result.said
    assert result.verdict
    totals = result.verdict.totals
    assert (totals.messages, totals.already_present) == (_COUNT, len(there))
    assert totals.copied == _COUNT - len(there)
    assert totals.flags_updated == 0


def test_the_table_shows_how_a_cost_grows() -> None:
    line = row(CASES[0], 100_000, 4.0, mib=57.3, before=(10_000, 0.4))
    assert line == "| nothing there, compared | 100,000 | 4.00 | 40 | 1.00 | 57 |"

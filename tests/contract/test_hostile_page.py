"""docs/hostile-servers.md: its tables are the ones that are run, its limits those of the code."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailsync_syncjob.deadline import Patience
from mailsync_syncjob.imap.channel import (
    MAX_LONG_ANSWER,
    MAX_SHORT_ANSWER,
    MAX_SMALL_LITERAL,
    MAX_SMALL_TALK,
    MAX_UNTAGGED,
)
from mailsync_syncjob.imap.fetch import MOST_OF_WINDOW, WINDOW
from mailsync_syncjob.imap.session import HOLD_BYTES
from mailsync_syncjob.imap.wire import MAX_LINE_BYTES
from tests.support.hostile.case import Phase
from tests.support.hostile.sources import sources_table
from tests.support.hostile.table import CASES, table

_PAGE = (Path(__file__).parents[2] / "docs" / "hostile-servers.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("phase", Phase)
def test_the_page_has_this_table(phase: Phase) -> None:
    section = _PAGE.partition(f"## {phase.value}\n")[2].partition("\n## ")[0]
    assert table(phase) in section


def test_the_page_has_the_table_of_sources() -> None:
    section = _PAGE.partition("## A source and a real destination\n")[2].partition("\n## ")[0]
    assert sources_table() in section


def test_every_case_is_in_a_table() -> None:
    rows = sum(len(table(phase).splitlines()) - 2 for phase in Phase)
    assert rows == len(CASES)


def test_the_limits_are_those_of_the_code() -> None:
    limits = _PAGE.partition("## Limits\n")[2]
    patience, kib, mib = Patience(), 1 << 10, 1 << 20
    short, window = f"{patience.command:.0f} s", f"{patience.window:.0f} s"
    for text in (
        f"{patience.connect:.0f} s each",
        f"{patience.greeting:.0f} s and {MAX_SMALL_TALK // kib} KiB each",
        f"{short} and {MAX_SHORT_ANSWER // kib} KiB",
        f"{short}, {MAX_LONG_ANSWER // mib} MiB and {MAX_UNTAGGED:,} answers",
        f"{WINDOW:,} messages | {window}, {MOST_OF_WINDOW // mib} MiB and {MAX_UNTAGGED:,} answers",
        f"one byte | {patience.silence:.0f} s",
        f"one line | {MAX_LINE_BYTES // mib} MiB",
        f"no message | {MAX_SMALL_LITERAL // mib} MiB",
        f"{short} and its size at {patience.slowest_bytes_per_second // kib} KiB/s; more than "
        f"{HOLD_BYTES // mib} MiB",
    ):
        assert text in limits, text

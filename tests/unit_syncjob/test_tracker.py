from __future__ import annotations

import tracemalloc

from typing_extensions import override

from mailsync_api.report import SkippedMessage
from mailsync_syncjob.deadline import Clock
from mailsync_syncjob.identity import UNKNOWN
from mailsync_syncjob.listing import Item
from mailsync_syncjob.tracker import MOST_LISTED, FolderFigures, Tracker
from mailsync_syncjob.watching import FolderWatch
from tests.support.recorded import Recorded


class _StillClock(Clock):
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    @override
    def monotonic(self) -> float:
        return self.now

    @override
    def time(self) -> float:
        return 1_700_000_000 + self.now


def _tracked(*folders: FolderFigures) -> tuple[Tracker, _StillClock, Recorded]:
    clock, output = _StillClock(), Recorded()
    tracker = Tracker(clock, output)
    tracker.add(folders)
    return tracker, clock, output


def test_progress_is_said_at_most_once_a_second() -> None:
    tracker, clock, output = _tracked()
    for _ in range(100):
        tracker.tick()
        clock.now += 0.1
    assert len(output.figures) == 10


def test_rates_and_the_end_are_those_of_late() -> None:
    folder = FolderFigures("a", "a", messages=1000, bytes_total=1_000_000)
    tracker, clock, _ = _tracked(folder)
    for _ in range(60):
        tracker.progress()
        clock.now += 1
        folder.copied += 10
        folder.copied_bytes += 10_000
    progress = tracker.progress()
    assert progress.messages_per_second == 10
    assert progress.bytes_per_second == 10_000
    assert progress.percent == 60
    assert progress.estimated_completion_time is not None
    assert progress.update_time is not None
    left = progress.estimated_completion_time - progress.update_time
    assert left.total_seconds() == 40


def test_percent_is_by_messages_while_bytes_are_not_known() -> None:
    tracker, _, _ = _tracked(FolderFigures("a", "a", messages=10, copied=5))
    assert tracker.progress().percent == 50


def test_an_empty_mailbox_is_done_when_its_folders_are() -> None:
    folder = FolderFigures("a", "a", bytes_total=0)
    tracker, _, _ = _tracked(folder)
    assert tracker.progress().percent == 0
    folder.done = True
    assert tracker.progress().percent == 100


def test_a_second_comparison_counts_what_was_stored_unconfirmed() -> None:
    folder = FolderFigures("a", "a")
    folder.compared(messages=10, bytes_total=100, matched=4, matched_bytes=40, extra=0)
    folder.copied = 2
    folder.compared(messages=10, bytes_total=100, matched=7, matched_bytes=70, extra=0)
    assert (folder.present, folder.copied, folder.copied_bytes) == (4, 3, 30)
    assert folder.completed == 7


def test_totals_add_up() -> None:
    one = FolderFigures("a", "a", messages=5, bytes_total=50, copied=2, copied_bytes=20)
    two = FolderFigures("b", "b", messages=3, bytes_total=30, present=3, present_bytes=30)
    one.skipped[7] = SkippedMessage(folder="a", uid=7, reason="no")
    tracker, _, _ = _tracked(one, two)
    totals = tracker.totals()
    assert (totals.folders, totals.messages, totals.copied) == (2, 8, 2)
    assert (totals.already_present, totals.skipped, totals.bytes_total) == (3, 1, 80)
    assert [message.uid for message in tracker.skipped()] == [7]


def test_of_too_many_skipped_messages_only_the_uids_are_kept() -> None:
    """A million refused ones must not fill the memory; all are counted, and none is tried again."""
    folder = FolderFigures("a", "a", messages=30_000)
    tracker, _, _ = _tracked(folder)
    watch = FolderWatch(folder, tracker)
    reason = "refused for a reason of its own, message "

    def skip(numbers: range) -> None:
        for number in numbers:
            item = Item(number, 1, None, (), UNKNOWN)
            watch.skipped(item, reason + str(number))

    skip(range(1, MOST_LISTED + 1))
    tracemalloc.start()
    try:
        skip(range(MOST_LISTED + 1, 30_001))
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept / (30_000 - MOST_LISTED) < 150
    assert tracker.totals().skipped == 30_000
    assert [m.uid for m in tracker.skipped()] == list(range(1, MOST_LISTED + 1))
    assert all(number in folder.skipped for number in (1, 30_000))


def test_a_source_that_lists_less_than_it_announces_is_not_counted_one_by_one() -> None:
    folder = FolderFigures("a", "a")
    tracker, _, _ = _tracked(folder)
    FolderWatch(folder, tracker).unlisted(4_000_000_000)
    assert tracker.totals().skipped == 4_000_000_000
    assert len(tracker.skipped()) == MOST_LISTED

"""What is read from a profile."""

from __future__ import annotations

from tests.bench.profiles import RATE, Profile

_LINES = f"""\
thread (11);<module> (mailsync_syncjob/job.py:25);exec (<frozen importlib>:9) {RATE}
thread (11): MainThread;main (mailsync_syncjob/job.py:70);parse (a/imap/parse.py:10) {RATE}
thread (11): MainThread;main (mailsync_syncjob/job.py:71);parse (a/imap/parse.py:12) {RATE}
thread (12): reading;run (b/thread.py:1);run (b/thread.py:2) {RATE}
no stack
"""


def test_samples_are_counted_by_function_and_by_thread() -> None:
    profile = Profile.of(_LINES.splitlines(keepends=True))
    assert profile.threads == {"start": RATE, "MainThread": 2 * RATE, "reading": RATE}
    assert profile.own["imap.parse.parse"] == 2 * RATE
    assert profile.under["mailsync_syncjob.job.main"] == 2 * RATE
    # Once each, however deep it calls itself.
    assert profile.under["b.thread.run"] == RATE
    assert "| `imap.parse.parse` | 2.00 | 2.00 |" in profile.table()

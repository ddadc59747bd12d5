"""Whole runs under limits: nothing is lost or doubled, and the report says what held them up."""

from __future__ import annotations

from typing import Any

from mailsync_api.conditions import Reason
from mailsync_api.exitcodes import ExitCode
from tests.support.between import both, mail
from tests.support.scripted import TinyServer

_MAILS = {uid: mail(uid) for uid in range(1, 11)}
_SIZE = len(_MAILS[1])


def _bound(value: int) -> dict[str, Any]:
    return {"value": value, "origin": "a test"}


def _asked(said: bytes) -> list[int]:
    """Return how many messages were asked for with each command."""
    lines = [line for line in said.splitlines() if b"BODY.PEEK[])" in line]
    return [_count(line.split()[3]) for line in lines]


def _count(numbers: bytes) -> int:
    spans = [part.split(b":") for part in numbers.split(b",")]
    return sum(int(span[-1]) - int(span[0]) + 1 for span in spans)


def test_a_slow_run_copies_all_and_tells_what_held_it_up() -> None:
    with both(TinyServer(dict(_MAILS))) as pair:
        report, _ = pair.run(pace={"messagesPerSecond": _bound(4)})
        said = pair.source_script.said
    assert report.verdict.exit_code is ExitCode.DONE
    assert len(pair.destination.appended) == len(_MAILS)
    assert report.verdict.totals.bytes_read == sum(map(len, _MAILS.values()))
    [limit] = report.limits
    assert (limit.name, limit.value, limit.origin) == ("maxMessagesPerSecond", 4, "a test")
    assert limit.reached
    assert limit.waited_seconds >= 1
    # Half a burst at a time, so that one that comes late cannot make two bursts of it.
    assert max(_asked(said)) == 2


def test_bytes_are_asked_for_in_small_parts_too() -> None:
    with both(TinyServer(dict(_MAILS))) as pair:
        report, _ = pair.run(pace={"bytesPerSecond": _bound(6 * _SIZE)})
        said = pair.source_script.said
    assert report.verdict.exit_code is ExitCode.DONE
    assert max(_asked(said)) == 3
    assert [limit.name for limit in report.limits if limit.reached] == ["maxBytesPerSecond"]


def test_a_limit_that_holds_nobody_up_is_told_as_such() -> None:
    with both(TinyServer(dict(_MAILS))) as pair:
        report, _ = pair.run(pace={"bytesPerSecond": _bound(10**9)})
    [limit] = report.limits
    assert (limit.reached, limit.waited_seconds) == (False, 0)


def test_the_end_of_the_day_ends_the_run_and_the_next_one_goes_on() -> None:
    def day(left: int) -> dict[str, Any]:
        return {"daily": {"limit": _bound(10**6), "left": left, "renewedAfterSeconds": 900}}

    with both(TinyServer(dict(_MAILS))) as pair:
        report, _ = pair.run(pace=day(4 * _SIZE + 1))
        verdict = report.verdict
        assert verdict.exit_code is ExitCode.THROTTLED
        assert verdict.reason == Reason.DAILY_LIMIT_REACHED
        assert verdict.retry_after_seconds is not None
        assert 890 <= verdict.retry_after_seconds <= 900
        assert verdict.side is None
        assert verdict.totals.copied == len(pair.destination.appended) == 4
        assert report.limits[0].reached
        pair.destination.messages = {
            uid: body for uid, (_, body) in enumerate(pair.destination.appended, start=1)
        }
        report, _ = pair.run(pace=day(10**6))
    assert report.verdict.exit_code is ExitCode.DONE
    assert report.verdict.totals.already_present == 4
    stored = [body for _, body in pair.destination.appended]
    assert sorted(stored) == sorted(_MAILS.values())

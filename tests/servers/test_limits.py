"""Limits against a real Dovecot: what was asked of it and when, as seen on the line to it."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from mailsync_api.report import ProgressLine, parse_line
from tests.support.checker import Found, read_mailbox
from tests.support.dovecot import Settings, run_dovecot
from tests.support.engine import Account, Engine
from tests.support.line import Line, run_line
from tests.support.mailbox import load, plain_message
from tests.support.poll import wait_until

if TYPE_CHECKING:
    import imaplib
    from collections.abc import Iterator

    from tests.servers.conftest import Pair
    from tests.support.dovecot import Dovecot

pytestmark = pytest.mark.servers

_BODIES = re.compile(rb"UID FETCH ([0-9:,]+) \(UID BODY\.PEEK\[\]\)")
_FAST = 1 << 30


class _Asked(NamedTuple):
    """Bodies that were asked for with one command."""

    at: float
    messages: int
    size: int


def _asked(line: Line, sizes: dict[int, int]) -> list[_Asked]:
    """Return what was asked for, in the order of time; all messages are in one folder."""
    said: defaultdict[int, bytes] = defaultdict(bytes)
    found = []
    for at, connection, data in line.said:
        *whole, said[connection] = (said[connection] + data).split(b"\r\n")
        for command in whole:
            if match := _BODIES.search(command):
                uids = list(_uids(match[1]))
                found.append(_Asked(at, len(uids), sum(sizes[uid] for uid in uids)))
    return sorted(found)


def _uids(numbers: bytes) -> Iterator[int]:
    for part in numbers.split(b","):
        first, _, last = part.partition(b":")
        yield from range(int(first), int(last or first) + 1)


def _sizes(session: imaplib.IMAP4) -> dict[int, int]:
    session.select("INBOX", readonly=True)
    _, data = session.fetch("1:*", "(UID RFC822.SIZE)")
    pairs = re.findall(
        rb"UID (\d+) RFC822.SIZE (\d+)", b" ".join(row for row in data if isinstance(row, bytes))
    )
    return {int(uid): int(size) for uid, size in pairs}


def _most_over(asked: list[_Asked], amounts: list[int], rate: float) -> float:
    """Return by how much any span of time holds more than the rate allows it: the burst."""
    worst, level = 0.0, 0.0
    for index, amount in enumerate(amounts):
        if index:
            level -= rate * (asked[index].at - asked[index - 1].at)
        level = max(level, 0.0) + amount
        worst = max(worst, level)
    return worst


def _contents(session: imaplib.IMAP4) -> Counter[tuple[tuple[str, ...], Found]]:
    return Counter(
        (path, message) for path, messages in read_mailbox(session).items() for message in messages
    )


def _bound(value: int) -> dict[str, Any]:
    return {"value": value, "origin": "a test"}


@pytest.fixture
def source(pair: Pair) -> Iterator[tuple[Dovecot, Line]]:
    users = {pair.user: pair.source_password}
    settings = Settings(users=users, clear_text_logins=True)
    with (
        run_dovecot(settings) as server,
        run_line((server.host, server.port), bytes_per_second=_FAST, end=lambda _: None) as line,
    ):
        yield server, line


def _engine(pair: Pair, line: Line, **pace: Any) -> Engine:
    through = Account(line.host, line.port, pair.user, pair.source_password, tls={"mode": "None"})
    return Engine(pair.directory, through, pair.destination_account(), pace=pace)


@pytest.mark.parametrize(
    ("pace", "rate"),
    [("bytesPerSecond", 300_000), ("messagesPerSecond", 20)],
)
def test_no_span_of_time_holds_more_than_the_rate_and_a_burst(
    pair: Pair, source: tuple[Dovecot, Line], pace: str, rate: int
) -> None:
    server, line = source
    sizes_of = [2_000, 500, 40_000, 9_000, 700, 150_000]
    with server.login(pair.user, pair.source_password) as session:
        load(session, [plain_message(n, size=sizes_of[n % 6]) for n in range(1, 61)])
        sizes = _sizes(session)
    result = _engine(pair, line, **{pace: _bound(rate)}).run()
    assert result.exit_code == 0, result.said
    asked = _asked(line, sizes)
    assert sum(each.messages for each in asked) == 60
    amounts = [each.size if pace == "bytesPerSecond" else each.messages for each in asked]
    over = _most_over(asked, amounts, rate)
    span = asked[-1].at - asked[0].at
    print(
        f"{pace} {rate}: {sum(amounts)} in {span:.1f} s, "
        f"{sum(amounts[:-1]) / span:.0f} per second, at most {over:.0f} at once"
    )
    # A second's worth is the burst. A thread that the machine lets run late makes the next one
    # seem early, which half a burst at a time keeps within one more.
    assert over <= 2 * rate
    assert result.report is not None
    [limit] = result.report.limits
    assert (limit.value, limit.reached) == (rate, True)
    with server.login(pair.user, pair.source_password) as here, pair.destination() as there:
        assert _contents(here) == _contents(there)


def test_a_run_that_waits_for_its_turn_stops_at_once_and_loses_nothing(
    pair: Pair, source: tuple[Dovecot, Line]
) -> None:
    server, line = source
    with server.login(pair.user, pair.source_password) as session:
        # The second message waits 1000 s for the first one to be paid.
        load(session, [plain_message(1, size=2_000_000), *(plain_message(n) for n in range(2, 9))])
    engine = _engine(pair, line, bytesPerSecond=_bound(2048))
    with engine.started() as process:
        with pair.destination() as watcher:
            wait_until(lambda: len(read_mailbox(watcher).get(("INBOX",), ())) == 1, 60)
        process.terminate()
        stopped = engine.finish(process, timeout=20)
    assert stopped.exit_code == 143, stopped.said
    assert stopped.verdict is not None
    assert stopped.verdict.totals.copied == 1
    again = _engine(pair, line).run()
    assert again.exit_code == 0, again.said
    with server.login(pair.user, pair.source_password) as here, pair.destination() as there:
        assert _contents(here) == _contents(there)


def test_the_day_ends_a_run_and_the_next_one_goes_on(
    pair: Pair, source: tuple[Dovecot, Line]
) -> None:
    server, line = source
    with server.login(pair.user, pair.source_password) as session:
        load(session, [plain_message(n, size=50_000) for n in range(1, 41)])
        sizes = _sizes(session)

    def day(left: int) -> dict[str, Any]:
        return {"daily": {"limit": _bound(1_000_000), "left": left, "renewedAfterSeconds": 5000}}

    first = _engine(pair, line, **day(1_000_000)).run()
    assert first.exit_code == 75, first.said
    assert first.verdict is not None
    assert first.verdict.reason == "DailyLimitReached"
    assert 4900 < (first.verdict.retry_after_seconds or 0) <= 5000
    assert first.verdict.totals.bytes_read <= 1_000_000
    copied = first.verdict.totals.copied
    assert copied == 1_000_000 // sizes[1]
    second = _engine(pair, line, **day(1_500_000)).run()
    assert second.exit_code == 0, second.said
    assert second.verdict is not None
    assert second.verdict.totals.already_present == copied
    assert sum(each.messages for each in _asked(line, sizes)) == 40
    with server.login(pair.user, pair.source_password) as here, pair.destination() as there:
        assert _contents(here) == _contents(there)


def test_the_time_that_is_told_is_that_of_the_limit(
    pair: Pair, source: tuple[Dovecot, Line]
) -> None:
    server, line = source
    with server.login(pair.user, pair.source_password) as session:
        load(session, [plain_message(n) for n in range(1, 61)])
    result = _engine(pair, line, messagesPerSecond=_bound(20)).run()
    lines = [parse_line(text) for text in result.stdout.splitlines()]
    told = [
        each.progress
        for each in lines
        if isinstance(each, ProgressLine) and each.progress.estimated_completion_time
    ]
    assert told
    for progress in told:
        assert progress.estimated_completion_time is not None
        assert progress.update_time is not None
        left = progress.estimated_completion_time - progress.update_time
        missing = progress.messages.total - progress.messages.completed
        # Times are told in whole seconds.
        assert left.total_seconds() >= missing // 20 - 1

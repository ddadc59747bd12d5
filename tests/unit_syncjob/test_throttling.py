"""What servers say when they have had enough: waited for within the run, or left for later."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from mailsync_api.conditions import Reason
from mailsync_api.endpoint import Side
from mailsync_api.exitcodes import ExitCode
from mailsync_syncjob.errors import ThrottledError
from mailsync_syncjob.pace import Easing, Pacer
from mailsync_syncjob.throttle import LONGEST_WAIT, UNSAID_WAITS, BackOff
from tests.support.between import both, mail
from tests.support.recorded import FastClock
from tests.support.scripted import Peer, TinyServer, says

if TYPE_CHECKING:
    from tests.support.between import Both
    from tests.support.scripted import Answer

_MAILS = {uid: mail(uid) for uid in range(1, 5)}
_MICROSOFT = b"Request is throttled. Suggested Backoff Time: %d milliseconds"
_GMAIL = b"[ALERT] Account exceeded command or bandwidth limits. (Failure)"


@dataclass(frozen=True)
class Said:
    """One server's words, and what the run makes of them."""

    text: bytes
    waited: int | None = None
    """Seconds within the run; None where it ends."""
    later: int | None = None
    """Seconds that it ends with."""
    at: tuple[bytes, ...] = (b"UID FETCH", b"APPEND", b"EXAMINE")
    """Commands that are answered so."""
    ways: tuple[bytes, ...] = (b"NO", b"BAD", b"BYE")


_TABLE = (
    # Microsoft 365; the number of the second was seen in public reports.
    Said(_MICROSOFT % 4500, waited=5),
    Said(b"AV3 " + _MICROSOFT % 201_317, later=202),
    Said(_MICROSOFT % 60_000, waited=60),
    Said(_MICROSOFT % 60_001, later=61),
    Said(_MICROSOFT % 0, waited=1),
    Said(_MICROSOFT % 3_000_000, later=3000),
    # Gmail: a lock of an hour or more.
    Said(_GMAIL, later=3600),
    Said(b"Account exceeded command or bandwidth limits. v7mb1234 (Failure)", later=3600),
    Said(b"[THROTTLED] Too many requests", waited=5),
    Said(b"[ALERT] Too many simultaneous connections. (Failure)", waited=5),
    # Yahoo.
    Said(b"[LIMIT] UID FETCH Rate limit hit.", waited=5),
    Said(b"[LIMIT] Try again later", waited=5, at=(b"UID FETCH", b"EXAMINE"), ways=(b"NO",)),
    Said(b"[UNAVAILABLE] EXAMINE Server error - Please try again later",
         waited=5, at=(b"EXAMINE",), ways=(b"NO",)),
    # iCloud.
    Said(b"Service temporarily unavailable", waited=5),
    # Amazon WorkMail, Dovecot, Courier, and whoever gives a time in words.
    Said(b"Rate exceeded", waited=5),
    Said(b"[LIMIT] Maximum number of connections from user+IP exceeded", waited=5),
    Said(b"Maximum connection limit reached for this address", waited=5),
    Said(b"[THROTTLED] Slow down, retry after 20 seconds", waited=20),
    Said(b"[THROTTLED] Try again in 5 minutes.", later=300),
    Said(b"Too many commands, wait 2 h", later=7200),
)  # fmt: skip
_CASES = [
    pytest.param(said, at, way, id=f"{at.decode()} {way.decode()} {said.text.decode()[:40]}")
    for said in _TABLE
    for at in said.at
    for way in said.ways
]


def _once(server: TinyServer, at: bytes, way: bytes, text: bytes) -> None:
    """Let the second command of a kind be answered so (the first one succeeds), once."""
    usual = server._defaults()[at]
    calls: list[int] = []

    def answer(peer: Peer, tag: bytes, rest: bytes) -> None:
        calls.append(1)
        if len(calls) > 1 or at == b"EXAMINE":
            server.answers.pop(at)
            peer.send((b"* BYE " if way == b"BYE" else tag + b" " + way + b" ") + text + b"\r\n")
            if way == b"BYE":
                peer.close()
        else:
            usual(peer, tag, rest)

    server.answers[at] = answer


@dataclass
class _Storing(TinyServer):
    """A destination whose messages are there when it is looked at again."""

    @override
    def append(self, peer: Peer, tag: bytes, rest: bytes) -> None:
        before = len(self.appended)
        super().append(peer, tag, rest)
        for _, body in self.appended[before:]:
            self.messages[len(self.messages) + 1] = body


def _pair_for(at: bytes) -> tuple[TinyServer, TinyServer, TinyServer]:
    source, destination = TinyServer(dict(_MAILS)), _Storing()
    return source, destination, destination if at == b"APPEND" else source


@pytest.mark.parametrize(("said", "at", "way"), _CASES)
def test_what_servers_say_is_waited_for_or_left_for_later(
    said: Said, at: bytes, way: bytes
) -> None:
    source, destination, tired = _pair_for(at)
    # One message a command, so that there is a second one.
    slow = {"messagesPerSecond": {"value": 2, "origin": "a test"}}
    pace = slow if at == b"UID FETCH" else {}
    _once(tired, at, way, said.text)
    with both(source, destination) as pair:
        report, _ = pair.run(pace=pace)
        verdict, [wait] = report.verdict, report.waits
        assert wait.side is (Side.DESTINATION if at == b"APPEND" else Side.SOURCE)
        if said.waited is not None:
            assert verdict.exit_code is ExitCode.DONE, verdict
            assert wait.waited_seconds == said.waited
        else:
            assert verdict.exit_code is ExitCode.THROTTLED, verdict
            assert verdict.retry_after_seconds == said.later
            assert wait.waited_seconds == 0
            report, _ = pair.run()  # and nothing is lost by that
            assert report.verdict.exit_code is ExitCode.DONE
        _assert_complete(pair)


def _assert_complete(pair: Both) -> None:
    stored = sorted(body for _, body in pair.destination.appended)
    assert stored == sorted(_MAILS.values())


@pytest.mark.parametrize(
    ("text", "waits", "later"),
    [(b"[THROTTLED] no", list(UNSAID_WAITS), 300), (_MICROSOFT % 9000, [9] * 5, 300)],
)
def test_a_server_that_never_has_enough_of_waiting_is_left_for_later(
    text: bytes, waits: list[int], later: int
) -> None:
    with both(TinyServer(dict(_MAILS), answers={b"EXAMINE": says(end=b"NO " + text)})) as pair:
        report, _ = pair.run()
    assert report.verdict.exit_code is ExitCode.THROTTLED
    assert report.verdict.retry_after_seconds == later
    assert [wait.waited_seconds for wait in report.waits] == [*waits, 0]


def test_a_login_that_is_put_off_is_not_waited_for_with_a_pod() -> None:
    busy: Answer = says(end=b"NO [THROTTLED] Suggested Backoff Time: 2000 milliseconds")
    with both(TinyServer(answers={b"AUTHENTICATE": busy})) as pair:
        report, _ = pair.run()
    assert report.verdict.exit_code is ExitCode.THROTTLED
    assert report.verdict.retry_after_seconds == 2
    assert pair.source_script.said.count(b"AUTHENTICATE") == 1


def test_a_refused_password_stays_one_whatever_is_said_of_waiting() -> None:
    text = b"NO [AUTHENTICATIONFAILED] too many login attempts, try again in 5 seconds"
    with both(TinyServer(answers={b"AUTHENTICATE": says(end=text)})) as pair:
        report, _ = pair.run()
    assert report.verdict.exit_code is ExitCode.CREDENTIALS
    assert report.verdict.retry_after_seconds is None


def test_a_message_that_is_unavailable_for_a_moment_is_not_skipped() -> None:
    source = TinyServer(dict(_MAILS))
    calls: list[int] = []

    def unable(peer: Peer, tag: bytes, rest: bytes) -> None:
        calls.append(1)
        if len(calls) <= 2:
            peer.send(tag + b" NO [UNAVAILABLE] UID FETCH Server error\r\n")
        else:
            source.bodies(peer, tag, rest)

    source.answers[b"UID FETCH"] = unable
    with both(source) as pair:
        report, _ = pair.run()
        assert report.verdict.exit_code is ExitCode.DONE
        _assert_complete(pair)


def test_a_folder_that_stays_unavailable_does_not_keep_the_others_waiting_for_ever() -> None:
    refusal = says(end=b"NO [UNAVAILABLE] broken")
    with both(TinyServer(dict(_MAILS), answers={b"EXAMINE": refusal})) as pair:
        report, _ = pair.run()
    assert report.verdict.exit_code is ExitCode.SKIPPED_ITEMS
    assert [wait.waited_seconds for wait in report.waits] == list(UNSAID_WAITS)
    assert report.verdict.totals.skipped == len(_MAILS)


# --- the decision, and the pace after it


def _error(seconds: int | None, reason: Reason | None = None) -> ThrottledError:
    return ThrottledError("slow", side=Side.SOURCE, reason=reason, retry_after_seconds=seconds)


def _back_off(copied: list[int]) -> BackOff:
    return BackOff(Pacer(clock=FastClock()), progress=lambda: copied[0])


@given(st.lists(st.tuples(st.none() | st.integers(0, 10**6), st.booleans()), max_size=30))
def test_no_wait_is_long_and_none_is_shorter_than_asked(
    requests: list[tuple[int | None, bool]],
) -> None:
    copied = [0]
    back_off = _back_off(copied)
    for asked, moved in requests:
        copied[0] += moved
        try:
            wait = back_off.wait(_error(asked))
        except ThrottledError as error:
            assert error.retry_after_seconds is not None  # noqa: PT017  either may be
            assert error.retry_after_seconds >= (asked or 0)  # noqa: PT017  as above
        else:
            assert max(asked or 0, 1) <= wait <= LONGEST_WAIT
    assert len(back_off.report()) == len(requests)


def test_what_was_copied_in_between_begins_a_new_row() -> None:
    copied = [0]
    back_off = _back_off(copied)
    waits = []
    for moved in (False, False, True, False):
        copied[0] += moved
        waits.append(back_off.wait(_error(None), who="a worker"))
    assert waits == [5, 15, 5, 15]


def test_workers_that_are_sent_away_together_are_no_row() -> None:
    back_off = _back_off([0])
    assert [back_off.wait(_error(None), who=who) for who in range(8)] == [5] * 8


def test_the_end_of_the_day_is_never_waited_for() -> None:
    back_off = _back_off([0])
    with pytest.raises(ThrottledError) as caught:
        back_off.wait(_error(3, Reason.DAILY_LIMIT_REACHED))
    assert caught.value.retry_after_seconds == 3
    assert back_off.report() == []


def test_a_server_that_had_enough_gets_half_and_slowly_more_again() -> None:
    easing = Easing(0.0)
    for second in range(21):
        easing.note(10, now=float(second))
    assert easing.take(1000, now=20.0) == 0
    easing.ease(now=20.0)  # 210 messages in 20 s were too much
    assert easing.portion == 2
    assert easing.take(100, now=20.0) == 0
    assert easing.take(1, now=20.0) == pytest.approx((100 - 5.25 + 1) / 5.25)
    easing.ease(now=50.0)
    assert easing.portion == 1
    for minute, portion in ((1, 2), (2, 5), (3, 10), (4, 21)):
        easing.take(0, now=50.0 + 60 * minute)
        assert easing.portion == portion
    easing.take(0, now=50.0 + 300)
    assert easing.portion is None


def test_a_pace_never_comes_to_a_stop() -> None:
    easing = Easing(0.0)
    for _ in range(40):
        easing.ease(now=1.0)
    assert easing.portion == 1
    assert easing.take(1, now=100.0) <= 2

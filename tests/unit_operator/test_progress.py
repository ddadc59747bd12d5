"""Following running engines by their logs, on a clock of its own."""

from __future__ import annotations

import asyncio
import itertools
import json
from datetime import timedelta
from typing import Any, Self

from mailsync_api.endpoint import Side, TLSMode, TLSVerify
from mailsync_api.report import ProgressLine, SessionLine
from mailsync_api.status import Progress, TLSFacts
from mailsync_operator.errors import ClusterError, NotFoundError
from mailsync_operator.observe import Feed
from mailsync_operator.progress import MAX_INTERVAL, MIN_INTERVAL, ProgressPoller, read_log
from mailsync_operator.snapshot import Key
from tests.unit_operator.fake_time import run
from tests.unit_operator.objects import NOW

KEY = ("default", "alice")
FACTS = TLSFacts(mode=TLSMode.IMPLICIT, secured=True, verified=TLSVerify.FULL)


def session(side: Side) -> str:
    return json.dumps(SessionLine(time=NOW, side=side, tls=FACTS).to_wire()) + "\n"


def progress(percent: int) -> str:
    at = NOW + timedelta(seconds=percent)
    line = ProgressLine(time=at, progress=Progress(percent=percent, update_time=at))
    return json.dumps(line.to_wire()) + "\n"


class Logs:
    """The logs of pods, and how often they were read."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self.reads: list[tuple[float, str]] = []
        self.error: ClusterError | None = None
        self.open = self.most = 0

    async def pod_log(
        self,
        namespace: str,
        pod: str,
        *,
        tail_lines: int | None = None,
        limit_bytes: int | None = None,
    ) -> str:
        assert namespace == KEY[0]
        self.reads.append((asyncio.get_running_loop().time(), pod))
        self.open += 1
        self.most = max(self.most, self.open)
        await asyncio.sleep(0.1)
        self.open -= 1
        if self.error is not None:
            raise self.error
        lines = self.texts.get(pod, "").splitlines(keepends=True)
        kept = lines if tail_lines is None else lines[-tail_lines:]
        return "".join(kept)[:limit_bytes]


class Bench:
    def __init__(self) -> None:
        self.logs = Logs()
        self.news: list[Key] = []
        self.poller = ProgressPoller(self.logs, news=self.news.append)

    def feed(self) -> Feed:
        found = self.poller.feed("uid")
        assert found is not None
        return found

    def follow(self, pod: str = "pod", number: int = 1) -> None:
        self.poller.follow("uid", KEY, pod=pod, run=number)

    async def __aenter__(self) -> Self:
        self.poller.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.poller.stop()


def test_stray_words_in_a_log_are_no_lines() -> None:
    text = f'hello\n{{"type": "progress"\n{progress(3)}null\n[1]\n{session(Side.SOURCE)}'
    found, tls = read_log(text)
    assert found is not None
    assert found.percent == 3
    assert tls == {Side.SOURCE: FACTS}


def test_what_the_engine_says_is_known_and_told() -> None:
    async def scenario() -> None:
        async with Bench() as bench:
            bench.logs.texts["pod"] = session(Side.SOURCE) + progress(10)
            bench.follow()
            await asyncio.sleep(1)
            assert bench.feed().progress == Progress(
                percent=10, update_time=NOW + timedelta(seconds=10)
            )
            assert dict(bench.feed().tls) == {Side.SOURCE: FACTS}
            assert bench.news == [KEY]

    run(scenario())


def test_sessions_at_the_start_of_a_long_log_are_found() -> None:
    async def scenario() -> None:
        async with Bench() as bench:
            chatter = "".join(progress(1) for _ in range(2000))
            start = session(Side.SOURCE) + session(Side.DESTINATION)
            bench.logs.texts["pod"] = start + chatter + progress(77)
            bench.follow()
            await asyncio.sleep(1)
            assert len(bench.feed().tls) == 2
            found = bench.feed().progress
            assert found is not None
            assert found.percent == 77

    run(scenario())


def test_it_reads_often_while_something_happens_and_seldom_while_nothing_does() -> None:
    async def scenario() -> None:
        async with Bench() as bench:
            bench.follow()
            for percent in range(1, 30):
                bench.logs.texts["pod"] = progress(percent)
                await asyncio.sleep(5)
            busy = [when for when, _ in bench.logs.reads if when > 20]
            assert all(b - a <= MIN_INTERVAL + 1 for a, b in itertools.pairwise(busy))
            await asyncio.sleep(600)
            quiet = [when for when, _ in bench.logs.reads][-3:]
            assert quiet[-1] - quiet[-2] >= MAX_INTERVAL

    run(scenario())


def test_a_log_that_cannot_be_read_is_tried_again() -> None:
    async def scenario() -> None:
        async with Bench() as bench:
            bench.logs.error = NotFoundError("no such pod")
            bench.follow()
            await asyncio.sleep(20)
            assert bench.news == []
            bench.logs.error = None
            bench.logs.texts["pod"] = progress(5)
            await asyncio.sleep(MAX_INTERVAL + 1)
            assert bench.news == [KEY]
            assert bench.poller.alive

    run(scenario())


def test_another_attempt_keeps_the_figures_and_another_run_does_not() -> None:
    async def scenario() -> None:
        async with Bench() as bench:
            bench.logs.texts["pod"] = session(Side.SOURCE) + progress(10)
            bench.follow()
            await asyncio.sleep(1)
            bench.follow("pod-2")
            assert bench.feed().progress is not None
            assert bench.feed().tls == ()
            bench.follow("pod-3", number=2)
            assert bench.feed() == Feed(2)

    run(scenario())


def test_what_is_forgotten_is_read_no_more() -> None:
    async def scenario() -> None:
        async with Bench() as bench:
            bench.follow()
            await asyncio.sleep(1)
            bench.poller.forget("uid")
            reads = len(bench.logs.reads)
            await asyncio.sleep(600)
            assert len(bench.logs.reads) == reads
            assert bench.poller.feed("uid") is None

    run(scenario())


def test_what_is_forgotten_while_it_is_read_makes_no_news() -> None:
    async def scenario() -> None:
        async with Bench() as bench:
            bench.logs.texts["pod"] = progress(10)
            bench.follow()
            await asyncio.sleep(0.05)  # a read takes twice as long
            bench.poller.forget("uid")
            await asyncio.sleep(600)
            assert bench.news == []

    run(scenario())


def test_a_thousand_pods_are_read_a_few_at_a_time() -> None:
    async def scenario() -> None:
        async with Bench() as bench:
            for number in range(1000):
                bench.poller.follow(f"uid-{number}", KEY, pod=f"pod-{number}", run=1)
            await asyncio.sleep(60)
            assert len({pod for _, pod in bench.logs.reads}) == 1000
            assert bench.logs.most == 4

    run(scenario())


def test_following_again_changes_nothing() -> None:
    async def scenario() -> Any:
        async with Bench() as bench:
            for _ in range(50):
                bench.follow()
                await asyncio.sleep(0.1)
            assert len(bench.logs.reads) <= 4

    run(scenario())

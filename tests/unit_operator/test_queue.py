"""The work queue, on a clock of its own: no test waits."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsync_operator.errors import ConflictError, ThrottledError, TransientError
from mailsync_operator.queue import LAST_DELAY, WorkQueue
from tests.unit_operator.fake_time import run


class Meter:
    def __init__(self) -> None:
        self.results: list[str] = []

    def reconciled(self, result: str, seconds: float) -> None:
        assert seconds >= 0
        self.results.append(result)


class Bench:
    """A queue whose handler notes when it looked at what."""

    def __init__(
        self,
        answer: Callable[[str], float | None] = lambda _: None,
        *,
        workers: int = 2,
        takes: float = 0.0,
    ) -> None:
        self.looks: list[tuple[float, str]] = []
        self.busy: dict[str, int] = defaultdict(int)
        self.most = 0
        self.overlap = False
        self.meter = Meter()
        self._answer = answer
        self._takes = takes
        self.queue: WorkQueue[str] = WorkQueue(self._handle, workers=workers, meter=self.meter)

    async def _handle(self, key: str) -> float | None:
        self.looks.append((asyncio.get_running_loop().time(), key))
        self.busy[key] += 1
        self.overlap |= self.busy[key] > 1
        self.most = max(self.most, sum(self.busy.values()))
        try:
            if self._takes:
                await asyncio.sleep(self._takes)
            return self._answer(key)
        finally:
            self.busy[key] -= 1

    def times(self, key: str) -> list[float]:
        return [when for when, found in self.looks if found == key]


def test_a_key_that_waits_is_there_once() -> None:
    async def scenario() -> Bench:
        bench = Bench()
        for _ in range(5):
            bench.queue.add("a")
        bench.queue.start()
        await asyncio.sleep(1)
        await bench.queue.stop()
        return bench

    assert run(scenario()).times("a") == [0]


def test_a_key_is_never_looked_at_by_two_and_no_change_is_missed() -> None:
    async def scenario() -> Bench:
        bench = Bench(takes=10, workers=4)
        bench.queue.start()
        bench.queue.add("a")
        await asyncio.sleep(1)
        bench.queue.add("a")  # while it is looked at
        bench.queue.add("a")
        await asyncio.sleep(60)
        await bench.queue.stop()
        return bench

    bench = run(scenario())
    assert bench.times("a") == [0, 10]
    assert not bench.overlap


def test_workers_work_side_by_side_and_no_more_of_them() -> None:
    async def scenario() -> Bench:
        bench = Bench(takes=1, workers=3)
        bench.queue.start()
        for number in range(9):
            bench.queue.add(str(number))
        await asyncio.sleep(10)
        await bench.queue.stop()
        return bench

    bench = run(scenario())
    assert bench.most == 3
    assert len(bench.looks) == 9


def test_a_key_comes_back_when_it_asked_to() -> None:
    answers = iter([5.0, 2.0, None])

    async def scenario() -> Bench:
        bench = Bench(lambda _: next(answers))
        bench.queue.start()
        bench.queue.add("a")
        await asyncio.sleep(100)
        await bench.queue.stop()
        return bench

    assert run(scenario()).times("a") == [0, 5, 7]


def test_the_earlier_of_two_delays_counts_and_a_look_cancels_it() -> None:
    async def scenario() -> Bench:
        bench = Bench()
        bench.queue.start()
        bench.queue.add_after("a", 50)
        bench.queue.add_after("a", 10)
        bench.queue.add_after("a", 30)
        bench.queue.add_after("b", 40)
        await asyncio.sleep(20)
        bench.queue.add("b")
        await asyncio.sleep(100)
        await bench.queue.stop()
        return bench

    bench = run(scenario())
    assert bench.times("a") == [10]
    assert bench.times("b") == [20]


def test_failures_come_back_ever_later_and_success_forgets_them() -> None:
    outcomes = iter([True, True, True, False, True, False])

    def answer(_: str) -> None:
        if next(outcomes):
            raise TransientError("no answer")

    async def scenario() -> Bench:
        bench = Bench(answer)
        bench.queue.start()
        bench.queue.add("a")
        await asyncio.sleep(10)
        bench.queue.add("a")
        await asyncio.sleep(10)
        await bench.queue.stop()
        return bench

    assert run(scenario()).times("a") == [0, 0.5, 1.5, 3.5, 10, 10.5]


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (ThrottledError("slow down", retry_after=7), 7),
        (ConflictError("changed"), 0.2),
        (ValueError("a bug"), 0.5),
    ],
)
def test_the_error_says_when_to_try_again(error: Exception, again: float) -> None:
    errors = iter([error])

    def answer(_: str) -> None:
        for failure in errors:
            raise failure

    async def scenario() -> Bench:
        bench = Bench(answer)
        bench.queue.start()
        bench.queue.add("a")
        await asyncio.sleep(60)
        assert bench.queue.alive
        await bench.queue.stop()
        return bench

    assert run(scenario()).times("a") == [0, again]


def test_a_busy_key_that_fails_still_waits() -> None:
    def answer(_: str) -> None:
        raise TransientError("no answer")

    async def scenario() -> Bench:
        bench = Bench(answer, takes=1)
        bench.queue.start()
        bench.queue.add("a")
        await asyncio.sleep(0.5)
        bench.queue.add("a")
        await asyncio.sleep(0.9)
        await bench.queue.stop()
        return bench

    assert run(scenario()).times("a") == [0]


def test_the_longest_wait_is_bounded() -> None:
    def answer(_: str) -> None:
        raise TransientError("no answer")

    async def scenario() -> Bench:
        bench = Bench(answer)
        bench.queue.start()
        bench.queue.add("a")
        await asyncio.sleep(5000)
        await bench.queue.stop()
        return bench

    times = run(scenario()).times("a")
    assert times[-1] - times[-2] == LAST_DELAY


def test_one_that_hangs_is_named() -> None:
    async def scenario() -> list[str]:
        bench = Bench(takes=1e6)
        bench.queue.start()
        bench.queue.add("a")
        await asyncio.sleep(601)
        stuck = bench.queue.stuck(600)
        await bench.queue.stop(grace=0)
        return stuck

    assert run(scenario()) == ["a"]


def test_stop_lets_what_is_under_way_finish() -> None:
    async def scenario() -> Bench:
        bench = Bench(takes=3, workers=1)
        bench.queue.start()
        bench.queue.add("a")
        bench.queue.add("b")
        await asyncio.sleep(1)
        await bench.queue.stop(grace=5)
        assert not bench.queue.alive
        return bench

    bench = run(scenario())
    assert bench.times("b") == []
    assert bench.meter.results == ["success"]


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.floats(0, 20), st.booleans()), min_size=1, max_size=30
    ),
    st.integers(1, 4),
)
def test_whatever_comes_no_key_is_doubled_and_none_is_lost(
    steps: list[tuple[str, float, bool]], workers: int
) -> None:
    async def scenario() -> tuple[Bench, dict[str, float]]:
        bench = Bench(takes=1.5, workers=workers)
        bench.queue.start()
        last: dict[str, float] = {}
        for key, pause, later in steps:
            if later:
                bench.queue.add_after(key, pause)
            else:
                bench.queue.add(key)
                last[key] = asyncio.get_running_loop().time()
            await asyncio.sleep(pause)
        await asyncio.sleep(200)
        await bench.queue.stop()
        return bench, last

    bench, last = run(scenario())
    assert not bench.overlap
    # After the last word about a key it was looked at once more.
    for key, when in last.items():
        assert bench.times(key)[-1] >= when

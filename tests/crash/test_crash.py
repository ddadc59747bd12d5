"""Interrupted anywhere, in any way, and run again: nothing is lost, nothing is there twice."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from mailsync_api.endpoint import Side
from tests.crash.proxy import Plan
from tests.crash.table import MAILBOX, SOURCE_USER, Scenario, Stage, cases
from tests.support.dovecot import Settings, run_dovecot
from tests.support.mailbox import Message, load
from tests.support.recorded import PASSWORD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.dovecot import Dovecot

pytestmark = pytest.mark.crash

_USERS = 3000
_AT_ONCE = 8
# Dovecot's processes serve more than one connection, so that thousands cost little.
_REUSED = "service imap-login {\n  service_count = 0\n}\nservice imap {\n  service_count = 0\n}"


def _bare(message: Message) -> Message:
    return Message(message.path, message.body, (), message.date)


_SCENARIOS = (
    Scenario("batches", sides=(Side.SOURCE, Side.DESTINATION), whole=True),
    Scenario("batches, each literal asked for", masked=("LITERAL+",)),
    Scenario("several under way", masked=("MULTIAPPEND",)),
    Scenario("one with the end of the other", masked=("MULTIAPPEND", "LITERAL+")),
    Scenario("half of it there, without flags", there=tuple(map(_bare, MAILBOX[::2]))),
    Scenario("shared by three connections", sides=(Side.SOURCE, Side.DESTINATION), connections=3),
)


@pytest.fixture(scope="module")
def source() -> Iterator[Dovecot]:
    settings = Settings(users={SOURCE_USER: PASSWORD}, clear_text_logins=True)
    with run_dovecot(settings) as server:
        with server.login(SOURCE_USER, PASSWORD) as session:
            load(session, MAILBOX)
        yield server


@pytest.mark.parametrize("scenario", _SCENARIOS, ids=lambda scenario: scenario.name)
def test_interrupted_at_every_step_and_run_again(
    source: Dovecot, scenario: Scenario, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"user{number}" for number in range(_USERS)]
    users = iter(names)
    settings = Settings(
        users=dict.fromkeys(names, PASSWORD),
        clear_text_logins=True,
        masked=scenario.masked,
        extra=_REUSED,
    )
    with run_dovecot(settings) as destination:
        stage = Stage(source, destination)
        reference = next(users)
        stage.prepare(scenario, reference)
        plans = {side: Plan() for side in Side}
        done = stage.run(scenario, reference, plans)
        assert done is not None
        assert done[0] == 0, done
        expected = stage.contents(reference)
        assert sum(sum(folder.values()) for folder in expected.values()) == len(MAILBOX)

        table = cases({side: plan.pieces for side, plan in plans.items()}, scenario)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            found = pool.map(
                lambda case, user: stage.trial(scenario, case, user, expected), table, users
            )
            problems = list(itertools.chain.from_iterable(found))
    steps = {(case.side, case.at) for case in table}
    ways = sorted({case.way.value for case in table})
    with capsys.disabled():
        print(
            f"\n{scenario.name}: {len(steps)} steps, {len(table)} interruptions "
            f"({', '.join(ways)}), {len(problems)} problems, {len(stage.unreached)} not reached"
        )
    assert problems == []
    assert len(stage.unreached) <= len(table) // 10

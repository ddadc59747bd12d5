"""Whatever goes wrong, the run ends as the table says, and the next one makes good for it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from mailsync_api.endpoint import Side
from tests.faults.table import FAULTS
from tests.faults.trial import Trial, attempt
from tests.support.dovecot import REUSED, Dovecot, Settings, run_dovecot
from tests.support.recorded import PASSWORD

pytestmark = pytest.mark.faults

_AT_ONCE = 8
_ROWS = [(fault, side) for fault in FAULTS for side in fault.sides]
_USERS = [f"user{number}" for number in range(len(_ROWS))]
_IDS = [f"{fault.name}, {side}" for fault, side in _ROWS]


@pytest.fixture(scope="module")
def shared() -> Iterator[dict[Side, Dovecot]]:
    users = dict.fromkeys(_USERS, PASSWORD)
    settings = Settings(users=users, clear_text_logins=True, extra=REUSED)
    with run_dovecot(settings) as source, run_dovecot(settings) as destination:
        yield {Side.SOURCE: source, Side.DESTINATION: destination}


@pytest.fixture(scope="module")
def trials(
    shared: dict[Side, Dovecot], request: pytest.FixtureRequest
) -> Iterator[dict[str, Future[Trial]]]:
    """Try all rows side by side: most of their time is waiting for a deadline."""
    chosen = {item.name for item in request.session.items}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        yield {
            name: pool.submit(attempt, *row, shared, user)
            for name, row, user in zip(_IDS, _ROWS, _USERS, strict=True)
            if f"test_it_ends_so_and_the_next_run_completes_it[{name}]" in chosen
        }


@pytest.mark.parametrize("name", _IDS)
def test_it_ends_so_and_the_next_run_completes_it(
    trials: dict[str, Future[Trial]], name: str
) -> None:
    assert trials[name].result().problems == []

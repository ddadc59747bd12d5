"""Several connections between real Dovecots: as many as pay, and as the server takes."""

from __future__ import annotations

import signal
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from mailsync_api.report import LogLine, parse_line
from tests.support.checker import Found, count_messages, read_mailbox
from tests.support.dovecot import Settings, run_dovecot
from tests.support.engine import Account, Engine
from tests.support.mailbox import load, plain_message
from tests.support.poll import wait_until

if TYPE_CHECKING:
    import imaplib

    from tests.servers.conftest import Pair
    from tests.support.engine import Result

pytestmark = pytest.mark.servers

_FEW = "protocol imap {{\n  mail_max_userip_connections = {}\n}}"


def _contents(session: imaplib.IMAP4) -> Counter[tuple[tuple[str, ...], Found]]:
    return Counter(
        (path, message) for path, messages in read_mailbox(session).items() for message in messages
    )


def _fill(pair: Pair, count: int) -> None:
    messages = [plain_message(n, size=3000) for n in range(1, count + 1)]
    with pair.source() as session:
        load(session, messages)
        load(session, [plain_message(n, path=("Work",)) for n in range(1, count // 4)])


def _connections(result: Result) -> tuple[int, str]:
    assert result.verdict is not None
    strategy = result.verdict.strategy
    assert strategy is not None
    return strategy.destination_connections, strategy.fewer_connections_reason


def _same(pair: Pair) -> bool:
    with pair.source() as here, pair.destination() as there:
        return _contents(here) == _contents(there)


def test_a_first_copy_has_several_connections_and_a_run_with_nothing_new_has_one(
    pair: Pair,
) -> None:
    _fill(pair, 900)
    before = pair.destination_server.logins(pair.user)
    result = pair.engine().run()
    assert result.exit_code == 0, result.said
    assert _connections(result) == (4, "")
    assert pair.destination_server.logins(pair.user) == before + 4
    assert _same(pair)
    between = pair.destination_server.logins(pair.user)
    again = pair.engine().run()
    assert _connections(again) == (1, "")
    assert pair.destination_server.logins(pair.user) == between + 1


def test_a_limit_of_the_mailsync_is_kept(pair: Pair) -> None:
    _fill(pair, 600)
    result = pair.engine(connections=2).run()
    assert _connections(result) == (2, "")
    assert _same(pair)


# Logins at the same time are let in before Dovecot has counted them: of a second and a third one.
@pytest.mark.parametrize(("limit", "used"), [(1, {1}), (2, {2, 3})])
def test_a_server_that_takes_fewer_connections_is_obeyed(
    pair: Pair, limit: int, used: set[int]
) -> None:
    _fill(pair, 900)
    users = {pair.user: pair.destination_password}
    with run_dovecot(Settings(users=users, extra=_FEW.format(limit))) as server:
        destination = Account.at(server, pair.user, pair.destination_password)
        result = Engine(pair.directory, pair.source_account(), destination).run()
        with pair.source() as here, server.login(pair.user, pair.destination_password) as there:
            assert _contents(here) == _contents(there)
    assert result.exit_code == 0, result.said
    count, reason = _connections(result)
    assert count in used
    assert "Maximum number of connections" in reason
    lines = [parse_line(line) for line in result.stdout.splitlines()]
    said = [line.message for line in lines if isinstance(line, LogLine) and line.level == "warning"]
    assert len(said) == 1
    assert "going on with fewer connections" in said[0]


def test_all_workers_stop_in_time_and_the_next_run_goes_on(pair: Pair) -> None:
    _fill(pair, 4000)
    engine = pair.engine()
    with pair.destination() as watcher, engine.started() as process:
        wait_until(lambda: count_messages(watcher) > 200, 60, interval=0.005)
        process.send_signal(signal.SIGTERM)
        result = engine.finish(process)
    assert result.exit_code == 143, result.said
    assert result.verdict is not None
    assert 0 < result.verdict.totals.copied < 4000
    with pair.destination() as there:
        assert count_messages(there) == result.verdict.totals.copied
    assert engine.run().exit_code == 0
    assert _same(pair)

"""Batches between real Dovecots: refused in the middle, too large to be held, gone meanwhile."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.support.checker import Found, count_messages, read_mailbox
from tests.support.dovecot import Settings, run_dovecot
from tests.support.engine import Account, Engine
from tests.support.imap import run
from tests.support.mailbox import load, plain_message
from tests.support.memory import watched_memory
from tests.support.poll import wait_until

if TYPE_CHECKING:
    import imaplib

    from tests.servers.conftest import Pair

pytestmark = pytest.mark.servers

_TOO_LARGE = """
protocol imap {
  mail_plugins = quota
}
plugin {
  quota = count:User
  quota_vsizes = yes
  quota_max_mail_size = 100k
}
"""


def _contents(session: imaplib.IMAP4) -> Counter[tuple[tuple[str, ...], Found]]:
    return Counter(
        (path, message) for path, messages in read_mailbox(session).items() for message in messages
    )


@pytest.mark.parametrize("masked", [(), ("LITERAL+",), ("MULTIAPPEND",)])
def test_refused_in_the_middle_a_batch_costs_only_what_was_refused(
    pair: Pair, masked: tuple[str, ...]
) -> None:
    large = {7, 30, 31, 64}
    messages = [plain_message(n, size=200_000 if n in large else 900) for n in range(1, 91)]
    with pair.source() as session:
        load(session, messages)
    users = {pair.user: pair.destination_password}
    settings = Settings(users=users, extra=_TOO_LARGE, masked=masked)
    with run_dovecot(settings) as server:
        destination = Account.at(server, pair.user, pair.destination_password)
        result = Engine(pair.directory, pair.source_account(), destination).run()
        with pair.source() as here, server.login(pair.user, pair.destination_password) as there:
            lacking = _contents(here) - _contents(there)
            extra = _contents(there) - _contents(here)
    assert result.exit_code == 65, result.said
    assert result.report is not None
    assert {message.uid for message in result.report.skipped} == large
    # Dovecot's own words, not what the engine might say of a batch.
    assert all("size" in message.reason.lower() for message in result.report.skipped)
    assert sum(lacking.values()) == len(large)
    assert not extra
    assert result.report.verdict.totals.copied == 90 - len(large)


def test_a_message_too_large_to_be_held_passes_through(pair: Pair) -> None:
    size = 100 << 20
    with pair.source() as session:
        load(session, [plain_message(n, size=9000) for n in range(1, 40)])
        load(session, [plain_message(40, size=size), plain_message(41)])
    with pair.engine().started() as process, watched_memory(process.pid) as peak:
        result = pair.engine().finish(process)
    assert result.exit_code == 0, result.said
    with pair.source() as here, pair.destination() as there:
        assert _contents(here) == _contents(there)
    # The interpreter with what is imported takes some 40 MiB; no second copy of anything fits in.
    assert 0 < peak.mib < 100


def test_messages_that_are_expunged_meanwhile_are_no_failure(pair: Pair) -> None:
    count = 600
    with pair.source() as session:
        load(session, [plain_message(n, size=20_000) for n in range(1, count + 1)])
    with (
        pair.source() as session,
        pair.destination() as watcher,
        pair.engine().started() as process,
    ):
        run(session, b"SELECT INBOX")
        wait_until(lambda: count_messages(watcher) > 0, 60, interval=0.005)
        run(session, b"STORE 3,200:300,590:600 +FLAGS.SILENT (\\Deleted)")
        run(session, b"EXPUNGE")
        result = pair.engine().finish(process)
    assert result.exit_code == 0, result.said
    with pair.source() as here, pair.destination() as there:
        missing = _contents(here) - _contents(there)
        twice = [n for n in _contents(there).values() if n > 1]
    assert not missing
    assert not twice

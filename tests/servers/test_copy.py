"""The engine between two real Dovecots: everything arrives, once, as it was."""

from __future__ import annotations

import signal
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.support.checker import compare_mailboxes, count_messages, read_mailbox
from tests.support.dovecot import Settings, run_dovecot
from tests.support.engine import Account, Engine
from tests.support.imap import layout, quote, run
from tests.support.mailbox import FOLDERS, generate, load, plain_message
from tests.support.poll import wait_until

if TYPE_CHECKING:
    import imaplib

    from tests.servers.conftest import Pair
    from tests.support.engine import Result

pytestmark = pytest.mark.servers


def _load(pair: Pair, count: int = 120) -> None:
    with pair.source() as session:
        load(session, generate(count=count, large_bytes=400_000))


def _differences(pair: Pair) -> list[str]:
    with pair.source() as source, pair.destination() as destination:
        return [str(difference) for difference in compare_mailboxes(source, destination)]


def _run_into(pair: Pair, extra: str) -> Result:
    """Run into a Dovecot of its own with more configuration."""
    users = {pair.user: pair.destination_password}
    with run_dovecot(Settings(users=users, extra=extra)) as server:
        destination = Account.at(server, pair.user, pair.destination_password)
        return Engine(pair.directory, pair.source_account(), destination).run()


def test_everything_arrives_as_it_was_and_a_second_run_copies_nothing(pair: Pair) -> None:
    _load(pair, 300)
    first = pair.engine().run()
    assert first.exit_code == 0, first.said
    assert _differences(pair) == []
    assert first.verdict is not None
    assert (first.verdict.totals.copied, first.verdict.totals.messages) == (300, 300)

    second = pair.engine().run()
    assert second.exit_code == 0
    assert second.verdict is not None
    totals = second.verdict.totals
    assert (totals.copied, totals.already_present, totals.flags_updated) == (0, 300, 0)
    assert _differences(pair) == []


def test_only_what_is_new_is_copied(pair: Pair) -> None:
    _load(pair)
    pair.engine().run()
    with pair.source() as session:
        load(session, [plain_message(9001, path=("Sent",)), plain_message(9002)])
    result = pair.engine().run()
    assert result.verdict is not None
    assert result.verdict.totals.copied == 2
    assert _differences(pair) == []


def test_new_flags_are_added_and_none_is_taken_away(pair: Pair) -> None:
    with pair.source() as session:
        load(session, [plain_message(1), plain_message(2, flags=["\\Flagged"])])
    pair.engine().run()
    with pair.source() as session:
        run(session, b"SELECT INBOX")
        run(session, b"STORE 1 +FLAGS (\\Answered work)")
        run(session, b"STORE 2 -FLAGS (\\Flagged)")
    result = pair.engine().run()
    assert result.verdict is not None
    assert result.verdict.totals.flags_updated == 1
    with pair.destination() as session:
        flags = [message.flags for message in read_mailbox(session)[("INBOX",)]]
    assert flags == [{"\\Answered", "work"}, {"\\Flagged"}]


def test_the_source_is_not_changed(pair: Pair) -> None:
    _load(pair)
    with pair.source() as session:
        before = read_mailbox(session)
    pair.engine().run()
    with pair.source() as session:
        assert read_mailbox(session) == before


def test_a_dry_run_changes_nothing(pair: Pair) -> None:
    _load(pair)
    with pair.destination() as session:
        load(session, [plain_message(5)])
        before = read_mailbox(session)
    result = pair.engine(mode="DryRun").run()
    assert result.exit_code == 0, result.said
    assert result.verdict is not None
    assert result.verdict.dry_run
    assert result.verdict.totals.copied == 120
    # Those of the mailbox and two parents, without INBOX.
    assert result.verdict.totals.folders_created == len(FOLDERS) + 1
    with pair.destination() as session:
        assert read_mailbox(session) == before


def test_killed_half_way_and_run_again_nothing_is_lost_or_there_twice(pair: Pair) -> None:
    _load(pair, 400)
    with pair.destination() as watcher:
        with pair.engine().started() as process:
            wait_until(lambda: count_messages(watcher) > 150, 60, interval=0.01)
            process.send_signal(signal.SIGKILL)
            process.wait(30)
        stored = count_messages(watcher)
    assert 150 < stored < 400
    again = pair.engine().run()
    assert again.exit_code == 0, again.said
    assert again.verdict is not None
    assert again.verdict.totals.already_present == stored
    assert _differences(pair) == []


def _more_than(count: int, session: imaplib.IMAP4) -> bool:
    return count_messages(session) > count


def test_killed_again_and_again_it_still_ends_exact(pair: Pair) -> None:
    _load(pair, 400)
    with pair.destination() as watcher:
        for part in (20, 90, 170, 260, 340):
            with pair.engine().started() as process:
                wait_until(partial(_more_than, part, watcher), 60, interval=0.005)
                process.send_signal(signal.SIGKILL)
                process.wait(30)
    assert pair.engine().run().exit_code == 0
    assert _differences(pair) == []


def test_sigterm_finishes_the_message_in_flight_and_reports(pair: Pair) -> None:
    _load(pair, 400)
    with pair.destination() as watcher, pair.engine().started() as process:
        wait_until(lambda: count_messages(watcher) > 50, 60, interval=0.01)
        process.send_signal(signal.SIGTERM)
        result = pair.engine().finish(process, timeout=25)
        stored = count_messages(watcher)
    assert result.exit_code == 143, result.said
    assert result.verdict is not None
    assert result.verdict.reason == "Interrupted"
    assert result.verdict.totals.copied == stored
    assert pair.engine().run().exit_code == 0
    assert _differences(pair) == []


def test_only_the_selected_folders_are_copied(pair: Pair) -> None:
    _load(pair)
    folders = {"include": ["Archive/**", "Sent"], "exclude": ["**/Q1"]}
    assert pair.engine(folders=folders).run().exit_code == 0
    with pair.destination() as session:
        assert set(layout(session).folders) == {
            ("INBOX",),
            ("Sent",),
            ("Archive",),
            ("Archive", "2019"),
        }


def test_subscriptions_are_copied(pair: Pair) -> None:
    _load(pair)
    with pair.source() as session:
        run(session, b"UNSUBSCRIBE " + quote(layout(session).raw(("Sent",))))
    pair.engine().run()
    with pair.destination() as session:
        subscribed = b"".join(run(session, b'LSUB "" "*"'))
    assert b"INBOX.Archive.2019" in subscribed
    assert b"INBOX.Sent" not in subscribed


def test_a_message_that_the_destination_refuses_is_named(pair: Pair) -> None:
    with pair.source() as session:
        load(session, [plain_message(1), plain_message(2, size=200_000), plain_message(3)])
    settings = "protocol imap {\n  mail_plugins = quota\n}\nplugin {\n"
    limit = "  quota = count:User\n  quota_vsizes = yes\n  quota_max_mail_size = 100k\n}\n"
    result = _run_into(pair, settings + limit)
    assert result.exit_code == 65, result.said
    assert result.report is not None
    (skipped,) = result.report.skipped
    assert (skipped.folder, skipped.uid) == ("INBOX", 2)
    assert "too large" in skipped.reason.lower() or "size" in skipped.reason.lower()
    assert result.report.verdict.totals.copied == 2


def test_a_full_destination_ends_the_run(pair: Pair) -> None:
    with pair.source() as session:
        load(session, [plain_message(n, size=20_000) for n in range(10)])
    settings = "protocol imap {\n  mail_plugins = quota\n}\nplugin {\n"
    limit = "  quota = count:User\n  quota_vsizes = yes\n  quota_rule = *:storage=100k\n}\n"
    result = _run_into(pair, settings + limit)
    assert result.exit_code == 73, result.said
    assert result.verdict is not None
    assert result.verdict.reason == "DestinationOverQuota"
    assert 0 < result.verdict.totals.copied < 10

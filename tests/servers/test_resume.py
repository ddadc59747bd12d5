"""A second run with the first one's state, between real servers that say what they were asked."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mailsync_api import names
from tests.support.checker import compare_mailboxes, read_mailbox
from tests.support.dovecot import Dovecot, Settings, run_dovecot
from tests.support.engine import Account, Engine, Result
from tests.support.imap import quote, run
from tests.support.mailbox import Message, generate, load, plain_message

if TYPE_CHECKING:
    import imaplib
    from contextlib import AbstractContextManager

pytestmark = pytest.mark.servers

_COMMANDS = """
event_exporter log {
  format = json
  format_args = time-rfc3339
  transport = log
}
metric commands {
  filter = event=imap_command_finished
  exporter = log
  exporter_include = name fields
  fields = cmd_name user
}
"""
_USERS = tuple(f"user{number}" for number in range(1, 30))
_NAMES = iter(_USERS)
_FOLDERS = (("INBOX",), ("Sent",), ("Archive",))
_HISTORIES = 2
"""Random histories of ``_STEPS`` runs each; longer ones were run while this was made."""
_STEPS = 6


@dataclass(frozen=True, slots=True)
class Mailboxes:
    """A source and a destination account, and a place for the engine's files."""

    here: Dovecot
    there: Dovecot
    user: str
    directory: Path

    @property
    def words(self) -> tuple[str, str]:
        return f"old-{self.user}-word", f"new-{self.user}-word"

    @property
    def state(self) -> Path:
        return self.directory / names.STATE_VOLUME / names.STATE_FILE_NAME

    def source(self) -> AbstractContextManager[imaplib.IMAP4]:
        return self.here.login(self.user, self.words[0])

    def destination(self) -> AbstractContextManager[imaplib.IMAP4]:
        return self.there.login(self.user, self.words[1])

    def deliver(self, *messages: Message) -> None:
        with self.source() as session:
            load(session, messages)

    def run(self, *, keep: bool = True, **job: object) -> Result:
        """Run the engine; its state is there for the next run, as the operator would have it."""
        source = Account.at(self.here, self.user, self.words[0])
        destination = Account.at(self.there, self.user, self.words[1])
        result = Engine(self.directory, source, destination, **job).run()
        assert result.exit_code == 0, result.said
        assert result.report is not None
        assert result.report.state is not None
        if keep:
            self.state.parent.mkdir(exist_ok=True)
            self.state.write_text(result.report.state)
        return result

    def commands(self, *, since: tuple[int, int] = (0, 0)) -> tuple[list[str], list[str]]:
        """Return what each server was asked by this user, from a place in its log on."""
        asked = []
        for server, start in zip((self.here, self.there), since, strict=True):
            found = re.findall(
                r"stats: Info: (\{.*imap_command_finished.*\})", server.log()[start:]
            )
            events = [json.loads(text)["fields"] for text in found]
            asked.append([e["cmd_name"] for e in events if e.get("user") == self.user])
        return asked[0], asked[1]

    def places(self) -> tuple[int, int]:
        return len(self.here.log()), len(self.there.log())


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[Dovecot, Dovecot]]:
    old = Settings(users={user: f"old-{user}-word" for user in _USERS}, extra=_COMMANDS)
    new = replace(old, users={user: f"new-{user}-word" for user in _USERS}, separator=".")
    with run_dovecot(old) as here, run_dovecot(replace(new, mail_location="mdbox")) as there:
        yield here, there


@pytest.fixture
def mailboxes(servers: tuple[Dovecot, Dovecot], tmp_path: Path) -> Mailboxes:
    found = Mailboxes(*servers, next(_NAMES), tmp_path)
    found.deliver(*(plain_message(n, path=_FOLDERS[n % 3]) for n in range(30)))
    return found


def _totals(result: Result) -> dict[str, int]:
    assert result.verdict is not None
    wire: dict[str, int] = result.verdict.totals.to_wire()
    return wire


def test_nothing_new_is_known_from_one_answer_of_each_side(mailboxes: Mailboxes) -> None:
    first = mailboxes.run()
    without = mailboxes.run(keep=False)  # what a comparison says
    before = mailboxes.places()
    again = mailboxes.run()
    for asked in mailboxes.commands(since=before):
        assert not {"SELECT", "EXAMINE", "FETCH", "UID FETCH", "STATUS", "APPEND"} & set(asked)
        assert asked.count("LIST") == 1
    assert _totals(again) == _totals(without)
    assert _totals(again)["alreadyPresent"] == 30
    assert _totals(again)["bytesTotal"] == _totals(first)["bytesTotal"] > 0
    assert "3 folders unchanged" in again.stdout
    assert again.report is not None
    assert without.report is not None
    assert again.report.folders == without.report.folders


def test_what_several_connections_copied_is_known_too(mailboxes: Mailboxes) -> None:
    mailboxes.deliver(*generate(count=400, large_bytes=50_000))
    first = mailboxes.run()
    assert first.verdict is not None
    assert first.verdict.strategy is not None
    assert first.verdict.strategy.destination_connections > 1
    again = mailboxes.run()
    assert "0 with new messages only, 0 compared in full" in again.stdout
    assert _totals(again)["alreadyPresent"] == 430


def test_new_mail_costs_only_itself(mailboxes: Mailboxes) -> None:
    mailboxes.run()
    mailboxes.deliver(plain_message(100), plain_message(101, flags=["\\Seen"]))
    before = mailboxes.places()
    result = mailboxes.run()
    here, there = mailboxes.commands(since=before)
    # What has changed, what is new, and the bodies.
    assert Counter(here)["EXAMINE"] == 1
    assert Counter(here)["FETCH"] + Counter(here)["UID FETCH"] == 3
    # How often the destination is tried with an APPEND before it is trusted is not told here.
    assert (there.count("SELECT"), there.count("FETCH")) == (1, 0)
    assert (_totals(result)["copied"], _totals(result)["alreadyPresent"]) == (2, 30)
    assert "2 folders unchanged, 1 with new messages only" in result.stdout
    _is_complete(mailboxes)
    assert "3 folders unchanged" in mailboxes.run().stdout


def test_a_dry_run_goes_by_the_state_and_leaves_it_alone(mailboxes: Mailboxes) -> None:
    mailboxes.run()
    mailboxes.deliver(plain_message(100))
    before, kept = mailboxes.places(), mailboxes.state.read_text()
    result = mailboxes.run(mode="DryRun")
    assert mailboxes.state.read_text() == kept
    assert (_totals(result)["copied"], _totals(result)["messages"]) == (1, 31)
    here, there = mailboxes.commands(since=before)
    assert not {"SELECT", "APPEND"} & {*here, *there}
    assert here.count("EXAMINE") == 1
    assert _totals(mailboxes.run())["copied"] == 1
    _is_complete(mailboxes)


def _is_complete(mailboxes: Mailboxes) -> None:
    with mailboxes.source() as here, mailboxes.destination() as there:
        assert [str(one) for one in compare_mailboxes(here, there)] == []


def _source(mailboxes: Mailboxes, *commands: bytes) -> None:
    with mailboxes.source() as session:
        for command in commands:
            run(session, command)


def test_flags_that_have_changed_are_found(mailboxes: Mailboxes) -> None:
    mailboxes.run()
    _source(mailboxes, b"SELECT INBOX", b"STORE 3 +FLAGS (\\Flagged todo)")
    result = mailboxes.run()
    assert _totals(result)["flagsUpdated"] == 1
    assert "INBOX: compared in full: flags at the source have changed" in result.stdout
    _is_complete(mailboxes)
    assert "3 folders unchanged" in mailboxes.run().stdout


def test_flags_that_have_changed_beside_new_mail_are_found(mailboxes: Mailboxes) -> None:
    mailboxes.run()
    _source(mailboxes, b"SELECT INBOX", b"STORE 3 +FLAGS (\\Flagged)")
    mailboxes.deliver(plain_message(100))
    result = mailboxes.run()
    assert (_totals(result)["flagsUpdated"], _totals(result)["copied"]) == (1, 1)
    _is_complete(mailboxes)
    assert "3 folders unchanged" in mailboxes.run().stdout


def test_a_message_gone_at_the_source_stays_where_it_was_copied_to(mailboxes: Mailboxes) -> None:
    mailboxes.run()
    _source(mailboxes, b"SELECT INBOX", b"STORE 2 +FLAGS (\\Deleted)", b"EXPUNGE")
    mailboxes.deliver(plain_message(100))
    result = mailboxes.run()
    assert (_totals(result)["copied"], _totals(result)["messages"]) == (1, 30)
    again = mailboxes.run()
    assert "3 folders unchanged" in again.stdout
    assert again.report is not None
    assert [folder.extra_at_destination for folder in again.report.folders] == [1, 0, 0]
    # With one that only the destination has, a new one may be that one.
    with mailboxes.destination() as session:
        assert len(read_mailbox(session)["INBOX",]) == 11


def test_a_message_gone_at_the_destination_is_copied_again(mailboxes: Mailboxes) -> None:
    mailboxes.run()
    with mailboxes.destination() as session:
        for command in (b"SELECT INBOX", b"STORE 2 +FLAGS (\\Deleted)", b"EXPUNGE"):
            run(session, command)
    assert _totals(mailboxes.run())["copied"] == 1
    _is_complete(mailboxes)


def test_mail_that_came_to_both_sides_is_not_doubled(mailboxes: Mailboxes) -> None:
    """Deliver to both, as hosters do in the days of a move."""
    mailboxes.run()
    for session in (mailboxes.destination(), mailboxes.source()):
        with session as one:
            load(one, [plain_message(100)])
        result = mailboxes.run()
        assert _totals(result)["copied"] == 0
    _is_complete(mailboxes)


def test_another_folder_of_the_same_name_is_another_folder(mailboxes: Mailboxes) -> None:
    mailboxes.run()
    _source(mailboxes, b"DELETE Sent", b"CREATE Sent")
    mailboxes.deliver(*(plain_message(n, path=("Sent",)) for n in range(100, 110)))
    result = mailboxes.run()
    assert "Sent: compared in full: UIDVALIDITY of the source has changed" in result.stdout
    assert _totals(result)["copied"] == 10
    with mailboxes.destination() as session:
        assert len(read_mailbox(session)["Sent",]) == 20


@pytest.mark.parametrize("damage", ["torn", "another number", "no text"])
def test_a_damaged_state_costs_time_and_nothing_else(mailboxes: Mailboxes, damage: str) -> None:
    mailboxes.run()
    text = mailboxes.state.read_bytes()
    mailboxes.state.write_bytes(
        {
            "torn": text[: len(text) // 2],
            "another number": re.sub(rb"\b10\b", b"11", text, count=1),
            "no text": b"\xff" + text,
        }[damage]
    )
    result = mailboxes.run()
    assert result.stdout.count("is not used") == 1
    assert (_totals(result)["copied"], _totals(result)["alreadyPresent"]) == (0, 30)
    assert "3 folders unchanged" in mailboxes.run().stdout


def test_without_condstore_everything_is_compared(tmp_path: Path) -> None:
    users = {"alice": "plain-alice-word"}
    plain = Settings(users=users, masked=("CONDSTORE", "QRESYNC"))
    with run_dovecot(plain) as here, run_dovecot(replace(plain, masked=())) as there:
        account = Account.at(here, "alice", users["alice"])
        with here.login("alice", users["alice"]) as session:
            load(session, [plain_message(1)])
        engine = Engine(tmp_path, account, Account.at(there, "alice", users["alice"]))
        first = engine.run()
        assert first.report is not None
        assert json.loads(first.report.state or "")["folders"] == {}


@pytest.mark.parametrize("seed", range(_HISTORIES))
def test_any_history_with_any_state_leaves_what_a_comparison_would(
    mailboxes: Mailboxes, seed: int
) -> None:
    rng = random.Random(seed)  # noqa: S311  the same for the same seed is the point
    states = [""]
    numbers = iter(range(200, 10_000))
    for _ in range(_STEPS):
        for _ in range(rng.randrange(3)):
            _happen(mailboxes, rng, numbers)
        # The last state, an older one or none; one that is lost is an older one.
        text = rng.choice([states[-1], states[-1], rng.choice(states)])
        mailboxes.state.parent.mkdir(exist_ok=True)
        mailboxes.state.write_text(text)
        wanted = _wanted(mailboxes)
        result = mailboxes.run()
        assert result.report is not None
        states.append(result.report.state or "")
        with mailboxes.destination() as session:
            assert _content(session) == wanted
    mailboxes.state.unlink()
    assert _totals(mailboxes.run(keep=False))["copied"] == 0


def _content(session: imaplib.IMAP4) -> Counter[tuple[tuple[str, ...], str]]:
    found = read_mailbox(session)
    return Counter((path, one.sha256) for path, messages in found.items() for one in messages)


def _wanted(mailboxes: Mailboxes) -> Counter[tuple[tuple[str, ...], str]]:
    """Return what a comparison leaves: each message as often as the side that has more of it."""
    with mailboxes.source() as here, mailboxes.destination() as there:
        return _content(here) | _content(there)


def _happen(mailboxes: Mailboxes, rng: random.Random, numbers: Iterator[int]) -> None:
    """Let something happen to one folder at one side."""
    path = rng.choice(_FOLDERS)
    what = rng.choice(["new", "new", "new", "twin", "flag", "expunge", "there", "expunge there"])
    side = mailboxes.destination() if "there" in what else mailboxes.source()
    with side as session:
        if what in {"new", "there"}:
            load(session, [plain_message(next(numbers), path=path)])
        elif what == "twin":
            load(session, [plain_message(7, path=path), plain_message(7, path=path)])
        else:
            separator = "." if "there" in what else "/"
            raw = quote(separator.join(path).encode())
            flags = b"\\Deleted" if "expunge" in what else b"\\Answered"
            [exists] = [int(m[1]) for m in _exists(run(session, b"SELECT " + raw))]
            if exists:
                run(session, b"STORE %d +FLAGS (%b)" % (rng.randint(1, exists), flags))
                if "expunge" in what:
                    run(session, b"EXPUNGE")


def _exists(lines: list[bytes]) -> Iterator[re.Match[bytes]]:
    return (m for line in lines if (m := re.match(rb"\* (\d+) EXISTS", line)))

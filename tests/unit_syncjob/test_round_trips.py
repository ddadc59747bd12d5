"""How often the engine waits for a server: a table, so that nobody adds a wait without noticing."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from mailsync_api.endpoint import Side
from mailsync_api.spec import FolderSelection
from mailsync_syncjob.errors import CommandRefusedError
from mailsync_syncjob.imap.fetch import FolderChanged
from mailsync_syncjob.imap.session import Session, open_session
from mailsync_syncjob.imap.survey import Standing
from mailsync_syncjob.plan import make_plan
from tests.support.between import MAILS, both, mail
from tests.support.recorded import connector, endpoint
from tests.support.scripted import Answer, Peer, Script, TinyServer, numbers, says, serve
from tests.support.waits import Waits

if TYPE_CHECKING:
    from collections.abc import Iterator

_BEFORE = b"IMAP4rev1 SASL-IR AUTH=PLAIN LITERAL+"
_PLAIN = b"IMAP4rev1 NAMESPACE UIDPLUS LITERAL+"
_RICH = _PLAIN + b" LIST-EXTENDED LIST-STATUS CONDSTORE STATUS=SIZE SPECIAL-USE"
_NAMES = (b"INBOX", b"Sent", b"Archive")
_STANDING = Standing(messages=3, uid_next=6, uid_validity=7, highest_mod_seq=9, size=300)
_GREETS = b"* OK [CAPABILITY " + _BEFORE + b"] ready\r\n"


def _status(name: bytes) -> bytes:
    return b"STATUS %s (MESSAGES 3 UIDNEXT 6 UIDVALIDITY 7 HIGHESTMODSEQ 9 SIZE 300)" % name


def _list(peer: Peer, tag: bytes, rest: bytes) -> None:
    rows = [
        b'LIST (%s) "/" %s' % (b"\\Subscribed" if b"RETURN" in rest else b"", n) for n in _NAMES
    ]
    rows += [_status(n) for n in _NAMES] if b"STATUS" in rest else []
    says(*rows)(peer, tag, rest)


def _one_status(peer: Peer, tag: bytes, rest: bytes) -> None:
    says(_status(rest.split(b" ")[1].strip(b'"')))(peer, tag, rest)


def _server(
    changed: dict[bytes, Answer] | None = None,
    *,
    greets: bool = True,
    told: bytes | None = _PLAIN,
    capabilities: bytes = _PLAIN,
) -> TinyServer:
    """Return a server with three folders.

    Parameters
    ----------
    greets
        Whether its greeting has its capabilities.
    told
        What it announces along with the login.
    """
    login = says(end=b"OK [CAPABILITY " + told + b"] in" if told else b"OK in")
    return TinyServer(
        dict(MAILS),
        capabilities=capabilities,
        greeting=_GREETS if greets else b"* OK ready\r\n",
        answers={
            b"AUTHENTICATE": login,
            b"LIST": _list,
            b"LSUB": says(*(b'LSUB () "/" ' + name for name in _NAMES)),
            b"NAMESPACE": says(b'NAMESPACE (("" "/")) NIL (("Shared/" "/"))'),
            b"STATUS": _one_status,
            **(changed or {}),
        },
    )


@dataclass
class _Side:
    session: Session
    script: Script
    waits: Waits = field(default_factory=Waits)

    @property
    def verbs(self) -> list[bytes]:
        """The commands' first words."""
        (peer,) = self.script.peers
        return [line.split(b" ")[1].strip() for _, line in peer.trace]


@contextmanager
def _side(server: TinyServer, side: Side = Side.SOURCE) -> Iterator[_Side]:
    waits = Waits()
    with serve(server) as script:
        tapped = replace(connector(), tap=waits)
        session = open_session(endpoint(script.port, side=side), connector=tapped)
        try:
            yield _Side(session, script, waits)
        finally:
            session.abandon()


@dataclass(frozen=True)
class _Row:
    """What the beginning costs with one kind of server."""

    greets: bool
    told: bytes | None
    capabilities: bytes
    login: int
    """TCP, greeting and login."""
    survey: int
    plan: int
    """With the standings that the survey does not tell."""


_ROWS = {
    "all at once": _Row(greets=True, told=_RICH, capabilities=_RICH, login=3, survey=1, plan=1),
    "no greeting": _Row(greets=False, told=_RICH, capabilities=_RICH, login=4, survey=1, plan=1),
    "no LIST-STATUS": _Row(
        greets=True, told=_PLAIN, capabilities=_PLAIN, login=3, survey=1, plan=2
    ),
    "silent login": _Row(greets=False, told=None, capabilities=_RICH, login=4, survey=1, plan=1),
    "silent login, plain": _Row(
        greets=False, told=None, capabilities=_PLAIN, login=4, survey=1, plan=2
    ),
    "nothing before the login": _Row(
        greets=True, told=None, capabilities=_RICH, login=3, survey=2, plan=2
    ),
}


@pytest.mark.parametrize("row", _ROWS.values(), ids=_ROWS)
def test_waits_at_the_beginning(row: _Row) -> None:
    def server() -> TinyServer:
        capabilities = row.capabilities + b" SASL-IR AUTH=PLAIN"
        return _server(greets=row.greets, told=row.told, capabilities=capabilities)

    with _side(server()) as source, _side(server(), Side.DESTINATION) as destination:
        assert source.waits.now == row.login
        plan = make_plan(source.session, destination.session, selection=FolderSelection())
        assert source.waits.now - row.login == row.plan
        assert destination.waits.now - row.login == row.plan
    assert [task.source_name for task in plan.tasks] == ["INBOX", "Archive", "Sent"]
    assert all(task.subscribe for task in plan.tasks)
    assert {task.here for task in plan.tasks} == {_STANDING}
    assert {task.there for task in plan.tasks} == {_STANDING}
    with _side(server()) as alone:
        before = alone.waits.now
        survey = alone.session.survey(sizes=True)
        assert alone.waits.now - before == row.survey
        assert survey.namespaces.foreign == ("Shared/",)
        assert alone.verbs.count(b"NAMESPACE") == 1


def test_a_list_that_is_refused_although_it_is_announced_costs_one_wait_more() -> None:
    def refuse(peer: Peer, tag: bytes, rest: bytes) -> None:
        if b"RETURN" in rest:
            peer.send(tag + b" BAD what?\r\n")
        else:
            _list(peer, tag, rest)

    with _side(_server({b"LIST": refuse}, told=_RICH)) as side:
        survey = side.session.survey(sizes=True)
        assert side.waits.now == 5
    assert {folder.raw for folder in survey.folders} == survey.subscribed == set(_NAMES)
    assert not survey.standings


def test_folders_whose_status_is_refused_are_asked_for_once_and_left_out() -> None:
    def status(peer: Peer, tag: bytes, rest: bytes) -> None:
        if b"Sent" in rest:
            peer.send(tag + b" NO no\r\n")
        else:
            _one_status(peer, tag, rest)

    with _side(_server({b"STATUS": status})) as side:
        found = side.session.standings(_NAMES, sizes=True)
        assert side.waits.now == 4
        assert side.verbs.count(b"STATUS") == 3
    assert found == {b"INBOX": _STANDING, b"Archive": _STANDING}


def test_many_standings_are_asked_for_without_filling_the_connection() -> None:
    names = [b"folder %d " % number + b"x" * 200 for number in range(500)]

    def status(peer: Peer, tag: bytes, rest: bytes) -> None:
        name = rest.split(b'"')[1]
        says(b'STATUS "%s" (MESSAGES 3)' % name)(peer, tag, rest)

    with _side(_server({b"STATUS": status})) as side:
        found = side.session.standings(names, sizes=False)
    assert found == dict.fromkeys(names, Standing(messages=3))


def test_answers_in_another_order_are_told_apart() -> None:
    held: list[bytes] = []

    def status(peer: Peer, tag: bytes, rest: bytes) -> None:
        row = b"* " + _status(rest.split(b" ")[1].strip(b'"')) + b"\r\n" + tag + b" OK done\r\n"
        held.append(row)
        if len(held) == len(_NAMES):
            peer.send(b"".join(reversed(held)))

    with _side(_server({b"STATUS": status})) as side:
        assert set(side.session.standings(_NAMES, sizes=True)) == set(_NAMES)


def test_a_list_that_is_refused_ends_the_survey() -> None:
    refused = _server({b"LIST": says(end=b"NO no")})
    with _side(refused) as side, pytest.raises(CommandRefusedError, match="LIST"):
        side.session.survey(sizes=True)


# --- a folder

_MANY = {uid: mail(uid) for uid in range(1, 2401)}


def _folder(messages: dict[int, bytes], changed: dict[bytes, Answer] | None = None) -> TinyServer:
    """Return a server that answers FETCH for the numbers that it is asked for, and no others."""

    def listing(peer: Peer, tag: bytes, rest: bytes) -> None:
        wanted = numbers(rest.split(b" ")[1])
        if max(wanted) > len(messages):
            peer.send(tag + b" BAD no such numbers\r\n")
            return
        rows = [
            TinyServer.line(number, uid, body, header=b"HEADER" in rest)
            for number, (uid, body) in enumerate(messages.items(), start=1)
            if number in wanted
        ]
        peer.send(b"".join(rows) + tag + b" OK done\r\n")

    server = _server({b"FETCH": listing, **(changed or {})})
    server.messages = messages
    return server


def _read(
    side: _Side, *, expected: int, brief: bool = False, wanted_brief: bool = False
) -> tuple[list[int], int]:
    """Open INBOX and read its listing; return its UIDs and the waits."""
    before = side.waits.now
    opened = side.session.open(b"INBOX", read_only=True, expected=expected, brief=brief)
    reader = side.session.reader
    windows = (reader.brief if wanted_brief else reader.metadata)(opened.exists)
    return [one.uid for window in windows for one in window], side.waits.now - before


@pytest.mark.parametrize(
    ("messages", "expected", "waits"),
    [
        (3, 3, 1),
        (3, 0, 2),
        (3, 2, 2),
        (3, 9, 2),
        (0, 0, 1),
        (0, 5, 1),
        (2400, 2400, 2),
        (2400, 0, 3),
        (2400, 2300, 2),
        (900, 2400, 2),
    ],
)
def test_waits_for_a_folder(messages: int, expected: int, waits: int) -> None:
    # Three windows cost no more than two: each is asked for before the one before it is read.
    mails = dict(list(_MANY.items())[:messages])
    with _side(_folder(mails)) as side:
        assert _read(side, expected=expected) == (list(mails), waits)
        # What was asked for in vain is out of the way.
        assert _read(side, expected=messages)[0] == list(mails)


def test_headers_are_asked_for_again_if_they_are_wanted_after_all() -> None:
    with _side(_folder(dict(MAILS))) as side:
        assert _read(side, expected=3, brief=True) == (list(MAILS), 2)
        assert _read(side, expected=3, brief=True, wanted_brief=True) == (list(MAILS), 1)


def test_a_folder_that_is_refused_leaves_nothing_behind() -> None:
    with _side(_folder(dict(MAILS), {b"EXAMINE": says(end=b"NO no")})) as side:
        for _ in range(2):
            with pytest.raises(CommandRefusedError, match="EXAMINE"):
                _read(side, expected=3)
        assert side.session.standing(b"INBOX") == _STANDING


def test_numbers_that_shift_before_the_window_is_wanted_are_noticed() -> None:
    def shifting(peer: Peer, tag: bytes, _: bytes) -> None:
        peer.send(b"* 1 EXPUNGE\r\n" + tag + b" OK done\r\n")

    server = _folder(dict(MAILS))
    server.answers[b"FETCH"] = shifting
    with _side(server) as side, pytest.raises(FolderChanged):
        _read(side, expected=2)


def test_what_a_window_lacks_is_asked_for_although_the_next_one_is_under_way() -> None:
    server = _folder(_MANY)
    honest = server.answers[b"FETCH"]
    asked: list[bytes] = []

    def forgetful(peer: Peer, tag: bytes, rest: bytes) -> None:
        asked.append(rest.split(b" ")[1])
        if asked[-1] == b"1:1000":
            rest = rest.replace(b"1:1000", b"1:990")
        honest(peer, tag, rest)

    server.answers[b"FETCH"] = forgetful
    with _side(server) as side:
        assert _read(side, expected=2400)[0] == list(_MANY)
    assert asked == [b"1:1000", b"1001:2000", b"991:1000", b"2001:2400"]


def test_a_listing_that_is_left_unfinished_leaves_nothing_behind() -> None:
    with _side(_folder(_MANY)) as side:
        side.session.open(b"INBOX", read_only=True, expected=2400)
        windows = side.session.reader.metadata(2400)
        next(windows)
        assert side.session.standing(b"INBOX") == _STANDING
        assert _read(side, expected=2400)[0] == list(_MANY)


# --- what is missing at the destination

_TREE = (b"INBOX", b"A", b"A/B", b"A/B/C", b"D/E")


def _tree(*names: bytes) -> Answer:
    return says(*(b'LIST () "/" "%s"' % name for name in names))


@pytest.mark.parametrize("refused", [b"", b"A/B", b"D"])
def test_missing_folders_are_created_with_one_wait(refused: bytes) -> None:
    def create(peer: Peer, tag: bytes, rest: bytes) -> None:
        name = rest.split(b'"')[1]
        peer.send(tag + (b" NO [CANNOT] no\r\n" if name == refused else b" OK done\r\n"))

    subscribed = says(*(b'LSUB () "/" "%s"' % name for name in _TREE))
    here = _server({b"LIST": _tree(*_TREE), b"LSUB": subscribed})
    there = _server({b"LIST": _tree(b"INBOX"), b"LSUB": says(), b"CREATE": create})
    with _side(here) as source, _side(there, Side.DESTINATION) as side:
        plan = make_plan(source.session, side.session, selection=FolderSelection())
        before = side.waits.now
        plan.destination.create_missing(plan.tasks, session=side.session)
        assert side.waits.now - before == 1
        missing = {
            t.destination_name for t in plan.tasks if not plan.destination.existing(t.destination)
        }
        assert missing == ({"A/B"} if refused == b"A/B" else set())
        (peer,) = side.script.peers
        names = [line.split(b'"')[1] for _, line in peer.trace if b" CREATE " in line]
        assert names == [b"A", b"A/B", b"A/B/C", b"D", b"D/E"]
        assert plan.destination.subscribed >= {b"A", b"D/E"}


def test_a_folder_that_is_refused_costs_only_itself() -> None:
    def create(peer: Peer, tag: bytes, rest: bytes) -> None:
        bad = b'"A/B"' in rest
        peer.send(tag + (b" NO [CANNOT] not here\r\n" if bad else b" OK done\r\n"))

    source = TinyServer(dict(MAILS), answers={b"LIST": _tree(*_TREE), b"LSUB": says()})
    with both(source, TinyServer(answers={b"CREATE": create})) as pair:
        report, _ = pair.run()
    assert len(pair.destination.appended) == 4 * len(MAILS)
    assert [s.folder for s in report.skipped] == ["A/B"]
    assert "not here" in (report.skipped[0].reason or "")
    assert report.verdict.totals.skipped == len(MAILS)


def test_both_sides_are_taken_leave_of_at_once() -> None:
    order: list[str] = []

    def leave(name: str) -> Answer:
        def answer(peer: Peer, tag: bytes, _: bytes) -> None:
            order.append(name)
            both_left.wait(5)
            peer.send(b"* BYE bye\r\n" + tag + b" OK done\r\n")

        return answer

    both_left = threading.Barrier(2)
    source = TinyServer(dict(MAILS), answers={b"LOGOUT": leave("source")})
    with both(source, TinyServer(answers={b"LOGOUT": leave("destination")})) as pair:
        pair.run()
    assert sorted(order) == ["destination", "source"]
    assert not both_left.broken

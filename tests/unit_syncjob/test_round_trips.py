"""How often the engine waits for a server: a table, so that nobody adds a wait without noticing."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from mailsync_api.endpoint import Side
from mailsync_api.spec import FolderSelection
from mailsync_syncjob.errors import CommandRefusedError
from mailsync_syncjob.imap.session import Session, open_session
from mailsync_syncjob.imap.survey import Standing
from mailsync_syncjob.plan import make_plan
from tests.support.between import MAILS
from tests.support.recorded import connector, endpoint
from tests.support.scripted import Answer, Peer, Script, TinyServer, says, serve
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
    *, greets: bool, told: bytes | None, capabilities: bytes = _PLAIN, **changed: Answer
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
            **{name.encode(): answer for name, answer in changed.items()},
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
    "all at once": _Row(greets=True, told=_RICH, capabilities=_RICH, login=2, survey=1, plan=1),
    "no greeting": _Row(greets=False, told=_RICH, capabilities=_RICH, login=3, survey=1, plan=1),
    "no LIST-STATUS": _Row(
        greets=True, told=_PLAIN, capabilities=_PLAIN, login=2, survey=1, plan=2
    ),
    "silent login": _Row(greets=False, told=None, capabilities=_RICH, login=3, survey=1, plan=1),
    "silent login, plain": _Row(
        greets=False, told=None, capabilities=_PLAIN, login=3, survey=1, plan=2
    ),
    "nothing before the login": _Row(
        greets=True, told=None, capabilities=_RICH, login=2, survey=2, plan=2
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

    with _side(_server(greets=True, told=_RICH, LIST=refuse)) as side:
        survey = side.session.survey(sizes=True)
        assert side.waits.now == 4
    assert {folder.raw for folder in survey.folders} == survey.subscribed == set(_NAMES)
    assert not survey.standings


def test_folders_whose_status_is_refused_are_asked_for_once_and_left_out() -> None:
    def status(peer: Peer, tag: bytes, rest: bytes) -> None:
        if b"Sent" in rest:
            peer.send(tag + b" NO no\r\n")
        else:
            _one_status(peer, tag, rest)

    with _side(_server(greets=True, told=_PLAIN, STATUS=status)) as side:
        found = side.session.standings(_NAMES, sizes=True)
        assert side.waits.now == 3
        assert side.verbs.count(b"STATUS") == 3
    assert found == {b"INBOX": _STANDING, b"Archive": _STANDING}


def test_many_standings_are_asked_for_without_filling_the_connection() -> None:
    names = [b"folder %d " % number + b"x" * 200 for number in range(500)]

    def status(peer: Peer, tag: bytes, rest: bytes) -> None:
        name = rest.split(b'"')[1]
        says(b'STATUS "%s" (MESSAGES 3)' % name)(peer, tag, rest)

    with _side(_server(greets=True, told=_PLAIN, STATUS=status)) as side:
        found = side.session.standings(names, sizes=False)
    assert found == dict.fromkeys(names, Standing(messages=3))


def test_answers_in_another_order_are_told_apart() -> None:
    held: list[bytes] = []

    def status(peer: Peer, tag: bytes, rest: bytes) -> None:
        row = b"* " + _status(rest.split(b" ")[1].strip(b'"')) + b"\r\n" + tag + b" OK done\r\n"
        held.append(row)
        if len(held) == len(_NAMES):
            peer.send(b"".join(reversed(held)))

    with _side(_server(greets=True, told=_PLAIN, STATUS=status)) as side:
        assert set(side.session.standings(_NAMES, sizes=True)) == set(_NAMES)


def test_a_list_that_is_refused_ends_the_survey() -> None:
    refused = _server(greets=True, told=_PLAIN, LIST=says(end=b"NO no"))
    with _side(refused) as side, pytest.raises(CommandRefusedError, match="LIST"):
        side.session.survey(sizes=True)

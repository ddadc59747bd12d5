"""A real Cyrus as destination and as source: an administrator logs in, mail arrives as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.checker import compare_mailboxes
from tests.support.cyrus import ADMIN, Cyrus, Users, run_cyrus
from tests.support.engine import Account, Engine
from tests.support.mailbox import load, plain_message
from tests.support.scripted import TinyServer, serve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers.conftest import Pair

pytestmark = pytest.mark.servers

_USERS = Users(
    {"alice": "Alices-Wort-42", "bob": "Bobs-Wort-42", "carol": "Carols-Wort-42"},
    admin="Verwalter-Wort-42",
)
_MAILS = [
    plain_message(number, path=path, flags=flags)
    for number, (path, flags) in enumerate(
        [
            (("INBOX",), ()),
            (("INBOX",), ("\\Seen", "work")),
            (("Archive", "2019"), ("\\Flagged",)),
            (("Entw\u00fcrfe",), ("\\Draft",)),
        ]
    )
]


@pytest.fixture(scope="module")
def cyrus() -> Iterator[Cyrus]:
    with run_cyrus(_USERS) as server:
        yield server


def _as_admin(cyrus: Cyrus, user: str) -> Account:
    return cyrus.account(ADMIN, _USERS.admin, mechanism="Plain", authorizationIdentity=user)


def test_an_administrator_fills_a_mailbox(cyrus: Cyrus, pair: Pair, tmp_path: Path) -> None:
    with pair.source() as session:
        load(session, _MAILS)
    engine = Engine(tmp_path, pair.source_account(), _as_admin(cyrus, "alice"))
    first, second = engine.run(), engine.run()
    assert first.exit_code == 0, first.said
    assert first.verdict is not None
    assert first.verdict.totals.copied == len(_MAILS)
    with pair.source() as source, cyrus.login("alice") as destination:
        assert compare_mailboxes(source, destination) == []
    assert second.verdict is not None
    assert (second.exit_code, second.verdict.totals.copied) == (0, 0)
    assert _USERS.admin not in first.said + second.said


def test_an_administrator_empties_no_mailbox_but_copies_it(
    cyrus: Cyrus, pair: Pair, tmp_path: Path
) -> None:
    with cyrus.login("bob") as session:
        load(session, _MAILS)
    result = Engine(tmp_path, _as_admin(cyrus, "bob"), pair.destination_account()).run()
    assert result.exit_code == 0, result.said
    with cyrus.login("bob") as source, pair.destination() as destination:
        assert compare_mailboxes(source, destination) == []


@pytest.mark.parametrize(
    ("user", "password"),
    [("bob", _USERS.passwords["bob"]), (ADMIN, "not-the-word")],
    ids=["no administrator", "a wrong password"],
)
def test_nobody_else_opens_it(
    cyrus: Cyrus, pair: Pair, tmp_path: Path, *, user: str, password: str
) -> None:
    account = cyrus.account(user, password, mechanism="Plain", authorizationIdentity="alice")
    result = Engine(tmp_path, account, pair.destination_account()).run()
    assert result.exit_code == 77
    assert result.verdict is not None
    assert f"{user} for the mailbox of alice" in result.verdict.message
    assert password not in result.said


_HEAD = b"From: a@example.org\r\nDate: Mon, 1 Jan 2024 10:00:00 +0000\r\nMessage-ID: <%d@x>\r\n"
_ODD = {
    2: (_HEAD % 2 + b"\r\nbefore \0 after\r\n", "NUL"),
    3: (_HEAD % 3 + b"\r\na bare\nnewline\r\n", "bare newlines"),
    4: (b"no header at all, and nothing that looks like one\r\n", "header"),
    5: (b"", "Zero-length message"),
}


def test_messages_that_it_refuses_are_named_and_the_others_arrive(
    cyrus: Cyrus, tmp_path: Path
) -> None:
    # A scripted source: Dovecot itself would not keep a NUL.
    good = {uid: _HEAD % uid + b"\r\nbody\r\n" for uid in (1, 6)}
    source = TinyServer(dict(sorted((good | {uid: odd[0] for uid, odd in _ODD.items()}).items())))
    with serve(source) as script:
        account = Account("127.0.0.1", script.port, "carol", "Quell-Wort-42", "", {"mode": "None"})
        result = Engine(tmp_path, account, _as_admin(cyrus, "carol")).run()
    assert result.exit_code == 65, result.said
    assert result.verdict is not None
    assert result.report is not None
    assert result.verdict.totals.copied == len(good)
    reasons = {skipped.uid: skipped.reason for skipped in result.report.skipped}
    assert reasons.keys() == _ODD.keys()
    for uid, (_, words) in _ODD.items():
        assert words in reasons[uid]

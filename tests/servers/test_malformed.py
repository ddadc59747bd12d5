"""Six hundred malformed messages on real servers.

What a server makes of a message that it is given without the engine is the measure: the engine's
copies are the same, byte for byte, and what it cannot copy is what the server refuses then, too.
"""

from __future__ import annotations

import hashlib
import imaplib
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.support.checker import Found, read_mailbox
from tests.support.courier import run_courier
from tests.support.cyrus import Users, run_cyrus
from tests.support.dovecot import Settings, run_dovecot
from tests.support.engine import Account, Engine, Result
from tests.support.malformed import COUNT, CorpusServer, Malformed, corpus
from tests.support.scripted import serve

pytestmark = pytest.mark.servers

_WORDS = {"reference": "Massstab-Wort-77", "copy": "Abschrift-Wort-77"}
_TAGS = itertools.count(1)


@dataclass(frozen=True)
class _Server:
    login: Callable[[str], AbstractContextManager[imaplib.IMAP4]]
    account: Account


@contextmanager
def _dovecot() -> Iterator[_Server]:
    with run_dovecot(Settings(users=_WORDS, disk="500m")) as server:
        account = Account.at(server, "copy", _WORDS["copy"])
        yield _Server(lambda user: server.login(user, _WORDS[user]), account)


@contextmanager
def _cyrus() -> Iterator[_Server]:
    with run_cyrus(Users(_WORDS, admin="Verwalter-Wort-77")) as server:
        yield _Server(server.login, server.account("copy", _WORDS["copy"]))


@contextmanager
def _courier() -> Iterator[_Server]:
    with run_courier(_WORDS) as server:
        yield _Server(server.login, server.account("copy"))


_SERVERS = {"Dovecot": _dovecot, "Cyrus": _cyrus, "Courier": _courier}


@pytest.mark.parametrize("name", _SERVERS)
def test_what_arrives_is_what_the_server_makes_of_it(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The one of 40 MB once: it takes its time.
    messages = corpus(huge=name == "Dovecot")
    began = int(time.time())
    with _SERVERS[name]() as server, serve(CorpusServer(corpus=messages)) as script:
        with server.login("reference") as session:
            refused = _store_all(session, messages)
        source = Account("127.0.0.1", script.port, "alice", "Quell-Wort-77", tls={"mode": "None"})
        engine = Engine(tmp_path, source, server.account)
        first = engine.run(timeout=300)
        reference, copies = (_read(server, user) for user in ("reference", "copy"))
        second = engine.run(timeout=300)
        again = _read(server, "copy")

    for result in (first, second):
        assert result.exit_code == (65 if refused else 0), result.said[-3000:]
        _check_skipped(result, refused)
    assert _with_dates(copies, began) == _with_dates(reference, began)
    assert second.verdict is not None
    assert second.verdict.totals.copied == 0
    assert _with_dates(again, began) == _with_dates(copies, began)
    with capsys.disabled():
        print(f"\n{name}: {_summary(messages, refused, copies)}")


def _store_all(session: imaplib.IMAP4, messages: list[Malformed]) -> dict[int, str]:
    """Store the messages one by one, without the engine, and return why by UID where refused."""
    refused = {}
    for uid, one in enumerate(messages, start=1):
        reason = _store(session, one)
        if reason and one.flags:
            # It may be the keyword that is refused.
            system = tuple(flag for flag in one.flags if flag.startswith(b"\\"))
            reason = _store(session, replace(one, flags=system))
        if reason:
            refused[uid] = reason
    return refused


def _store(session: imaplib.IMAP4, one: Malformed) -> str:
    tag = b"A%d" % next(_TAGS)
    words = [tag, b"APPEND INBOX", b"(" + b" ".join(one.flags) + b")", one.date or b""]
    session.send(b" ".join(word for word in words if word) + b" {%d}\r\n" % len(one.body))
    while not (line := session.readline()).startswith(tag):
        assert line, "the server closed the connection"
        if line.startswith(b"+"):
            session.send(one.body + b"\r\n")
    status, _, text = line[len(tag) + 1 :].decode().strip().partition(" ")
    return "" if status == "OK" else text


def _check_skipped(result: Result, refused: dict[int, str]) -> None:
    assert result.report is not None
    reasons = {skipped.uid: skipped.reason for skipped in result.report.skipped}
    assert reasons.keys() == refused.keys()
    for uid, reason in reasons.items():
        # Without the code in brackets and what differs from time to time, as how long it took.
        said = refused[uid].rpartition("] ")[2].partition(" (0.")[0]
        assert said in reason


def _read(server: _Server, user: str) -> list[Found]:
    with server.login(user) as session:
        folders = read_mailbox(session)
    assert {path for path, found in folders.items() if found} == {("INBOX",)}
    return folders["INBOX",]


def _with_dates(found: list[Found], began: int) -> Counter[Found]:
    """Count messages; the server's own clock is all the same, and Dovecot's has 32 bits."""
    now = range(began, int(time.time()) + 1)
    instants = (0 if one.instant in now else one.instant % (1 << 32) for one in found)
    return Counter(replace(one, instant=n) for one, n in zip(found, instants, strict=True))


def _summary(messages: list[Malformed], refused: dict[int, str], copies: list[Found]) -> str:
    there = Counter(message.sha256 for message in copies)
    changed: Counter[str] = Counter()
    for uid, one in enumerate(messages, start=1):
        digest = hashlib.sha256(one.body).hexdigest()
        if uid in refused:
            continue
        if there[digest]:
            there[digest] -= 1
        else:
            changed[one.kind] += 1
    kinds = Counter(messages[uid - 1].kind for uid in refused)
    exact = COUNT - len(refused) - changed.total()
    return (
        f"{exact} of {COUNT} stored exactly, {changed.total()} changed by the server "
        f"({_listed(changed)}), {len(refused)} refused ({_listed(kinds)}), second run 0"
    )


def _listed(kinds: Counter[str]) -> str:
    return ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items())) or "none"

"""Several connections between scripted servers: shared, refused, lost one by one."""

from __future__ import annotations

import re
import threading
from collections import Counter

import pytest
from typing_extensions import override

from mailsync_api.exitcodes import ExitCode
from mailsync_syncjob.sharing import Shares
from tests.support.between import both, mail
from tests.support.recorded import patience
from tests.support.scripted import Answer, Peer, TinyServer, says

_MANY = b"IMAP4rev1 AUTH=PLAIN SASL-IR LITERAL+ UIDPLUS MULTIAPPEND"
_MAILS = {uid: mail(uid) for uid in range(1, 401)}
_SHARES = Shares(pair_messages=20, least_messages=10, most_messages=20)


class _Keeping(TinyServer):
    """A destination whose messages are there when it is looked at again."""

    @override
    def append(self, peer: Peer, tag: bytes, rest: bytes) -> None:
        with _LOCK:
            super().append(peer, tag, rest)
            for _, body in self.appended[len(self.messages) :]:
                self.messages[len(self.messages) + 1] = body


_LOCK = threading.Lock()


def _destination(**answers: Answer) -> _Keeping:
    named = {name.encode(): answer for name, answer in answers.items()}
    return _Keeping(capabilities=_MANY, answers=named)


def _stored(server: TinyServer) -> Counter[bytes]:
    return Counter(server.messages.values())


def _all() -> Counter[bytes]:
    return Counter(_MAILS.values())


class _Turnstile:
    """Lets so many logins through; the others are answered otherwise."""

    def __init__(self, most: int, answer: Answer) -> None:
        self.asked = 0
        self._most = most
        self._answer = answer

    def __call__(self, peer: Peer, tag: bytes, rest: bytes) -> None:
        with _LOCK:
            self.asked += 1
            let = self.asked <= self._most
        (says() if let else self._answer)(peer, tag, rest)


def test_a_folder_is_shared_by_as_many_connections_as_allowed() -> None:
    slow = threading.Barrier(3, timeout=20)
    destination = _destination()
    first = threading.local()

    def append(peer: Peer, tag: bytes, rest: bytes) -> None:
        if not hasattr(first, "done"):
            first.done = True
            slow.wait()  # each connection has its first batch at the same time
        destination.append(peer, tag, rest)

    destination.answers[b"APPEND"] = append
    with both(TinyServer(dict(_MAILS)), destination) as pair:
        report, _ = pair.run(connections=3, shares=_SHARES)
    assert report.verdict.exit_code is ExitCode.DONE
    assert _stored(destination) == _all()
    assert report.verdict.strategy is not None
    assert report.verdict.strategy.source_connections == 3
    assert report.verdict.strategy.destination_connections == 3
    assert not report.verdict.strategy.fewer_connections_reason
    for script in (pair.source_script, pair.destination_script):
        assert len(script.peers) == 3
        assert script.said.count(b"LOGOUT") == 3


def test_with_nothing_new_there_is_one_connection_a_side() -> None:
    with both(TinyServer(dict(_MAILS)), TinyServer(dict(_MAILS))) as pair:
        report, _ = pair.run(connections=4, shares=_SHARES)
    assert report.verdict.totals.already_present == len(_MAILS)
    assert len(pair.source_script.peers) == len(pair.destination_script.peers) == 1


def _refuse(words: bytes) -> Answer:
    return says(end=b"NO " + words)


def _hang_up(peer: Peer, *_: bytes) -> None:
    peer.close()


def _say_bye(peer: Peer, *_: bytes) -> None:
    peer.send(b"* BYE Too many simultaneous connections\r\n")
    peer.close()


@pytest.mark.parametrize("side", ["source", "destination"])
@pytest.mark.parametrize(
    "answer",
    [
        _refuse(b"[UNAVAILABLE] Maximum number of connections from user+IP exceeded"),
        _refuse(b"[ALERT] Too many simultaneous connections. (Failure)"),
        _refuse(b"[AUTHENTICATIONFAILED] wrong"),
        _hang_up,
        _say_bye,
    ],
    ids=["Dovecot's limit", "Gmail's limit", "credentials", "hangs up", "BYE"],
)
def test_a_server_that_takes_fewer_connections_is_asked_once_and_obeyed(
    side: str, answer: Answer
) -> None:
    source, destination = TinyServer(dict(_MAILS)), _destination()
    turnstile = _Turnstile(1, answer)
    ends = {"source": source, "destination": destination}
    ends[side].answers[b"AUTHENTICATE"] = turnstile
    with both(source, destination) as pair:
        report, output = pair.run(connections=3, shares=_SHARES)
    assert report.verdict.exit_code is ExitCode.DONE, output.logs
    assert _stored(destination) == _all()
    assert report.verdict.strategy is not None
    assert report.verdict.strategy.destination_connections == 1
    assert side in report.verdict.strategy.fewer_connections_reason
    assert sum("going on with fewer connections" in text for _, text in output.logs) == 1
    # The two that were asked for at once, and none after them.
    assert turnstile.asked <= 3


def test_a_server_that_ends_one_of_several_for_their_number_keeps_the_others() -> None:
    destination = _destination()
    meeting = threading.Barrier(2, timeout=20)
    connection = threading.local()
    ended: list[Peer] = []

    def append(peer: Peer, tag: bytes, rest: bytes) -> None:
        if not hasattr(connection, "met"):
            connection.met = meeting.wait()
            if connection.met == 0:
                ended.append(peer)
                _say_bye(peer)
                return
        destination.append(peer, tag, rest)

    destination.answers[b"APPEND"] = append
    with both(TinyServer(dict(_MAILS)), destination) as pair:
        report, output = pair.run(connections=2, shares=_SHARES)
    assert len(ended) == 1
    assert report.verdict.exit_code is ExitCode.DONE, output.logs
    assert _stored(destination) == _all()
    assert len(pair.destination_script.peers) == 2
    assert report.verdict.strategy is not None
    assert "Too many" in report.verdict.strategy.fewer_connections_reason


@pytest.mark.parametrize("stores", [True, False])
def test_one_lost_connection_of_several_costs_nothing_and_doubles_nothing(*, stores: bool) -> None:
    destination = _destination()
    seen: list[bytes] = []

    def append(peer: Peer, tag: bytes, rest: bytes) -> None:
        with _LOCK:
            seen.append(rest)
            broken = len(seen) == 5
        if not broken:
            destination.append(peer, tag, rest)
            return
        if stores:
            destination.append(_Deaf(), tag, rest)
        peer.close()

    destination.answers[b"APPEND"] = append
    with both(TinyServer(dict(_MAILS)), destination) as pair:
        report, output = pair.run(connections=3, shares=_SHARES, patient=patience(command=2.0))
    assert report.verdict.exit_code is ExitCode.DONE, output.logs
    assert _stored(destination) == _all()
    assert report.verdict.totals.copied == len(_MAILS)
    assert len(re.findall(rb"EXAMINE", pair.source_script.said)) >= 2


class _Deaf(Peer):
    """Nobody hears what is said to it."""

    def __init__(self) -> None:
        pass

    @override
    def send(self, data: bytes) -> None:
        del data


def test_a_source_folder_that_was_replaced_is_not_copied_by_its_old_uids() -> None:
    source, destination = TinyServer(dict(_MAILS)), _destination()
    replaced = TinyServer({uid: mail(1000 + uid) for uid in _MAILS})
    opened: list[Peer] = []
    joined = threading.Event()

    def examine(peer: Peer, tag: bytes, rest: bytes) -> None:
        with _LOCK:
            opened.append(peer)
            validity = 7 if len(opened) != 2 else 8
        if validity == 8:
            joined.set()
        says(b"400 EXISTS", b"OK [UIDVALIDITY %d] ok" % validity)(peer, tag, rest)

    def bodies(peer: Peer, tag: bytes, rest: bytes) -> None:
        server = replaced if peer in opened[1:2] else source
        server.bodies(peer, tag, rest)

    def append(peer: Peer, tag: bytes, rest: bytes) -> None:
        assert joined.wait(20)  # else one might be done before another comes
        destination.append(peer, tag, rest)

    source.answers |= {b"EXAMINE": examine, b"UID FETCH": bodies}
    destination.answers[b"APPEND"] = append
    with both(source, destination) as pair:
        report, output = pair.run(connections=2, shares=_SHARES)
    assert report.verdict.exit_code is ExitCode.DONE, output.logs
    assert _stored(destination) == _all()


def test_the_first_cause_is_the_verdict_and_ends_all_workers() -> None:
    destination = _destination()

    def append(peer: Peer, tag: bytes, rest: bytes) -> None:
        if len(destination.appended) > 60:
            says(end=b"NO [OVERQUOTA] Quota exceeded")(peer, tag, rest)
        else:
            destination.append(peer, tag, rest)

    destination.answers[b"APPEND"] = append
    with both(TinyServer(dict(_MAILS)), destination) as pair:
        report, _ = pair.run(connections=3, shares=_SHARES)
    assert report.verdict.exit_code is ExitCode.OVER_QUOTA
    assert report.verdict.totals.copied == len(destination.appended)

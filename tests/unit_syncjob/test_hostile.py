"""Every hostile case, as the source and as the destination of a whole run.

The verdict comes from the listener's own record as well: it must have no word too many.
"""

from __future__ import annotations

import re
import threading
import tracemalloc
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from mailsync_api.endpoint import Side
from mailsync_api.exitcodes import ExitCode
from tests.support.hostile.case import MAIL, WORD, Case, Phase, Scene, listening
from tests.support.hostile.stripping import INJECTED
from tests.support.hostile.table import CASES
from tests.support.recorded import (
    PASSWORD,
    FastClock,
    Recorded,
    endpoint,
    patience,
    run_between,
)
from tests.support.scripted import TinyServer, serve
from tests.support.secret_forms import forms

if TYPE_CHECKING:
    from collections.abc import Callable

    from mailsync_api.report import Report
    from tests.support.certificates import Authority, KeyPair
    from tests.support.scripted import Script

_MIB = 1 << 20
# Above what the process holds anyway, both ends of the connection together.
_MEMORY = dict.fromkeys(Phase, 8 * _MIB) | {Phase.SESSION: 160 * _MIB}
_BEFORE_LOGIN = (Phase.CLEAR, Phase.HANDSHAKE, Phase.SECURED)
_SOON = patience(connect=0.5, greeting=0.5, command=0.5)
# Who never stops sending is told by the amount, however slow the machine is.
_LATE = patience(connect=60, greeting=60, command=60, window=60)
_COMMAND = re.compile(rb"^m[0-9a-f]{6}\d+ ([A-Z]+)", re.MULTILINE)
# Of the account under test; the other side has a user of its own.
_SECRETS = (PASSWORD.encode(), b"alice")


def _runs() -> list[tuple[Case, str, Side]]:
    """Return each case on both sides, and its further modes on one."""
    return [
        (case, mode, side)
        for case in CASES
        for mode in case.modes
        for side in Side
        if side in case.sides and (side is Side.SOURCE or mode in {"StartTLS", "Implicit"})
    ]


@dataclass
class _Ended:
    report: Report
    output: Recorded
    peak: int


def _measured(case: Case, work: Callable[[], tuple[Report, Recorded]]) -> _Ended:
    if not case.endless:
        return _Ended(*work(), 0)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        result = work()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return _Ended(*result, peak - before)


def _guarded(case: Case, work: Callable[[], tuple[Report, Recorded]]) -> _Ended:
    """Run it in a thread that may be left behind: a hang fails one test and not the whole run."""
    ended: list[_Ended] = []
    thread = threading.Thread(target=lambda: ended.append(_measured(case, work)), daemon=True)
    thread.start()
    thread.join(90)
    assert ended, "the run hangs, or it ended with an exception"
    return ended[0]


@pytest.mark.parametrize(
    ("case", "mode", "side"),
    _runs(),
    ids=[f"{case.phase.name} {case.name}, {mode}, {side}" for case, mode, side in _runs()],
)
def test_verdict(  # noqa: PLR0917  the columns, and what they need
    case: Case,
    mode: str,
    side: Side,
    authority: Authority,
    key_pair: KeyPair,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with ExitStack() as stack:
        bait = stack.enter_context(serve(TinyServer()))
        mail = ({1: MAIL}, {}) if side is Side.SOURCE else ({}, {1: MAIL})
        dialogue, implicit = listening(case, mode, Scene(bait.port, dict(mail[0])))
        script = stack.enter_context(serve(dialogue, key_pair=key_pair, implicit_tls=implicit))
        peer = stack.enter_context(serve(TinyServer(dict(mail[1]))))
        tls = {"mode": mode, "caRef": {"name": "ca"}}
        tested = endpoint(script.port, side=side, ca_pem=authority.pem, tls=tls, **case.account)
        other = endpoint(
            peer.port,
            side=next(each for each in Side if each is not side),
            username="bob",
            password=b"another-secret-word",
        )
        ends = (tested, other) if side is Side.SOURCE else (other, tested)
        patient = _SOON if case.slow else _LATE
        ended = _guarded(case, lambda: run_between(*ends, clock=FastClock(), patient=patient))

    verdict = ended.report.verdict
    assert (int(verdict.exit_code), verdict.reason) == (int(case.code), case.reason), (
        verdict.message
    )
    if case.code not in {ExitCode.DONE, ExitCode.SKIPPED_ITEMS}:
        assert verdict.side is side
    assert case.words in verdict.message
    assert ended.peak <= _MEMORY[case.phase]
    assert bait.peers == []
    assert capfd.readouterr() == ("", "")
    _check_what_was_said(case, script)
    _check_what_is_told(case, ended)


def _check_what_was_said(case: Case, script: Script) -> None:
    commands = _COMMAND.findall(script.said)
    logins = [word for word in commands if word in {b"AUTHENTICATE", b"LOGIN"}]
    assert len(logins) == case.logins
    if case.said is not None:
        assert len(_after_capabilities(script)) == case.said
    for secret in _SECRETS:
        for form in forms(secret):
            assert form not in script.said_in_clear
            if case.phase in _BEFORE_LOGIN and not case.logins:
                assert form not in script.said
    if not case.logins:
        assert set(commands) <= {b"CAPABILITY", b"STARTTLS", b"LOGOUT"}


def _after_capabilities(script: Script) -> list[bytes]:
    """Return what was said under TLS after asking for the capabilities."""
    (peer,) = script.peers
    said = [line for secured, line in peer.trace if secured]
    assert b" CAPABILITY" in said[0]
    return said[1:]


def _check_what_is_told(case: Case, ended: _Ended) -> None:
    told = ended.output.everything + ended.report.model_dump_json()
    for form in forms(PASSWORD.encode()):
        assert form.decode() not in told
    if case.phase in {Phase.CLEAR, Phase.HANDSHAKE}:
        assert WORD.decode() not in told
    assert INJECTED not in told


def test_each_case_is_there_once() -> None:
    names = [(case.phase, case.name, case.sides) for case in CASES]
    assert len(set(names)) == len(names)

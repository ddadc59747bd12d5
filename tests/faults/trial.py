"""One row on one side: a run in which something goes wrong, and an undisturbed one after it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace

from mailsync_api.endpoint import Side
from mailsync_api.exitcodes import ExitCode
from mailsync_api.report import Report
from tests.faults.case import Fault, Holds, Scene
from tests.faults.relay import Trouble, relayed
from tests.support.checker import Found, read_mailbox
from tests.support.dovecot import HOST, Dovecot, run_dovecot
from tests.support.mailbox import load
from tests.support.recorded import PASSWORD, HastyClock, endpoint, patience, run_between

__all__ = ["Trial", "attempt"]

# A message of 40 KB may take no longer than others.
_SHORT = patience(
    connect=1.5, greeting=1.5, command=1.5, window=1.5, slowest_bytes_per_second=100_000
)
_LONG = patience(connect=20, greeting=20, command=20, window=20)

Held = Counter[tuple[tuple[str, ...], Found]]


@dataclass(frozen=True, slots=True)
class Trial:
    """How it ended, and what is wrong with that."""

    fault: Fault
    side: Side
    problems: list[str]


def attempt(fault: Fault, side: Side, shared: Mapping[Side, Dovecot], user: str) -> Trial:
    """Try a row."""
    with ExitStack() as stack:
        servers = dict(shared)
        if fault.own is not None:
            settings = replace(fault.own, users={user: PASSWORD}, clear_text_logins=True)
            servers[side] = stack.enter_context(run_dovecot(settings))
        scene = Scene(servers, user)
        for where, messages in ((Side.SOURCE, fault.mailbox), (Side.DESTINATION, fault.there)):
            with scene.login(where) as session:
                load(session, messages)
        fault.before(scene)
        there_before = _contents(scene, Side.SOURCE)
        trouble = fault.trouble(scene, side)
        first = _run(scene, {side: trouble}, short=fault.short)
        problems = list(_verdict_problems(fault, side, *first))
        if fault.happens and not trouble.happened:
            problems.append("it did not happen")
        problems += [f"what was to happen failed: {error!r}" for error in trouble.errors]
        fault.cure(scene)
        # What was at the source before or is there now; where it was changed that is not the same.
        known = there_before | _contents(scene, Side.SOURCE)
        problems += _contents_problems(fault, scene, known)
        problems += _next_problems(fault, scene, known)
        return Trial(fault, side, [f"{problem}; {first[1]}" for problem in problems])


def _run(scene: Scene, troubles: Mapping[Side, Trouble], *, short: bool) -> tuple[Report, str]:
    with ExitStack() as stack:
        ends = []
        for side in Side:
            address = HOST, scene.servers[side].port
            relay = stack.enter_context(relayed(address, troubles.get(side, Trouble())))
            ends.append(endpoint(relay.port, side=side, username=scene.user))
        clock, patient = HastyClock(), _SHORT if short else _LONG
        report, output = run_between(*ends, clock=clock, patient=patient)
        return report, "; ".join(text for _, text in output.logs[-8:])


def _verdict_problems(fault: Fault, side: Side, report: Report, logs: str) -> Iterator[str]:
    verdict = report.verdict
    if (verdict.exit_code, verdict.reason) != (fault.code, fault.reason):
        yield f"it ended with {verdict.exit_code} {verdict.reason}: {verdict.message}"
    elif fault.words not in verdict.message + logs:
        yield f"it says {verdict.message}"
    named = fault.code not in {ExitCode.DONE, ExitCode.SKIPPED_ITEMS}
    if named and verdict.side is not side:
        yield f"it blames {verdict.side}"


def _contents_problems(fault: Fault, scene: Scene, known: Held) -> Iterator[str]:
    """Yield what the destination has wrong after the first run."""
    source, there = _contents(scene, Side.SOURCE), _contents(scene, Side.DESTINATION)
    yield from _too_many(there, known)
    if fault.code is ExitCode.DONE and not fault.changed and (lost := (source - there).total()):
        yield f"{lost} lost or changed, and the run says that it is done"
    began, held, wanted = len(fault.there), there.total(), source.total()
    holds = Holds.NONE if held == began else Holds.ALL if held >= wanted else Holds.PART
    if holds is not fault.holds:
        yield f"the destination holds {holds.value}: {held} of {wanted}"


def _next_problems(fault: Fault, scene: Scene, known: Held) -> Iterator[str]:
    """Run undisturbed, twice, and yield what is wrong then."""
    second, third = (_run(scene, {}, short=False)[0] for _ in range(2))
    for number, report in enumerate((second, third), start=2):
        if report.verdict.exit_code is not ExitCode.DONE:
            yield f"run {number} ended with {report.verdict.message}"
    if third.verdict.totals.copied:
        yield f"the third run still copied {third.verdict.totals.copied}"
    if fault.code is ExitCode.DONE and not fault.changed and second.verdict.totals.copied:
        yield f"a run that ended well left {second.verdict.totals.copied} for the next"
    source, there = _contents(scene, Side.SOURCE), _contents(scene, Side.DESTINATION)
    if lost := (source - there).total():
        yield f"after the next run {lost} are lost or changed"
    yield from _too_many(there, known)


def _too_many(there: Held, known: Held) -> Iterator[str]:
    if doubled := (_bytes(there) - _bytes(known)).total():
        yield f"{doubled} too many"


def _bytes(held: Held) -> Counter[tuple[tuple[str, ...], str]]:
    """Count messages by folder and bytes alone; flags may have been changed meanwhile."""
    found: Counter[tuple[tuple[str, ...], str]] = Counter()
    for (path, message), count in held.items():
        found[path, message.sha256] += count
    return found


def _contents(scene: Scene, side: Side) -> Held:
    with scene.login(side) as session:
        found = read_mailbox(session)
    return Counter((path, message) for path, messages in found.items() for message in messages)

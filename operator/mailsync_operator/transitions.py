"""What changed between two statuses: the only source of Events and counters.

They are taken from a status that was written and the one it replaced, so a repeated look at the
same state yields nothing, and nothing is counted twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mailsync_api.base import format_time
from mailsync_api.conditions import Condition, ConditionStatus, ConditionType, EventReason, Reason
from mailsync_api.exitcodes import ExitCode
from mailsync_api.status import MailSyncStatus, RunRecord, RunResult
from mailsync_operator import conditions

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Transition", "transitions"]

_MISSING: Final = frozenset(
    {Reason.SECRET_NOT_FOUND, Reason.SECRET_KEY_NOT_FOUND, Reason.CONFIG_MAP_NOT_FOUND}
)
_BLOCKERS: Final = _MISSING | frozenset(
    {
        Reason.IMAGE_PULL_FAILED,
        Reason.UNSCHEDULABLE,
        Reason.POD_NOT_STARTED,
        Reason.JOB_REFUSED,
    }
)


@dataclass(frozen=True, slots=True)
class Transition:
    """One change worth telling."""

    reason: EventReason
    message: str
    warning: bool = False
    run: RunRecord | None = None
    """The run that ended, if one did."""


def transitions(old: MailSyncStatus, new: MailSyncStatus) -> tuple[Transition, ...]:
    """Return the changes from one status to the next, in the order in which they happened."""
    return (
        *_ended(old, new),
        *_stalled(old, new),
        *_started(old, new),
        *_blocked(old, new),
        *_held(old, new),
        *_suspended(old, new),
        *_clear_text(old, new),
    )


def _ended(old: MailSyncStatus, new: MailSyncStatus) -> Iterator[Transition]:
    run = new.last_run
    if run is None or (old.last_run is not None and old.last_run.number == run.number):
        return
    what = f"run {run.number} ({run.type})"
    if run.result is RunResult.SUCCEEDED:
        text = f"{what}: {run.messages_copied} messages copied in {run.duration_seconds} s"
        yield Transition(EventReason.RUN_SUCCEEDED, text, run=run)
        return
    text = f"{what}: {run.reason}: {run.message}"
    if run.exit_code == ExitCode.THROTTLED:
        # The server's pace, or one that was asked for: nobody need do anything.
        later = format_time(new.retry_after_time) if new.retry_after_time else "later"
        told = f"{text}; {run.messages_copied} messages copied; the next run starts at {later}"
        yield Transition(EventReason.RUN_THROTTLED, told, run=run)
        return
    yield Transition(EventReason.RUN_FAILED, text, warning=True, run=run)


def _started(old: MailSyncStatus, new: MailSyncStatus) -> Iterator[Transition]:
    run = new.current_run
    if run is None or (old.current_run is not None and old.current_run.number == run.number):
        return
    text = f"run {run.number} ({run.type}) started as Job {run.job_name}"
    yield Transition(EventReason.RUN_STARTED, text)


def _stalled(old: MailSyncStatus, new: MailSyncStatus) -> Iterator[Transition]:
    now = conditions.of(new, ConditionType.STALLED)
    if now is None or now.status is not ConditionStatus.TRUE:
        return
    before = conditions.of(old, ConditionType.STALLED)
    if before is not None and (before.status, before.reason) == (now.status, now.reason):
        return
    own = not _is_held(new) and new.last_run == old.last_run
    invalid = now.reason == Reason.INVALID_CONFIGURATION and own
    reason = EventReason.INVALID_SPEC if invalid else EventReason.STALLED
    yield Transition(reason, now.message, warning=True)


def _blocked(old: MailSyncStatus, new: MailSyncStatus) -> Iterator[Transition]:
    now, before = (conditions.of(s, ConditionType.READY) for s in (new, old))
    if now is None or now.reason not in _BLOCKERS:
        return
    # What is missing is named in the message; a scheduler's words change all the time.
    same = before is not None and before.reason == now.reason
    if not same or (now.reason in _MISSING and before and before.message != now.message):
        yield Transition(EventReason.RUN_BLOCKED, now.message, warning=True)


def _held(old: MailSyncStatus, new: MailSyncStatus) -> Iterator[Transition]:
    ready, before = (conditions.of(s, ConditionType.READY) for s in (new, old))
    if ready is None or not _is_held(new):
        return
    stalled = conditions.of(new, ConditionType.STALLED)
    if stalled is not None and stalled.status is ConditionStatus.TRUE:
        return  # told as that
    # A server that was not probed yet is about to be: nothing to tell.
    if ready.reason != Reason.ENDPOINT_NOT_READY and (not before or before.reason != ready.reason):
        yield Transition(EventReason.WAITING_FOR_ENDPOINT, ready.message, warning=True)


def _is_held(status: MailSyncStatus) -> bool:
    state = conditions.of(status, ConditionType.SUCCEEDED)
    return state is not None and state.reason == Reason.WAITING_FOR_ENDPOINT


def _suspended(old: MailSyncStatus, new: MailSyncStatus) -> Iterator[Transition]:
    was, is_now = (_is_suspended(conditions.of(s, ConditionType.SUCCEEDED)) for s in (old, new))
    if is_now and not was:
        yield Transition(EventReason.SUSPENDED, "suspended, as spec.suspend asks for")
    if was and not is_now:
        yield Transition(EventReason.RESUMED, "no longer suspended")


def _is_suspended(condition: Condition | None) -> bool:
    return condition is not None and condition.reason == Reason.SUSPENDED


def _clear_text(old: MailSyncStatus, new: MailSyncStatus) -> Iterator[Transition]:
    now, before = (conditions.of(s, ConditionType.TLS_SECURED) for s in (new, old))
    if now is None or now.reason != Reason.CLEAR_TEXT:
        return
    if before is None or before.reason != now.reason:
        yield Transition(EventReason.CLEAR_TEXT, now.message, warning=True)

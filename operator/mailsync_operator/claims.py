"""What each state says in the conditions: one function for each, so that the texts stand together.

Every function returns what to claim when its first line is the case.

``Succeeded`` carries the state in its reason, and is Unknown until the migration is over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mailsync_api.base import format_time
from mailsync_api.conditions import ConditionStatus, ConditionType, Reason
from mailsync_api.endpoint import TLSMode, TLSVerify
from mailsync_api.exitcodes import ExitCode
from mailsync_api.status import (
    CurrentRun,
    MailSyncStatus,
    RunRecord,
    RunResult,
    RunType,
    TLSStatus,
)
from mailsync_operator import conditions
from mailsync_operator.conditions import Claim, false, true, unknown
from mailsync_operator.refusals import was_refused

if TYPE_CHECKING:
    from datetime import datetime

    from mailsync_api.limits import Bound
    from mailsync_api.spec import MailSyncSpec
    from mailsync_api.status import TLSFacts
    from mailsync_operator.gate import Hold
    from mailsync_operator.snapshot import PodSnapshot

__all__ = [
    "at_rest",
    "blocked",
    "compared",
    "day_is_over",
    "due",
    "held",
    "invalid",
    "not_synced",
    "pending",
    "queued",
    "refused_lately",
    "retrying",
    "running",
    "suspended",
    "sync_unknown",
    "synced",
    "tls_facts",
    "tls_refused",
    "verified",
    "waiting",
]

_SUCCEEDED: Final = ConditionType.SUCCEEDED
_READY: Final = ConditionType.READY
_STALLED: Final = ConditionType.STALLED
_SYNCED: Final = ConditionType.SYNCED
_TLS: Final = ConditionType.TLS_SECURED
_CURE: Final = (
    "When that is done, change spec.trigger.manual (any new text) or the spec, and it runs again"
)


def _ready(status: MailSyncStatus) -> Claim:
    last = status.last_run
    if last is None:
        return unknown(_READY, Reason.NOT_YET_KNOWN, "no run has ended yet")
    if last.result is RunResult.SUCCEEDED:
        return true(_READY, Reason.AS_EXPECTED, "the last run succeeded")
    return false(_READY, last.reason, last.message)


def _not_stalled() -> Claim:
    return false(_STALLED, Reason.AS_EXPECTED)


def _sentence(text: str) -> str:
    return text.rstrip(". ") + ". "


# --- a run is under way ---


def pending(status: MailSyncStatus, run: CurrentRun) -> tuple[Claim, ...]:
    """The Job is there, its pod does not run yet."""  # noqa: D401  a state, not a command
    text = f"run {run.number} ({run.type}) waits for its pod to start"
    return unknown(_SUCCEEDED, Reason.PENDING, text), _ready(status), _not_stalled()


def blocked(reason: Reason, message: str) -> tuple[Claim, ...]:
    """Something that a person or the cluster must provide keeps the pod from starting."""
    return (
        unknown(_SUCCEEDED, Reason.PENDING, message),
        false(_READY, reason, message),
        _not_stalled(),
    )


def running(status: MailSyncStatus, run: CurrentRun, pod: PodSnapshot) -> tuple[Claim, ...]:
    """The engine works, or is between two attempts."""  # noqa: D401  a state, not a command
    reason = Reason.INITIAL_SYNC if run.type is RunType.INITIAL else Reason.DELTA_SYNC
    text = f"run {run.number} is under way in pod {pod.name}"
    if pod.termination is not None:
        text = (
            f"pod {pod.name} of run {run.number} ended with exit code "
            f"{pod.termination.exit_code}; the Job decides whether another one follows"
        )
    return unknown(_SUCCEEDED, reason, text), _ready(status), _not_stalled()


def retrying(status: MailSyncStatus, run: CurrentRun) -> tuple[Claim, ...]:
    """Refused credentials are tried once more: nothing is known to be better yet."""
    last = status.last_run
    assert last is not None  # noqa: S101  a refused run came before
    text = f"{_sentence(last.message)}Run {run.number} tries the credentials once more"
    return _given_up(last.reason, text)


def suspended(message: str) -> tuple[Claim, ...]:
    """Nothing runs, on purpose."""
    return (
        unknown(_SUCCEEDED, Reason.SUSPENDED, message),
        false(_READY, Reason.SUSPENDED, message),
        _not_stalled(),
    )


# --- no run is under way ---


def invalid(error: str) -> tuple[Claim, ...]:
    """The spec cannot be carried out."""  # noqa: D401  a state, not a command
    text = f"{_sentence(error)}Correct the spec, and it runs by itself"
    return (
        unknown(_SUCCEEDED, Reason.INVALID_CONFIGURATION, text),
        false(_READY, Reason.INVALID_CONFIGURATION, text),
        true(_STALLED, Reason.INVALID_CONFIGURATION, text),
    )


def held(hold: Hold) -> tuple[Claim, ...]:
    """A MailEndpoint is missing or not ready, so no run starts."""  # noqa: D401  a state, not a command
    text = f"{_sentence(hold.message)}Once that is ready, the run starts by itself"
    if hold.reason == Reason.ENDPOINT_NOT_READY:
        ready = unknown(_READY, hold.reason, text)
    else:
        ready = false(_READY, hold.reason, text)
    stalled = true(_STALLED, hold.reason, text) if hold.person else _not_stalled()
    return unknown(_SUCCEEDED, Reason.WAITING_FOR_ENDPOINT, text), ready, stalled


def due(status: MailSyncStatus) -> tuple[Claim, ...]:
    """The next run starts at once."""  # noqa: D401  a state, not a command
    return (
        unknown(_SUCCEEDED, Reason.PENDING, "the next run starts"),
        _ready(status),
        _not_stalled(),
    )


def waiting(status: MailSyncStatus) -> tuple[Claim, ...]:
    """The last run failed, or was throttled, and is tried again later."""  # noqa: D401  a state, not a command
    last = status.last_run
    assert last is not None  # noqa: S101  only a failed run is waited for
    throttled = last.exit_code == ExitCode.THROTTLED
    return (
        unknown(
            _SUCCEEDED,
            Reason.THROTTLED if throttled else Reason.BACKING_OFF,
            f"{_sentence(last.message)}The next run starts at retryAfterTime",
        ),
        _ready(status),
        _not_stalled(),
    )


def queued(status: MailSyncStatus, why: str) -> tuple[Claim, ...]:
    """All slots of a MailEndpoint are taken."""
    text = f"{_sentence(why)}The run starts when it is its turn; until then it holds nothing"
    return unknown(_SUCCEEDED, Reason.QUEUED, text), _ready(status), _not_stalled()


def day_is_over(status: MailSyncStatus, limit: Bound, *, until: datetime) -> tuple[Claim, ...]:
    """A daily limit leaves nothing to copy for now."""  # noqa: D401  a state, not a command
    text = (
        f"{limit.value} bytes within 24 hours are copied, which is as much as {limit.origin} "
        f"allows: the next run starts at {format_time(until)}"
    )
    return unknown(_SUCCEEDED, Reason.THROTTLED, text), _ready(status), _not_stalled()


def refused_lately(status: MailSyncStatus, *, until: datetime) -> tuple[Claim, ...]:
    """A login with these credentials was refused within the hour, whatever the status says."""  # noqa: D401  a state, not a command
    text = (
        "a login with these credentials was refused less than an hour ago: the next run starts at "
        f"{format_time(until)}, or at once with a new spec.trigger.manual"
    )
    return unknown(_SUCCEEDED, Reason.BACKING_OFF, text), _ready(status), _not_stalled()


def at_rest(
    status: MailSyncStatus, *, spec: MailSyncSpec, watched: bool = False
) -> tuple[Claim, ...]:
    """Nothing is left to do: it is finished, or given up.

    Parameters
    ----------
    watched
        Whether it is seen when a Secret changes.
    """
    last = status.last_run
    assert last is not None  # noqa: S101  without a run the first one is due
    if last.result is RunResult.SUCCEEDED:
        return true(_SUCCEEDED, Reason.COMPLETED, _summary(last)), _ready(status), _not_stalled()
    text = f"{_sentence(last.message)}{_CURE}"
    if was_refused(last):
        text += " at once"
        if watched:
            text += "; it does by itself when its Secret changes"
        text += _next_attempt(status, spec=spec)
    elif status.consecutive_failures >= spec.retry.max_consecutive_failures > 1:
        text = f"given up after {status.consecutive_failures} failed runs in a row. {text}"
    return _given_up(last.reason, text)


def _next_attempt(status: MailSyncStatus, *, spec: MailSyncSpec) -> str:
    if status.retry_after_time is None:
        return " (spec.retry.credentialsRetrySeconds is 0)"
    if spec.suspend:
        return ". Nothing is tried while spec.suspend is true"
    at = format_time(status.retry_after_time)
    return f". Without that, the credentials are tried once more at {at}"


def _given_up(reason: str, text: str) -> tuple[Claim, ...]:
    return (
        false(_SUCCEEDED, reason, text),
        false(_READY, reason, text),
        true(_STALLED, reason, text),
    )


def _summary(run: RunRecord) -> str:
    verb = "would be copied" if run.dry_run else "copied"
    return (
        f"run {run.number} ({run.type}{', dry run' if run.dry_run else ''}): {run.messages_total} "
        f"messages at the source, {run.messages_copied} {verb}, {run.messages_already_present} "
        f"already there, {run.messages_skipped} skipped, in {run.duration_seconds} s"
    )


# --- Synced ---


def synced(run: RunRecord) -> tuple[Claim, ...]:
    """The destination holds what the source held when the run started."""  # noqa: D401  a state, not a command
    if run.messages_skipped:
        text = f"all but {run.messages_skipped} skipped messages are at the destination"
        return (false(_SYNCED, Reason.SKIPPED_ITEMS, text),)
    text = f"everything that was at the source when run {run.number} started is at the destination"
    return (true(_SYNCED, Reason.COMPLETED, text),)


def compared(status: MailSyncStatus, run: RunRecord) -> tuple[Claim, ...]:
    """A dry run says what is missing, and changes nothing."""  # noqa: D401  a state, not a command
    if _is_synced(status):
        return ()
    text = f"a dry run only: {run.messages_copied} messages would be copied"
    return (false(_SYNCED, Reason.DRY_RUN, text),)


def not_synced(status: MailSyncStatus, run: RunRecord) -> tuple[Claim, ...]:
    """A failed run takes nothing back of what an earlier one achieved."""  # noqa: D401  a state, not a command
    if _is_synced(status):
        return ()
    return (false(_SYNCED, run.reason, f"run {run.number} failed: {run.message}"),)


def sync_unknown() -> Claim:
    """The spec now asks for something else than what was synced."""  # noqa: D401  a state, not a command
    return unknown(_SYNCED, Reason.NOT_YET_KNOWN, "the spec changed since the last run")


def _is_synced(status: MailSyncStatus) -> bool:
    condition = conditions.of(status, _SYNCED)
    return condition is not None and condition.status is ConditionStatus.TRUE


# --- TLSSecured ---


def tls_facts(tls: TLSStatus) -> tuple[Claim, ...]:
    """Say what the connections are; a bad one needs no word of the other side."""
    sides = [(name, facts) for name in ("source", "destination") if (facts := getattr(tls, name))]
    clear = [name for name, facts in sides if not facts.secured]
    if clear:
        modes = {getattr(tls, name).mode for name in clear}
        why = "as tls.mode None asks for"
        if TLSMode.OPPORTUNISTIC in modes:
            why = "which does not offer TLS; tls.mode Opportunistic lets it"
            if len(modes) > 1:
                why = "as tls.mode Opportunistic and None let it"
        text = f"clear text to the {' and the '.join(clear)}, {why}"
        return (false(_TLS, Reason.CLEAR_TEXT, text),)
    # A pinned key says more about who the server is than any chain.
    unverified = [
        name for name, facts in sides if facts.verified is TLSVerify.NONE and not facts.pinned
    ]
    if unverified:
        text = f"the certificate of the {' and the '.join(unverified)} is not verified"
        return (false(_TLS, Reason.CERTIFICATE_NOT_VERIFIED, text),)
    if len(sides) < 2:
        return ()
    text = ", ".join(
        f"{name}: {facts.protocol or 'TLS'}, {facts.cipher or 'unknown cipher'}, "
        f"certificate verified ({verified(facts)})"
        for name, facts in sides
    )
    return (true(_TLS, Reason.ENCRYPTED, text),)


def verified(facts: TLSFacts) -> str:
    """Return what was verified of a certificate, in words."""
    if not facts.pinned:
        return facts.verified
    return "pinned key" if facts.verified is TLSVerify.NONE else f"{facts.verified}, pinned key"


def tls_refused(run: RunRecord) -> Claim:
    """The TLS policy was not met, so nothing was sent."""  # noqa: D401  a state, not a command
    return false(_TLS, run.reason, run.message)

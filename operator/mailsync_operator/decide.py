"""What to do about one MailSync: a pure function of what was observed.

A run goes Pending -> InitialSync or DeltaSync -> Completed, BackingOff, Throttled or stalled; which
of them it is follows from the status and the cluster alone, never from the operator's memory, so a
new operator goes on where the last one was killed. One pass does one step: it follows the run that
is under way, or ends it, or starts one.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from mailsync_api.conditions import Reason
from mailsync_api.endpoint import Side
from mailsync_api.exitcodes import ExitCode, RetryClass
from mailsync_api.spec import RetryPolicy
from mailsync_api.status import CurrentRun, RunRecord, RunResult, RunType
from mailsync_operator import claims
from mailsync_operator.actions import (
    CollectReport,
    CreateJob,
    Decision,
    DeleteJob,
    SetJobLifetime,
    SuspendJob,
)
from mailsync_operator.backoff import backoff_seconds
from mailsync_operator.draft import Draft
from mailsync_operator.endings import Ending, run_ending
from mailsync_operator.gate import ENDPOINT_CODES, find_hold
from mailsync_operator.naming import job_name, servers_hash, spec_hash
from mailsync_operator.pending import find_blocker, find_job_blocker

if TYPE_CHECKING:
    from mailsync_operator.observe import Observation
    from mailsync_operator.snapshot import JobSnapshot, PodSnapshot

__all__ = ["JOB_LIFETIME_SECONDS", "decide", "refused"]

JOB_LIFETIME_SECONDS: Final = 3600
"""A finished Job is kept at least this long, until its result is read: an operator that is down for
a while must not lose it. A shorter ``ttlSecondsAfterFinished`` is set once the run is recorded."""

_RUNNING_REQUEUE: Final = 300.0
"""A look from time to time, in seconds, in case a watch lost an event."""
_REFUSED_REQUEUE: Final = 60.0
_PENDING_STEPS: Final = ((10.0, 1.5), (60.0, 5.0), (600.0, 15.0))
"""While a pod is pending: younger than so many seconds, look again after so many."""
_PENDING_LATE: Final = 60.0
_LONGEST_THROTTLE: Final = 7 * 86400
"""A server's word on how long to wait is believed up to a week, in seconds."""


def decide(obs: Observation) -> Decision:
    """Return what is to be done now, the status to show, and when to look again at the latest."""
    draft = Draft(obs)
    if obs.mailsync.deleting:
        return draft.nothing()  # its Job goes with it, by owner reference
    run = obs.status.current_run or _adopted(obs)
    if run is not None and _follow(draft, run):
        return draft.finish()
    ended = run is not None
    _rest(draft, may_start=not ended)
    _keep_house(draft)
    if ended:
        draft.requeue(0.0)
    return draft.finish()


def refused(obs: Observation, why: str) -> Decision:
    """Return what to show when the API server does not accept the Job."""
    draft = Draft(obs)
    draft.set(current_run=None)
    draft.claim(*claims.blocked(Reason.JOB_REFUSED, f"the Job was not accepted: {why}"))
    draft.requeue(_REFUSED_REQUEUE)
    return draft.finish()


def _adopted(obs: Observation) -> CurrentRun | None:
    """Return the run of a Job that the status does not know yet: its creator was killed."""
    done = obs.status.last_run.number if obs.status.last_run else 0
    unknown = [job for job in obs.jobs if job.run > done]
    if not unknown:
        return None
    job = min(unknown, key=lambda job: job.run)
    return CurrentRun(
        number=job.run,
        type=_run_type(obs),
        job_name=job.name,
        start_time=job.created,
        manual=job.manual,
    )


def _run_type(obs: Observation) -> RunType:
    return RunType.DELTA if obs.status.last_sync_time else RunType.INITIAL


# --- a run is under way ---


def _follow(draft: Draft, run: CurrentRun) -> bool:
    """Describe the run, or record its end. Return whether it goes on."""
    obs = draft.obs
    job, pods = obs.job(run.number), obs.pods_of(run.number)
    seen = max(run.attempts, len(pods), job.pods if job else 0)
    start = job.created if job else run.start_time
    run = run.model_copy(update={"attempts": seen, "start_time": start})
    if job is None or job.outcome is not None:
        _end(draft, run_ending(obs, run))
        return False
    draft.set(current_run=run)
    if obs.spec is None:
        draft.claim(*claims.invalid(obs.spec_error))
        draft.requeue(_RUNNING_REQUEUE)
        return True
    if obs.spec.suspend != job.suspended:
        draft.do(SuspendJob(job.name, suspend=obs.spec.suspend))
    if obs.spec.suspend:
        draft.claim(*claims.suspended(f"run {run.number} is stopped; spec.suspend is true"))
        draft.requeue(_RUNNING_REQUEUE)
        return True
    _describe_pod(draft, run, job, pods)
    return True


def _describe_pod(
    draft: Draft, run: CurrentRun, job: JobSnapshot, pods: tuple[PodSnapshot, ...]
) -> None:
    obs = draft.obs
    pod = pods[-1] if pods else None
    if pod is not None and (pod.running or pod.termination is not None):
        draft.adopt_feed(run.number)
        draft.claim(*claims.running(obs.status, run, pod))
        draft.requeue(_RUNNING_REQUEUE)
        return
    blocker = None
    if pod is None:
        blocker = find_job_blocker(obs.pod_events, now=obs.now)
    elif not pod.deleting and obs.accounts is not None:
        ends = {side.value: obs.accounts.account(side) for side in Side}
        blocker = find_blocker(pod, obs.pod_events, ends=ends, now=obs.now)
    if blocker is not None:
        draft.claim(*claims.blocked(blocker.reason, blocker.message))
    else:
        draft.claim(*claims.pending(obs.status, run))
    since = pod.created if pod is not None else job.created
    draft.requeue(_pending_requeue((obs.now - since).total_seconds()))


def _pending_requeue(age: float) -> float:
    return next((wait for limit, wait in _PENDING_STEPS if age < limit), _PENDING_LATE)


# --- a run is over ---


def _end(draft: Draft, ending: Ending) -> None:
    obs, record = draft.obs, ending.record
    draft.set(current_run=None, last_run=record, next_sync_time=None)
    draft.set(runs=[record, *(r for r in obs.status.runs if r.number != record.number)])
    if record.manual is not None:
        draft.set(last_manual_sync=record.manual)
    draft.adopt_feed(record.number)
    if ending.verdict is not None:
        draft.adopt_verdict(ending.verdict)
    if ending.pod is not None:
        draft.do(CollectReport(pod=ending.pod, run=record.number))
    if ending.retry is RetryClass.DONE:
        _succeed(draft, record)
    else:
        _fail(draft, ending)


def _succeed(draft: Draft, record: RunRecord) -> None:
    draft.set(consecutive_failures=0, retry_after_time=None)
    if record.dry_run:
        draft.claim(*claims.compared(draft.obs.status, record))
        return
    draft.set(
        last_sync_start_time=record.start_time,
        last_sync_time=record.completion_time,
        last_sync_duration_seconds=record.duration_seconds,
    )
    draft.claim(*claims.synced(record))


def _fail(draft: Draft, ending: Ending) -> None:
    obs, record = draft.obs, ending.record
    policy = obs.spec.retry if obs.spec else RetryPolicy()
    # Throttling is the server's pace, not a failure: it never leads to giving up.
    failures = obs.status.consecutive_failures + (ending.retry is not RetryClass.THROTTLED)
    usual = backoff_seconds(policy, failures=failures, uid=obs.mailsync.uid)
    if ending.retry is RetryClass.THROTTLED:
        wait: int | None = min(record.retry_after_seconds or usual, _LONGEST_THROTTLE)
    elif ending.retry is RetryClass.PERSON or failures >= policy.max_consecutive_failures:
        wait = None
    else:
        wait = usual
    again = obs.now + timedelta(seconds=wait) if wait is not None else None
    draft.set(consecutive_failures=failures, retry_after_time=again, next_sync_time=again)
    draft.claim(*claims.not_synced(obs.status, record))
    if record.exit_code == ExitCode.TLS_POLICY:
        draft.claim(claims.tls_refused(record))


# --- no run is under way ---


def _rest(draft: Draft, *, may_start: bool) -> None:
    """Start a run if one is due, else say what the object waits for."""
    obs, status = draft.obs, draft.status
    if obs.spec is None:
        draft.claim(*claims.invalid(obs.spec_error))
        return
    asked = _asked_for(draft)
    due = status.retry_after_time
    if not asked and due is None:
        draft.claim(*claims.at_rest(status, policy=obs.spec.retry))
        return
    if obs.spec.suspend:
        draft.claim(*claims.suspended("no run starts while spec.suspend is true"))
        return
    if not asked and due is not None and due > obs.now:
        draft.claim(*claims.waiting(status))
        draft.requeue((due - obs.now).total_seconds())
        return
    hold = find_hold(obs.spec, obs.endpoints)
    if hold is not None:
        draft.claim(*claims.held(hold))  # a change of the MailEndpoint brings it here again
        return
    if obs.accounts is None:
        draft.claim(*claims.invalid(obs.spec_error))
        return
    if may_start:
        _start(draft)
    else:
        draft.claim(*claims.due(status))


def _asked_for(draft: Draft) -> bool:
    """Return whether the user asks for a run: the first one, a new token or a changed spec."""
    spec, status = draft.obs.spec, draft.status
    assert spec is not None  # noqa: S101  the caller looked
    if status.last_run is None:
        return True
    manual = spec.trigger.manual
    if manual is not None and manual != status.last_manual_sync:
        return True
    known = status.last_run.spec_hash
    if known is not None and known != spec_hash(spec):
        return True
    return status.last_run.result is RunResult.FAILED and _healed(draft.obs, status.last_run)


def _healed(obs: Observation, failed: RunRecord) -> bool:
    """Return whether what a run failed of may be gone: its MailEndpoint is another, or well again.

    Finished mailboxes do not run again for that.
    """
    if obs.spec is None or obs.accounts is None or find_hold(obs.spec, obs.endpoints) is not None:
        return False
    now = servers_hash(obs.spec, obs.accounts)
    if failed.servers_hash is not None and failed.servers_hash != now:
        return True
    return failed.exit_code in ENDPOINT_CODES and any(
        state.ready_since is not None and state.ready_since > failed.completion_time
        for state in obs.endpoints.values()
    )


def _start(draft: Draft) -> None:
    obs, status = draft.obs, draft.status
    assert obs.spec is not None  # noqa: S101  the caller looked
    number = status.last_run.number + 1 if status.last_run else 1
    name = job_name(name=obs.mailsync.name, uid=obs.mailsync.uid, run=number)
    run = CurrentRun(
        number=number,
        type=_run_type(obs),
        job_name=name,
        start_time=obs.now,
        manual=obs.spec.trigger.manual,
    )
    wanted = spec_hash(obs.spec)
    draft.do(CreateJob(run=run, spec_hash=wanted))
    draft.set(current_run=run, retry_after_time=None, next_sync_time=None, progress=None)
    draft.claim(*claims.pending(status, run))
    if status.last_run is not None and status.last_run.spec_hash not in {None, wanted}:
        draft.claim(claims.sync_unknown())
    draft.requeue(_PENDING_STEPS[0][1])


# --- order ---


def _keep_house(draft: Draft) -> None:
    """Trim the history, and delete the Jobs of runs that leave it."""
    obs, spec = draft.obs, draft.obs.spec
    if spec is None:
        return
    limits = {
        RunResult.SUCCEEDED: spec.successful_runs_history_limit,
        RunResult.FAILED: spec.failed_runs_history_limit,
    }
    kept: list[RunRecord] = []
    for record in draft.status.runs:
        if limits[record.result] > 0:
            limits[record.result] -= 1
            kept.append(record)
    draft.set(runs=kept)
    recorded = {record.number for record in obs.status.runs}  # as the API server has them
    numbers = {record.number for record in kept}
    for job in obs.jobs:
        if job.outcome is None:
            continue
        if job.run in recorded and job.run not in numbers:
            draft.do(DeleteJob(job.name))
        elif job.run in recorded and _too_long(job, spec.ttl_seconds_after_finished):
            draft.do(SetJobLifetime(job.name, seconds=spec.ttl_seconds_after_finished))


def _too_long(job: JobSnapshot, seconds: int) -> bool:
    return job.ttl_seconds is not None and job.ttl_seconds > seconds

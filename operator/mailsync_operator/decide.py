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
from mailsync_operator.pending import Blocker, find_blocker, find_job_blocker
from mailsync_operator.refusals import (
    LEAST_SECONDS,
    held_until,
    is_retry,
    next_attempt,
    was_refused,
)

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
_STOPPING_REQUEUE: Final = 1.0
_SECRET_MISSING: Final = frozenset({Reason.SECRET_NOT_FOUND, Reason.SECRET_KEY_NOT_FOUND})
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
        secrets_version=job.secrets_version,
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
    if job.suspended and not obs.spec.suspend and job.active:
        # Its pod is still being stopped: a change of mind would go unseen by the Job controller.
        draft.claim(*claims.pending(obs.status, run))
        draft.requeue(_STOPPING_REQUEUE)
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
    retry = is_retry(obs.status, run, spec_hash=job.spec_hash)
    if pod is not None and (pod.running or pod.termination is not None):
        draft.adopt_feed(run.number)
        if retry and not draft.logged_in:
            draft.claim(*claims.retrying(obs.status, run))
        else:
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
        _mount_anew(draft, run, job, blocker)
    elif retry:
        draft.claim(*claims.retrying(obs.status, run))
    else:
        draft.claim(*claims.pending(obs.status, run))
    since = pod.created if pod is not None else job.created
    draft.requeue(_pending_requeue((obs.now - since).total_seconds()))


def _mount_anew(draft: Draft, run: CurrentRun, job: JobSnapshot, blocker: Blocker) -> None:
    """Have the pod replaced once its Secret is there: the kubelet looks every two minutes only.

    The Job is suspended, and goes on by itself at the next look.
    """
    seen = draft.obs.secrets
    if blocker.reason not in _SECRET_MISSING or seen is None or run.secrets_version is None:
        return
    if seen.newest > run.secrets_version:
        draft.do(SuspendJob(job.name, suspend=True))
        draft.set(current_run=run.model_copy(update={"secrets_version": seen.upto}))


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
    draft.set(consecutive_failures=0, consecutive_refusals=0, retry_after_time=None)
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
    # Nor is a login that was refused before: a password may be wrong for weeks.
    refused = was_refused(record)
    repeated = refused and is_retry(obs.status, ending.run, spec_hash=record.spec_hash)
    new = ending.retry is not RetryClass.THROTTLED and not repeated
    failures = obs.status.consecutive_failures + new
    if refused:
        draft.set(consecutive_refusals=obs.status.consecutive_refusals + 1 if repeated else 1)
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
    obs = draft.obs
    if obs.spec is None:
        draft.claim(*claims.invalid(obs.spec_error))
        return
    asked, refused = _asked_for(draft), was_refused(draft.status.last_run)
    if refused:
        _plan_attempt(draft)
    status = draft.status
    due = status.retry_after_time
    if not asked and (due is None or (refused and obs.spec.suspend)):
        _claim_rest(draft)
        return
    if obs.spec.suspend:
        draft.claim(*claims.suspended("no run starts while spec.suspend is true"))
        return
    if not asked and due is not None and due > obs.now:
        if refused:
            _claim_rest(draft)
        else:
            draft.claim(*claims.waiting(status))
        draft.requeue((due - obs.now).total_seconds())
        return
    if _is_free(draft):
        _set_out(draft, may_start=may_start, retry=refused and not asked)


def _is_free(draft: Draft) -> bool:
    """Return whether nothing holds a run back that is due; else say what does."""
    obs = draft.obs
    assert obs.spec is not None  # noqa: S101  the caller looked
    hold = find_hold(obs.spec, obs.endpoints)
    if hold is not None:
        draft.claim(*claims.held(hold))  # a change of the MailEndpoint brings it here again
        return False
    if obs.accounts is None:
        draft.claim(*claims.invalid(obs.spec_error))
        return False
    until = held_until(obs, obs.spec)
    if until is not None and until > obs.now:
        draft.claim(*claims.refused_lately(draft.status, until=until))
        draft.requeue((until - obs.now).total_seconds())
        return False
    return True


def _set_out(draft: Draft, *, may_start: bool, retry: bool) -> None:
    if may_start:
        _start(draft)
    elif retry:
        _claim_rest(draft)
    else:
        draft.claim(*claims.due(draft.status))


def _claim_rest(draft: Draft) -> None:
    assert draft.obs.spec is not None  # noqa: S101  the caller looked
    watched = draft.obs.secrets is not None
    draft.claim(*claims.at_rest(draft.status, spec=draft.obs.spec, watched=watched))


def _plan_attempt(draft: Draft) -> None:
    """Say when refused credentials are tried again."""
    assert draft.obs.spec is not None  # noqa: S101  the caller looked
    _note_secrets(draft)
    due = next_attempt(draft.obs, draft.status, draft.obs.spec.retry)
    draft.set(retry_after_time=due, next_sync_time=due)


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


def _note_secrets(draft: Draft) -> None:
    """From now on changes of Secrets are known, if they were not when the run started."""
    last, seen = draft.status.last_run, draft.obs.secrets
    if last is not None and last.secrets_version is None and seen is not None:
        draft.set(last_run=last.model_copy(update={"secrets_version": seen.upto}))


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
        secrets_version=obs.secrets.upto if obs.secrets else None,
    )
    wanted = spec_hash(obs.spec)
    draft.do(CreateJob(run=run, spec_hash=wanted))
    draft.set(current_run=run, retry_after_time=None, next_sync_time=None, progress=None)
    if is_retry(status, run, spec_hash=wanted):
        draft.claim(*claims.retrying(status, run))
    else:
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
    refused = {record.number for record in kept if was_refused(record)}
    recorded = {record.number for record in obs.status.runs}  # as the API server has them
    numbers = {record.number for record in kept}
    for job in obs.jobs:
        if job.outcome is None:
            continue
        if job.run in recorded and job.run not in numbers:
            draft.do(DeleteJob(job.name))
            continue
        seconds = spec.ttl_seconds_after_finished
        if job.run in refused:
            seconds = max(seconds, LEAST_SECONDS)  # it is a witness
        if job.run in recorded and _too_long(job, seconds):
            draft.do(SetJobLifetime(job.name, seconds=seconds))


def _too_long(job: JobSnapshot, seconds: int) -> bool:
    return job.ttl_seconds is not None and job.ttl_seconds > seconds

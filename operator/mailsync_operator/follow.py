"""A run that is under way: what its Job and its pod do, in the status."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mailsync_api.conditions import Reason
from mailsync_api.endpoint import Side
from mailsync_operator import claims
from mailsync_operator.actions import SuspendJob
from mailsync_operator.conclude import conclude
from mailsync_operator.endings import run_ending
from mailsync_operator.pending import Blocker, find_blocker, find_job_blocker
from mailsync_operator.refusals import is_retry

if TYPE_CHECKING:
    from mailsync_api.status import CurrentRun
    from mailsync_operator.draft import Draft
    from mailsync_operator.snapshot import JobSnapshot, PodSnapshot

__all__ = ["FIRST_LOOK", "follow"]

_RUNNING_REQUEUE: Final = 300.0
"""A look from time to time, in seconds, in case a watch lost an event."""
_STOPPING_REQUEUE: Final = 1.0
_SECRET_MISSING: Final = frozenset({Reason.SECRET_NOT_FOUND, Reason.SECRET_KEY_NOT_FOUND})
FIRST_LOOK: Final = 1.5
"""How soon after its start a Job is looked at again, in seconds."""
_PENDING_STEPS: Final = ((10.0, FIRST_LOOK), (60.0, 5.0), (600.0, 15.0))
"""While a pod is pending: younger than so many seconds, look again after so many."""
_PENDING_LATE: Final = 60.0


def follow(draft: Draft, run: CurrentRun) -> bool:
    """Describe the run, or record its end. Return whether it goes on."""
    obs = draft.obs
    job, pods = obs.job(run.number), obs.pods_of(run.number)
    seen = max(run.attempts, len(pods), job.pods if job else 0)
    start = job.created if job else run.start_time
    run = run.model_copy(update={"attempts": seen, "start_time": start})
    if job is None or job.outcome is not None:
        conclude(draft, run_ending(obs, run))
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

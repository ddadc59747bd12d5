"""Order among runs that are over: a history of bounded length, and no Job beyond its time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mailsync_api.status import RunRecord, RunResult
from mailsync_operator.actions import DeleteJob, SetJobLifetime
from mailsync_operator.refusals import LEAST_SECONDS, was_refused

if TYPE_CHECKING:
    from mailsync_operator.draft import Draft
    from mailsync_operator.snapshot import JobSnapshot

__all__ = ["JOB_LIFETIME_SECONDS", "keep_house"]

JOB_LIFETIME_SECONDS: Final = 3600
"""A finished Job is kept at least this long, until its result is read: an operator that is down for
a while must not lose it. A shorter ``ttlSecondsAfterFinished`` is set once the run is recorded."""


def keep_house(draft: Draft) -> None:
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

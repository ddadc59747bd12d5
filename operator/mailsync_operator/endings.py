"""How a run ended: from its Job, its pods and the engine's verdict to one record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mailsync_api.conditions import Reason
from mailsync_api.exitcodes import EXIT_TABLE, ExitCode, RetryClass, exit_info
from mailsync_api.report import Verdict, parse_verdict
from mailsync_api.status import CurrentRun, RunRecord, RunResult
from mailsync_operator.snapshot import JobOutcome, JobSnapshot, PodSnapshot

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from mailsync_api.spec import Accounts
    from mailsync_operator.observe import Observation

__all__ = ["Ending", "last_ended_pod", "run_ending"]

_MESSAGE_LIMIT = 2048


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of a run."""

    run: CurrentRun
    record: RunRecord
    retry: RetryClass
    verdict: Verdict | None
    pod: str | None
    """The pod whose log holds the report."""
    bytes_read: int = 0
    """What all pods of the run read of messages, as far as they could say it."""


@dataclass(frozen=True, slots=True)
class _Cause:
    reason: str
    message: str
    retry: RetryClass
    exit_code: int | None = None


def last_ended_pod(pods: tuple[PodSnapshot, ...]) -> PodSnapshot | None:
    """Return the pod whose engine ended last; None if no engine ended."""
    ended = [pod for pod in pods if pod.termination is not None]
    return max(ended, key=lambda pod: (pod.created, pod.name), default=None)


def run_ending(obs: Observation, run: CurrentRun) -> Ending:
    """Return how this run ended; its Job is over, or lost."""
    job = obs.job(run.number)
    pod = last_ended_pod(obs.pods_of(run.number))
    verdict = parse_verdict(pod.termination.message) if pod and pod.termination else None
    cause = _cause(obs, job, pod, verdict)
    ended = _ended_at(obs.now, job, pod)
    totals = verdict.totals if verdict else None
    figures = (
        {
            "messages_total": totals.messages,
            "messages_copied": totals.copied,
            "messages_already_present": totals.already_present,
            "messages_skipped": totals.skipped,
            "flags_updated": totals.flags_updated,
            "bytes_copied": totals.bytes_copied,
            "bytes_read": totals.bytes_read,
        }
        if totals
        else {}
    )
    done = cause.retry is RetryClass.DONE
    record = RunRecord(
        number=run.number,
        type=run.type,
        job_name=run.job_name,
        start_time=run.start_time,
        completion_time=max(ended, run.start_time),
        duration_seconds=max(0, round((ended - run.start_time).total_seconds())),
        attempts=run.attempts,
        result=RunResult.SUCCEEDED if done else RunResult.FAILED,
        reason=cause.reason,
        message=cause.message[:_MESSAGE_LIMIT],
        exit_code=cause.exit_code,
        retry_after_seconds=verdict.retry_after_seconds if verdict and not done else None,
        dry_run=verdict.dry_run if verdict else False,
        spec_hash=job.spec_hash if job else None,
        servers_hash=job.servers_hash if job else None,
        manual=run.manual,
        secrets_version=run.secrets_version,
        **figures,
    )
    name = pod.name if pod else None
    return Ending(run, record, cause.retry, verdict, name, _bytes_read(obs.pods_of(run.number)))


def _bytes_read(pods: Iterable[PodSnapshot]) -> int:
    verdicts = (parse_verdict(pod.termination.message) for pod in pods if pod.termination)
    return sum(verdict.totals.bytes_read for verdict in verdicts if verdict)


def _ended_at(now: datetime, job: JobSnapshot | None, pod: PodSnapshot | None) -> datetime:
    if job is not None and job.ended is not None:
        return job.ended
    if pod is not None and pod.termination is not None and pod.termination.ended is not None:
        return pod.termination.ended
    return now


def _cause(
    obs: Observation, job: JobSnapshot | None, pod: PodSnapshot | None, verdict: Verdict | None
) -> _Cause:
    if _was_refused(pod):
        # Whatever became of the Job: the next login must not come as soon as after other causes.
        assert pod is not None  # noqa: S101  it was refused
        return _engine_cause(obs, pod, verdict)
    if job is None:
        return _Cause(
            Reason.JOB_LOST,
            "the Job is gone although the run was not over (deleted by hand?); the next run "
            "copies what is missing",
            RetryClass.BACKOFF,
        )
    if job.outcome is JobOutcome.COMPLETE:
        message = verdict.message if verdict else "done; its figures were lost with its pod"
        return _Cause(Reason.COMPLETED, message, RetryClass.DONE, 0)
    if job.reason == "DeadlineExceeded":
        return _Cause(
            Reason.DEADLINE_EXCEEDED,
            "the run took longer than activeDeadlineSeconds; the next one goes on where it stopped",
            RetryClass.BACKOFF,
            pod.termination.exit_code if pod and pod.termination else None,
        )
    if pod is None or pod.termination is None:
        return _Cause(
            Reason.INTERNAL_ERROR,
            f"the Job failed before the engine ended ({job.reason}): {job.message}",
            RetryClass.BACKOFF,
        )
    return _engine_cause(obs, pod, verdict)


def _was_refused(pod: PodSnapshot | None) -> bool:
    ended = pod.termination if pod else None
    return ended is not None and ended.exit_code == ExitCode.CREDENTIALS


def _engine_cause(obs: Observation, pod: PodSnapshot, verdict: Verdict | None) -> _Cause:
    assert pod.termination is not None  # noqa: S101  the caller looked
    code = pod.termination.exit_code
    if verdict is not None and int(verdict.exit_code) == code:
        info = EXIT_TABLE[verdict.exit_code]
        message = _named(obs.accounts, verdict)
        if verdict.exit_code == ExitCode.CREDENTIALS:
            message = _with_note(obs, verdict, message)
        return _Cause(verdict.reason, message, info.retry, code)
    if pod.termination.reason == "OOMKilled":
        return _Cause(
            Reason.INTERNAL_ERROR,
            "the pod was killed because it went over its memory limit: raise "
            "spec.podTemplate.resources.limits.memory",
            RetryClass.BACKOFF,
            code,
        )
    if code not in set(ExitCode) or code == ExitCode.DONE:
        why = pod.status_message or pod.termination.reason or "no reason given"
        return _Cause(
            Reason.INTERRUPTED if code in {137, 0} else Reason.INTERNAL_ERROR,
            f"the engine ended without a verdict (exit code {code}: {why}); the log of pod "
            f"{pod.name} may say more",
            RetryClass.BACKOFF,
            code,
        )
    info = exit_info(code)
    return _Cause(info.reason, info.meaning, info.retry, code)


def _with_note(obs: Observation, verdict: Verdict, message: str) -> str:
    """Return the message with what is known of logging in at the service, if it is a known one."""
    ref = obs.spec.account(verdict.side).endpoint_ref if obs.spec and verdict.side else None
    state = obs.endpoints.get(ref.name) if ref else None
    return f"{message.rstrip('. ')}. {state.note}" if state and state.note else message


def _named(accounts: Accounts | None, verdict: Verdict) -> str:
    """Return the verdict's message with the side and host in front, where they are not in it."""
    if verdict.side is None or accounts is None:
        return verdict.message
    account = accounts.account(verdict.side)
    if account.host in verdict.message and verdict.side.value in verdict.message:
        return verdict.message
    ports = " or ".join(str(port) for port in account.ports)
    return f"{verdict.side} {account.host}:{ports}: {verdict.message}"

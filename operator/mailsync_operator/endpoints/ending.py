"""How a probe ended: from its Job, its pod and the engine's verdict to one record."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from mailsync_api.conditions import Reason
from mailsync_api.endpointstatus import CurrentProbe, ProbeRecord
from mailsync_api.exitcodes import ExitCode
from mailsync_api.probe import EndpointFacts, ProbeVerdict, parse_probe_verdict
from mailsync_api.status import RunResult
from mailsync_operator.endings import last_ended_pod

if TYPE_CHECKING:
    from datetime import datetime

    from mailsync_operator.endpoints.observe import EndpointObservation
    from mailsync_operator.snapshot import JobSnapshot, PodSnapshot

__all__ = ["Outcome", "ProbeEnding", "outcome", "probe_ending"]

_MESSAGE_LIMIT: Final = 2048


class Outcome(Enum):
    """What a probe says of its server."""

    MET = auto()
    """It is reachable and meets the policy."""
    UNREACHABLE = auto()
    """It does not answer."""
    TLS_REFUSED = auto()
    """It answers, and its TLS does not meet the policy."""
    REFUSED = auto()
    """It answers, in a way that no run can use."""
    MISCONFIGURED = auto()
    """The manifest cannot be carried out."""
    NOTHING = auto()
    """Nothing: the probe could not be carried out."""


_OUTCOMES: Final = {
    ExitCode.DONE: Outcome.MET,
    ExitCode.UNREACHABLE: Outcome.UNREACHABLE,
    ExitCode.CONNECTION_LOST: Outcome.UNREACHABLE,
    ExitCode.TLS_POLICY: Outcome.TLS_REFUSED,
    ExitCode.PROTOCOL: Outcome.REFUSED,
    ExitCode.THROTTLED: Outcome.REFUSED,
    ExitCode.CREDENTIALS: Outcome.REFUSED,
    ExitCode.CONFIGURATION: Outcome.MISCONFIGURED,
}


def outcome(exit_code: int | None) -> Outcome:
    """Return what an exit code says of the server."""
    if exit_code is None or exit_code not in set(ExitCode):
        return Outcome.NOTHING
    return _OUTCOMES.get(ExitCode(exit_code), Outcome.NOTHING)


@dataclass(frozen=True, slots=True)
class ProbeEnding:
    """The end of a probe."""

    record: ProbeRecord
    facts: EndpointFacts


@dataclass(frozen=True, slots=True)
class _Cause:
    reason: str
    message: str
    exit_code: int | None = None


def probe_ending(obs: EndpointObservation, probe: CurrentProbe) -> ProbeEnding:
    """Return how this probe ended; its Job is over, or lost."""
    job = obs.job(probe.number)
    pod = last_ended_pod(obs.pods_of(probe.number))
    verdict = _verdict(pod)
    cause = _cause(probe, job, pod, verdict)
    ended = max(_ended_at(obs.now, job, pod), probe.start_time)
    fields = probe.model_dump(exclude={"message"})
    met = outcome(cause.exit_code) is Outcome.MET
    record = ProbeRecord(
        **fields,
        completion_time=ended,
        result=RunResult.SUCCEEDED if met else RunResult.FAILED,
        reason=cause.reason,
        message=cause.message[:_MESSAGE_LIMIT],
        exit_code=cause.exit_code,
        server_hash=job.servers_hash if job else None,
    )
    return ProbeEnding(record, verdict.facts if verdict else EndpointFacts())


def _verdict(pod: PodSnapshot | None) -> ProbeVerdict | None:
    """Return the engine's word, if it could say one and it is the one of its exit code."""
    if pod is None or pod.termination is None:
        return None
    verdict = parse_probe_verdict(pod.termination.message)
    known = verdict is not None and int(verdict.exit_code) == pod.termination.exit_code
    return verdict if known else None


def _ended_at(now: datetime, job: JobSnapshot | None, pod: PodSnapshot | None) -> datetime:
    if pod is not None and pod.termination is not None and pod.termination.ended is not None:
        return pod.termination.ended
    return job.ended if job is not None and job.ended is not None else now


def _cause(
    probe: CurrentProbe,
    job: JobSnapshot | None,
    pod: PodSnapshot | None,
    verdict: ProbeVerdict | None,
) -> _Cause:
    if verdict is not None:
        return _Cause(verdict.reason, verdict.message, int(verdict.exit_code))
    if job is None:
        return _Cause(
            Reason.JOB_LOST,
            "the probe's Job is gone although it was not over (deleted by hand?)",
        )
    if job.reason == "DeadlineExceeded":
        waits = probe.message.rstrip(". ")
        text = "the probe did not end in time"
        return _Cause(Reason.DEADLINE_EXCEEDED, f"{text}: {waits}" if waits else text)
    if pod is None or pod.termination is None:
        return _Cause(
            Reason.INTERNAL_ERROR,
            f"the probe's Job failed before the engine ended ({job.reason}): {job.message}",
        )
    why = pod.status_message or pod.termination.reason or "no reason given"
    return _Cause(
        Reason.INTERNAL_ERROR,
        f"the probe ended without a verdict (exit code {pod.termination.exit_code}: {why}); the "
        f"log of pod {pod.name} may say more",
    )

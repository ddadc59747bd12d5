"""What to do about one MailEndpoint: a pure function of what was observed.

One probe at a time; one for each new generation of the spec, then one each period, and sooner after
one that failed. One pass does one step: it follows the probe that is under way, or ends it, or
starts one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from mailsync_api.conditions import ConditionStatus, EndpointConditionType, Reason
from mailsync_api.endpointstatus import ActiveSyncs, CurrentProbe, MailEndpointStatus
from mailsync_api.names import PROBED_SERVER
from mailsync_api.spec import RetryPolicy
from mailsync_operator import conditions
from mailsync_operator.actions import DeleteJob
from mailsync_operator.backoff import backoff_seconds
from mailsync_operator.endpoints import claims
from mailsync_operator.endpoints.ending import Outcome, ProbeEnding, outcome, probe_ending
from mailsync_operator.naming import probe_job_name, server_hash
from mailsync_operator.pending import Blocker, find_blocker, find_job_blocker

if TYPE_CHECKING:
    from datetime import datetime

    from mailsync_api.mailendpoint import MailEndpointSpec
    from mailsync_api.probe import EndpointFacts
    from mailsync_operator.conditions import Claim
    from mailsync_operator.endpoints.observe import EndpointObservation

__all__ = ["CreateProbe", "EndpointDecision", "decide_probe", "probe_refused"]

_FIRST_RETRY: Final = 60
"""After a probe that failed, in seconds."""
_PENDING_REQUEUE: Final = 10.0
_RUNNING_REQUEUE: Final = 60.0
"""A look from time to time, in seconds, in case a watch lost an event."""
_FACTS: Final[dict[str, Any]] = {
    "tls": None,
    "certificate_names": [],
    "certificate": None,
    "capabilities": [],
    "auth_mechanisms": [],
    "server_id": None,
    "latency_milliseconds": None,
    "alternatives": [],
    "facts_time": None,
}
"""What a probe finds out, as it is before the first one."""


@dataclass(frozen=True, slots=True)
class CreateProbe:
    """Create the Job of a probe; its name is the probe's, so it can exist only once."""

    probe: CurrentProbe


@dataclass(frozen=True, slots=True)
class EndpointDecision:
    """What to do, what to show, and when to look again."""

    actions: tuple[CreateProbe | DeleteJob, ...]
    status: MailEndpointStatus | None
    """None leaves the status alone."""
    requeue_after: float | None
    """In seconds; None waits for the next event."""


class _Draft:
    """The status as it will be, and what is to be done."""

    def __init__(self, obs: EndpointObservation) -> None:
        self.obs = obs
        self.status = obs.status
        self.actions: list[CreateProbe | DeleteJob] = []
        self._claims: list[Claim] = []
        self._requeue: float | None = None

    def set(self, **fields: Any) -> None:  # noqa: ANN401  fields of MailEndpointStatus
        self.status = self.status.model_copy(update=fields)

    def claim(self, *new: Claim) -> None:
        self._claims.extend(new)

    def requeue(self, seconds: float) -> None:
        self._requeue = seconds if self._requeue is None else min(seconds, self._requeue)

    def finish(self) -> EndpointDecision:
        generation = self.obs.endpoint.generation
        merged = conditions.merge(
            self.obs.status.conditions,
            self._claims,
            now=self.obs.now,
            generation=generation,
            kinds=tuple(EndpointConditionType),
        )
        self.set(observed_generation=generation, conditions=merged)
        return EndpointDecision(tuple(self.actions), self.status, self._requeue)


def decide_probe(obs: EndpointObservation) -> EndpointDecision:
    """Return what is to be done now, the status to show, and when to look again at the latest."""
    if obs.endpoint.deleting:
        return EndpointDecision((), None, None)  # its Jobs go with it, by owner reference
    draft = _Draft(obs)
    if obs.status.active is not None or obs.active != ActiveSyncs():
        draft.set(active=obs.active)
    if obs.spec is None:
        draft.claim(*claims.invalid(obs.spec_error))
    else:
        _see_server(draft, obs.spec)
    probe = obs.status.current_probe or _adopted(obs)
    if probe is not None and _follow(draft, probe):
        _watch_certificate(draft)
        return draft.finish()
    if probe is not None:
        draft.requeue(0.0)
    else:
        _rest(draft)
    _watch_certificate(draft)
    _keep_house(draft)
    return draft.finish()


def probe_refused(obs: EndpointObservation, why: str) -> EndpointDecision:
    """Return what to show when the API server does not accept the Job."""
    draft = _Draft(obs)
    if obs.spec is not None:
        _see_server(draft, obs.spec)
    if not _is_known(draft):
        text = f"the probe's Job was not accepted: {why}"
        draft.claim(*claims.probe_impossible(Reason.JOB_REFUSED, text))
    draft.set(current_probe=None)
    draft.requeue(_FIRST_RETRY)
    return draft.finish()


def _see_server(draft: _Draft, spec: MailEndpointSpec) -> None:
    """Forget what is known of a server that the spec no longer means."""
    server = spec.server
    host = f"[{server.host}]" if ":" in server.host else server.host
    draft.set(address=f"{host}:{server.effective_port}")
    last = draft.obs.status.last_probe
    known = last.server_hash if last else None
    if last is None or (known is not None and known != server_hash(server)):
        draft.set(**_FACTS)
        draft.claim(*claims.not_yet_known())


def _adopted(obs: EndpointObservation) -> CurrentProbe | None:
    """Return the probe of a Job that the status does not know yet: its creator was killed."""
    done = obs.status.last_probe.number if obs.status.last_probe else 0
    unknown = [job for job in obs.jobs if job.run > done]
    if not unknown:
        return None
    job = min(unknown, key=lambda job: job.run)
    return CurrentProbe(
        number=job.run,
        job_name=job.name,
        start_time=job.created,
        generation=job.generation,
        manual=job.manual,
    )


# --- a probe is under way ---


def _follow(draft: _Draft, probe: CurrentProbe) -> bool:
    """Describe the probe, or record its end. Return whether it goes on."""
    obs = draft.obs
    job = obs.job(probe.number)
    if job is None or job.outcome is not None:
        _end(draft, probe_ending(obs, probe))
        return False
    blocker = _blocker(obs, probe)
    # What it waited for is kept until its end: a pod that never started leaves no other word.
    message = blocker.message if blocker else probe.message
    draft.set(current_probe=probe.model_copy(update={"message": message}))
    if blocker is not None and not _is_known(draft):
        draft.claim(*claims.probe_impossible(blocker.reason, blocker.message))
    pods = obs.pods_of(probe.number)
    draft.requeue(_RUNNING_REQUEUE if pods and pods[-1].running else _PENDING_REQUEUE)
    return True


def _blocker(obs: EndpointObservation, probe: CurrentProbe) -> Blocker | None:
    pods = obs.pods_of(probe.number)
    if not pods:
        return find_job_blocker(obs.pod_events, now=obs.now)
    pod = pods[-1]
    if obs.spec is None or pod.running or pod.over or pod.deleting:
        return None
    ends = {PROBED_SERVER: obs.spec.server}
    return find_blocker(pod, obs.pod_events, ends=ends, now=obs.now)


def _is_known(draft: _Draft) -> bool:
    """Return whether an earlier probe said whether this server is ready."""
    ready = conditions.of(draft.obs.status, EndpointConditionType.READY)
    return ready is not None and ready.status is not ConditionStatus.UNKNOWN


# --- a probe is over ---


def _end(draft: _Draft, ending: ProbeEnding) -> None:
    obs, record = draft.obs, ending.record
    result = outcome(record.exit_code)
    failures = 0 if result is Outcome.MET else obs.status.consecutive_failures + 1
    draft.set(
        current_probe=None,
        last_probe=record,
        last_probe_time=record.completion_time,
        consecutive_failures=failures,
        next_probe_time=None,
    )
    if record.manual is not None:
        draft.set(last_manual_probe=record.manual)
    spec = obs.spec
    if spec is None:
        return
    wait = _wait(spec, failures=failures, uid=obs.endpoint.uid)
    draft.set(next_probe_time=record.completion_time + timedelta(seconds=wait))
    if record.server_hash not in {None, server_hash(spec.server)}:
        return  # it was about another server, and the next one starts at once
    if result is Outcome.NOTHING:
        if not _is_known(draft):
            draft.claim(*claims.probe_impossible(record.reason, record.message))
        return
    draft.claim(*claims.not_yet_known())  # what is not said below
    _adopt(draft, result, record.completion_time, ending.facts)
    draft.claim(*claims.probed(result, record, ending.facts.tls, spec=spec))


def _wait(spec: MailEndpointSpec, *, failures: int, uid: str) -> int:
    period = spec.probe.period_seconds
    first = min(_FIRST_RETRY, period) if failures else period
    policy = RetryPolicy(backoff_seconds=first, max_backoff_seconds=period)
    return backoff_seconds(policy, failures=max(failures, 1), uid=uid)


def _adopt(draft: _Draft, result: Outcome, at: datetime, facts: EndpointFacts) -> None:
    """Take over what the probe found out.

    A server that is not reachable, or that refuses, is most likely still the one that it was; a
    certificate that is refused is another one than before, and nothing of the old one counts.
    """
    if result is Outcome.MET:
        draft.set(
            tls=facts.tls,
            certificate_names=list(facts.names),
            certificate=facts.certificate,
            capabilities=list(facts.capabilities),
            auth_mechanisms=list(facts.auth_mechanisms),
            server_id=facts.server_id or None,
            latency_milliseconds=facts.latency_milliseconds,
            alternatives=list(facts.alternatives),
            facts_time=at,
        )
    elif result is Outcome.TLS_REFUSED:
        draft.set(tls=None, certificate=facts.certificate, certificate_names=list(facts.names))
        if facts.alternatives:
            draft.set(alternatives=list(facts.alternatives))


# --- no probe is under way ---


def _rest(draft: _Draft) -> None:
    """Start a probe if one is due, else say when one is."""
    obs = draft.obs
    if obs.spec is None:
        return
    if obs.spec.probe.suspend:
        draft.set(next_probe_time=None)
        draft.claim(*claims.suspended())
        return
    if _was_suspended(obs):
        draft.claim(*claims.not_yet_known()[:1])
    due = obs.status.next_probe_time
    if _asked_for(obs, obs.spec) or due is None or due <= obs.now:
        _start(draft, obs.spec)
        return
    draft.requeue((due - obs.now).total_seconds())
    doubt = _doubt_due(obs)
    if doubt is not None:
        if doubt <= obs.now:
            _start(draft, obs.spec)
        else:
            draft.requeue((doubt - obs.now).total_seconds())


def _doubt_due(obs: EndpointObservation) -> datetime | None:
    """Return when to probe because a run failed since the last probe; None if none did."""
    last = obs.status.last_probe
    if last is None or obs.doubted is None or last.start_time > obs.doubted:
        return None
    # Thousands of mailboxes may fail at once, or for a reason that the probe does not see.
    return last.completion_time + timedelta(seconds=_FIRST_RETRY)


def _was_suspended(obs: EndpointObservation) -> bool:
    ready = conditions.of(obs.status, EndpointConditionType.READY)
    return ready is not None and ready.reason == Reason.SUSPENDED


def _asked_for(obs: EndpointObservation, spec: MailEndpointSpec) -> bool:
    """Return whether there is something that no probe answered: a generation, or a token."""
    last = obs.status.last_probe
    if last is None or last.generation != obs.endpoint.generation:
        return True
    return spec.probe.manual is not None and spec.probe.manual != obs.status.last_manual_probe


def _start(draft: _Draft, spec: MailEndpointSpec) -> None:
    obs = draft.obs
    endpoint, last = obs.endpoint, obs.status.last_probe
    number = last.number + 1 if last else 1
    probe = CurrentProbe(
        number=number,
        job_name=probe_job_name(name=endpoint.name, uid=endpoint.uid, number=number),
        start_time=obs.now,
        generation=endpoint.generation,
        manual=spec.probe.manual,
    )
    draft.actions.append(CreateProbe(probe))
    draft.set(current_probe=probe, next_probe_time=None)
    draft.requeue(_PENDING_REQUEUE)


# --- order ---


def _watch_certificate(draft: _Draft) -> None:
    """Say whether the certificate ends soon, also between probes."""
    spec = draft.obs.spec
    if spec is None:
        return
    days, now = spec.probe.certificate_warning_days, draft.obs.now
    claim, changes = claims.certificate(draft.status, days=days, now=now)
    draft.claim(claim)
    if changes is not None:
        draft.requeue((changes - now).total_seconds())


def _keep_house(draft: _Draft) -> None:
    """Delete the Jobs of all probes but the last one, once their end is in the status."""
    recorded = draft.obs.status.last_probe  # as the API server has it
    if recorded is None:
        return
    for job in draft.obs.jobs:
        if job.outcome is not None and job.run < recorded.number:
            draft.actions.append(DeleteJob(job.name))

"""What is decided about a MailEndpoint, case by case."""

from __future__ import annotations

from typing import Any

import pytest

from mailsync_api.conditions import ConditionStatus, EndpointConditionType, Reason
from mailsync_api.endpoint import TLSMode, TLSVerify
from mailsync_api.endpointstatus import CurrentProbe, MailEndpointStatus
from mailsync_api.exitcodes import ExitCode, RetryClass, exit_info
from mailsync_api.mailendpoint import MailEndpointSpec
from mailsync_api.probe import ProbeVerdict
from mailsync_operator.actions import DeleteJob
from mailsync_operator.endpoints.decide import CreateProbe, EndpointDecision, decide_probe
from mailsync_operator.endpoints.ending import Outcome, outcome
from mailsync_operator.endpoints.observe import EndpointObservation
from mailsync_operator.gate import EndpointState, endpoint_names, endpoint_state, find_hold
from mailsync_operator.naming import probe_job_name, server_hash
from mailsync_operator.observe import read, read_spec, read_written
from mailsync_operator.snapshot import EndpointObject, JobSnapshot, PodSnapshot
from tests.unit_operator.endpoint_objects import (
    condition_of,
    endpoint_object,
    facts,
    probe_record,
    ready_status,
    said,
    told,
)
from tests.unit_operator.objects import NOW, at, mailsync_object, mount_event

READY, REACHABLE, TLS, EXPIRING = EndpointConditionType


def observe(endpoint: EndpointObject, *, now: float = 0, **seen: Any) -> EndpointObservation:
    spec, error = read(MailEndpointSpec, endpoint.spec)
    status = read_written(MailEndpointStatus, endpoint.status)
    return EndpointObservation(at(now), endpoint, status, spec, error, **seen)


def job(endpoint: EndpointObject, number: int = 1, **changes: Any) -> JobSnapshot:
    spec, _ = read(MailEndpointSpec, endpoint.spec)
    given: dict[str, Any] = {
        "namespace": endpoint.namespace,
        "name": probe_job_name(name=endpoint.name, uid=endpoint.uid, number=number),
        "uid": f"job-{number}",
        "resource_version": 1,
        "owner_uid": endpoint.uid,
        "owner_name": endpoint.name,
        "run": number,
        "spec_hash": None,
        "servers_hash": server_hash(spec.server) if spec else None,
        "generation": endpoint.generation,
        "manual": None,
        "created": NOW,
        "suspended": False,
        "ttl_seconds": 86400,
        "pods": 0,
    }
    return JobSnapshot(**(given | changes))


def pod(endpoint: EndpointObject, number: int = 1, **state: Any) -> PodSnapshot:
    body = {
        "metadata": {
            "name": f"probe-{number}",
            "namespace": endpoint.namespace,
            "uid": f"pod-{number}",
            "creationTimestamp": NOW.isoformat(),
            "labels": {
                "mailsync.dev/endpoint-uid": endpoint.uid,
                "mailsync.dev/run": str(number),
            },
        },
        "spec": {"nodeName": "node"},
        "status": {
            "phase": "Failed" if "terminated" in state else "Pending",
            "containerStatuses": [{"name": "engine", "state": state}],
        },
    }
    return PodSnapshot.from_body(body)


def in_probe(**changes: Any) -> EndpointObject:
    """Return a MailEndpoint whose first probe is under way."""
    status = changes.pop("status", MailEndpointStatus())
    name = job(endpoint_object()).name
    probe = CurrentProbe(number=1, job_name=name, start_time=NOW, generation=1)
    return endpoint_object(status=status.model_copy(update={"current_probe": probe}), **changes)


def ended(
    told_: ProbeVerdict | None = None,
    *,
    code: int | None = None,
    status: MailEndpointStatus | None = None,
    **job_changes: Any,
) -> EndpointDecision:
    endpoint = in_probe(status=status or MailEndpointStatus())
    if status is not None and status.last_probe is not None:
        number = status.last_probe.number + 1
        body = status.model_copy(
            update={
                "current_probe": CurrentProbe(
                    number=number, job_name="p", start_time=NOW, generation=1
                )
            }
        )
        endpoint = endpoint_object(status=body)
    else:
        number = 1
    pods: tuple[PodSnapshot, ...] = ()
    if told_ is not None or code is not None:
        exit_code = int(told_.exit_code) if told_ is not None else code
        text = told_.to_termination_message() if told_ is not None else ""
        over = {"exitCode": exit_code, "message": text, "finishedAt": at(5).isoformat()}
        pods = (pod(endpoint, number, terminated=over),)
    changes: dict[str, Any] = {"outcome": "Failed", "ended": at(6)} | job_changes
    return decide_probe(
        observe(endpoint, now=7, jobs=(job(endpoint, number, **changes),), pods=pods)
    )


# --- starting ---


def test_the_first_probe_starts_at_once() -> None:
    endpoint = endpoint_object(probe={"manual": "x"}, generation=3)
    [action] = decide_probe(observe(endpoint)).actions
    assert isinstance(action, CreateProbe)
    assert (action.probe.number, action.probe.generation, action.probe.manual) == (1, 3, "x")


@pytest.mark.parametrize(
    ("endpoint", "now", "starts"),
    [
        (endpoint_object(status=ready_status(next_probe_time=at(100))), 99, False),
        (endpoint_object(status=ready_status(next_probe_time=at(100))), 100, True),
        (endpoint_object(status=ready_status()), 0, True),
        (endpoint_object(status=ready_status(next_probe_time=at(100)), generation=2), 0, True),
        (
            endpoint_object(
                status=ready_status(next_probe_time=at(100)), generation=2, probe={"suspend": True}
            ),
            0,
            False,
        ),
    ],
    ids=["before its time", "in time", "no time is known", "a new generation", "suspended"],
)
def test_when_a_probe_starts(endpoint: EndpointObject, now: float, *, starts: bool) -> None:
    decision = decide_probe(observe(endpoint, now=now))
    assert bool(decision.actions) is starts


def test_a_spec_that_is_older_than_a_rule_is_said_by_field() -> None:
    endpoint = endpoint_object(host="imaps://x")
    decision = decide_probe(observe(endpoint))
    assert not decision.actions
    ready = condition_of(decision.status, READY)
    assert (ready.status, ready.reason) == (ConditionStatus.FALSE, "InvalidConfiguration")
    assert "spec.host" in ready.message


def test_nothing_is_done_while_it_is_being_deleted() -> None:
    body = {"metadata": {"deletionTimestamp": "2026-03-01T11:59:00Z"}, "spec": {"host": "h"}}
    decision = decide_probe(observe(EndpointObject.from_body(body)))
    assert (decision.actions, decision.status) == ((), None)


# --- while it is under way ---


def test_what_a_pod_waits_for_is_said() -> None:
    endpoint = in_probe(tls={"caRef": {"name": "mail-ca"}})
    events = (mount_event("server-ca", 'configmap "mail-ca" not found'),)
    seen: dict[str, Any] = {"jobs": (job(endpoint),), "pods": (pod(endpoint),)}
    decision = decide_probe(observe(endpoint, pod_events=events, **seen))
    ready = condition_of(decision.status, READY)
    assert (ready.status, ready.reason) == (ConditionStatus.UNKNOWN, "ConfigMapNotFound")
    assert 'ConfigMap "mail-ca" with the CA certificates of the server' in ready.message
    # When the Job gives up, its pod is gone: the reason is not.
    status = decision.status
    assert status is not None
    endpoint = endpoint_object(status=status, tls={"caRef": {"name": "mail-ca"}})
    over = job(endpoint, outcome="Failed", reason="DeadlineExceeded", ended=at(300))
    decision = decide_probe(observe(endpoint, now=301, jobs=(over,)))
    ready = condition_of(decision.status, READY)
    assert (ready.status, ready.reason) == (ConditionStatus.UNKNOWN, "DeadlineExceeded")
    assert 'ConfigMap "mail-ca"' in ready.message


# --- endings ---


@pytest.mark.parametrize("code", ExitCode)
def test_every_exit_code_is_an_answer_or_none(code: ExitCode) -> None:
    status = ended(told(code)).status
    assert status is not None
    assert status.last_probe is not None
    assert status.last_probe.exit_code == code
    ready = condition_of(status, READY).status
    match outcome(code):
        case Outcome.MET:
            assert ready is ConditionStatus.TRUE
        case Outcome.NOTHING:
            assert ready is ConditionStatus.UNKNOWN
        case _:
            assert ready is ConditionStatus.FALSE
    secured = condition_of(status, TLS).status
    assert (secured is ConditionStatus.TRUE) == (code is ExitCode.DONE)
    assert (secured is ConditionStatus.FALSE) == (code is ExitCode.TLS_POLICY)
    reachable = condition_of(status, REACHABLE).status
    assert (reachable is ConditionStatus.FALSE) == (
        code in {ExitCode.UNREACHABLE, ExitCode.CONNECTION_LOST}
    )


def test_what_only_a_person_can_help_is_never_taken_for_nothing() -> None:
    persons = {code for code in ExitCode if exit_info(code).retry is RetryClass.PERSON}
    silent = {code for code in persons if outcome(code) is Outcome.NOTHING}
    # What a probe cannot end with: it has no arguments, no messages, no quota and no deletions.
    assert silent == {
        ExitCode.USAGE,
        ExitCode.SKIPPED_ITEMS,
        ExitCode.OVER_QUOTA,
        ExitCode.SAFETY_STOP,
    }


@pytest.mark.parametrize(
    ("decision", "reason", "words"),
    [
        (lambda: ended(code=137), "InternalError", "exit code 137"),
        (lambda: ended(code=0), "InternalError", "without a verdict"),
        (lambda: ended(reason="DeadlineExceeded"), "DeadlineExceeded", "did not end in time"),
        (lambda: ended(reason="BackoffLimitExceeded"), "InternalError", "BackoffLimitExceeded"),
        (lambda: decide_probe(observe(in_probe())), "JobLost", "deleted by hand"),
    ],
)
def test_a_probe_that_could_not_be_carried_out_says_nothing_of_the_server(
    decision: Any, reason: str, words: str
) -> None:
    status = decision().status
    assert said(status, READY) == ("Unknown", reason)
    assert words in condition_of(status, READY).message
    assert said(status, REACHABLE) == ("Unknown", "NotYetKnown")


def test_a_probe_that_could_not_be_carried_out_takes_nothing_back() -> None:
    status = ended(code=137, status=ready_status()).status
    assert said(status, READY) == ("True", "ProbeMetPolicy")
    assert status is not None
    assert status.last_probe is not None
    assert (status.last_probe.number, status.last_probe.reason) == (2, "InternalError")
    assert status.consecutive_failures == 1


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (facts(secured=False), "ClearText"),
        (facts(verified=TLSVerify.NONE), "CertificateNotVerified"),
    ],
)
def test_a_policy_that_asks_for_little_is_met_and_said(found: Any, reason: str) -> None:
    status = ended(told(facts=found)).status
    assert said(status, READY) == ("True", "ProbeMetPolicy")
    assert said(status, TLS) == ("False", reason)


def test_opportunistic_clear_text_is_the_servers_doing() -> None:
    clear = facts(secured=False).tls
    assert clear is not None
    found = facts(tls=clear.model_copy(update={"mode": TLSMode.OPPORTUNISTIC}))
    message = condition_of(ended(told(facts=found)).status, TLS).message
    assert "does not offer TLS" in message


def test_a_probe_of_the_former_server_lets_no_run_start() -> None:
    endpoint = in_probe(host="imap.new.example.org", generation=2)
    former = job(endpoint_object(), outcome="Complete", ended=at(6))
    over = {"exitCode": 0, "message": told().to_termination_message()}
    decision = decide_probe(
        observe(endpoint, now=7, jobs=(former,), pods=(pod(endpoint, terminated=over),))
    )
    assert decision.status is not None
    assert decision.status.last_probe is not None
    assert said(decision.status, READY) == ("Unknown", "NotYetKnown")
    assert decision.status.tls is None


def test_only_the_last_recorded_job_is_kept() -> None:
    status = ready_status(next_probe_time=at(100), last_probe=probe_record(number=3))
    endpoint = endpoint_object(status=status)
    jobs = tuple(job(endpoint, number, outcome="Complete") for number in (1, 2, 3))
    decision = decide_probe(observe(endpoint, jobs=jobs))
    assert [a.name for a in decision.actions if isinstance(a, DeleteJob)] == [
        jobs[0].name,
        jobs[1].name,
    ]


# --- what it means to MailSyncs ---


def test_names_are_found_in_any_spec() -> None:
    assert endpoint_names({}) == ()
    assert endpoint_names({"source": {"endpointRef": {"name": "a"}}, "destination": None}) == ("a",)


def test_a_status_of_an_older_spec_is_not_believed() -> None:
    state = endpoint_state(endpoint_object(status=ready_status(), generation=2))
    assert state.hold is not None
    assert state.hold.reason == Reason.ENDPOINT_NOT_READY
    assert endpoint_state(endpoint_object(status=ready_status())).hold is None


def test_an_endpoint_that_cannot_be_used_is_a_persons_matter() -> None:
    state = endpoint_state(endpoint_object(host="imaps://x"))
    assert state.server is None
    assert state.hold is not None
    assert state.hold.person


def test_two_reasons_are_both_said() -> None:
    sides: dict[str, Any] = {
        side: {"host": None, "username": side, "endpointRef": {"name": name}}
        for side, name in (("source", "old"), ("destination", "new"))
    }
    spec, error = read_spec(mailsync_object(**sides).spec)
    assert spec is not None, error
    bad = endpoint_state(endpoint_object(host="imaps://x"))
    hold = find_hold(spec, {"new": bad})
    assert hold is not None
    assert hold.person
    assert hold.reason == Reason.INVALID_CONFIGURATION
    assert '"old" (spec.source.endpointRef)' in hold.message
    assert 'MailEndpoint "new" of the destination' in hold.message
    good = EndpointState(bad.server)
    assert find_hold(spec, {"new": good, "old": good}) is None

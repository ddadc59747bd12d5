"""Builders of what the operator sees: valid by default, with words for what a test is about."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from mailsync_api import names
from mailsync_api.conditions import Condition, ConditionType
from mailsync_api.exitcodes import EXIT_TABLE, ExitCode
from mailsync_api.report import Totals, Verdict
from mailsync_api.status import CurrentRun, MailSyncStatus, RunType
from mailsync_operator import conditions
from mailsync_operator.decide import decide
from mailsync_operator.naming import job_name, spec_hash
from mailsync_operator.observe import Observation, read_accounts, read_spec, read_status
from mailsync_operator.snapshot import (
    JobSnapshot,
    MailSyncObject,
    PodEvent,
    PodPhase,
    PodSnapshot,
    Termination,
)
from tests.support.builders import manifest

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
UID = "6f7c1f0e-0000-4000-8000-000000000001"


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def mailsync_object(
    name: str = "alice",
    *,
    uid: str = UID,
    generation: int = 1,
    version: int = 10,
    deleting: bool = False,
    status: MailSyncStatus | dict[str, Any] | None = None,
    **spec: Any,
) -> MailSyncObject:
    body = manifest(name, **spec)
    body["metadata"] |= {"uid": uid, "generation": generation, "resourceVersion": str(version)}
    if deleting:
        body["metadata"]["deletionTimestamp"] = "2026-03-01T11:59:00Z"
    body["status"] = status.to_wire() if isinstance(status, MailSyncStatus) else status or {}
    return MailSyncObject.from_body(body)


def wanted_hash(mailsync: MailSyncObject) -> str:
    spec, error = read_spec(mailsync.spec)
    assert spec is not None, error
    return spec_hash(spec)


def job_body(
    mailsync: MailSyncObject,
    run: int = 1,
    *,
    outcome: str | None = None,
    reason: str = "",
    message: str = "",
    failed: int = 0,
    active: int = 0,
    suspended: bool = False,
    manual: str | None = None,
    hash_: str | None = None,
    ended: float = 60,
    ttl: int = 86400,
) -> dict[str, Any]:
    annotations = {names.SPEC_HASH_ANNOTATION: hash_ or wanted_hash(mailsync)}
    if manual is not None:
        annotations[names.TRIGGER_ANNOTATION] = manual
    found = []
    if outcome is not None:
        found.append(
            {
                "type": outcome,
                "status": "True",
                "reason": reason,
                "message": message,
                "lastTransitionTime": at(ended).isoformat(),
            }
        )
    return {
        "metadata": {
            "name": job_name(name=mailsync.name, uid=mailsync.uid, run=run),
            "namespace": mailsync.namespace,
            "uid": f"job-{run}",
            "resourceVersion": "20",
            "creationTimestamp": NOW.isoformat(),
            "labels": {names.UID_LABEL: mailsync.uid, names.RUN_LABEL: str(run)},
            "annotations": annotations,
            "ownerReferences": [
                {
                    "kind": "MailSync",
                    "controller": True,
                    "uid": mailsync.uid,
                    "name": mailsync.name,
                }
            ],
        },
        "spec": {"suspend": suspended, "ttlSecondsAfterFinished": ttl},
        "status": {"conditions": found, "failed": failed, "active": active},
    }


def job(mailsync: MailSyncObject, run: int = 1, **changes: Any) -> JobSnapshot:
    return JobSnapshot.from_body(job_body(mailsync, run, **changes))


def pod(
    mailsync: MailSyncObject,
    run: int = 1,
    *,
    attempt: int = 1,
    started: float | None = None,
    node: str = "node",
    exit_code: int | None = None,
    kubelet: str = "Error",
    message: str | Verdict = "",
    waiting: str = "ContainerCreating",
    waiting_message: str = "",
    unschedulable: str = "",
    created: float = 0,
) -> PodSnapshot:
    text = message.to_termination_message() if isinstance(message, Verdict) else message
    over = exit_code is not None
    phase = PodPhase.RUNNING if started is not None else PodPhase.PENDING
    if over:
        phase = PodPhase.FAILED if exit_code else PodPhase.SUCCEEDED
    return PodSnapshot(
        namespace=mailsync.namespace,
        name=f"pod-{run}-{attempt}",
        uid=f"pod-uid-{run}-{attempt}",
        owner_uid=mailsync.uid,
        run=run,
        created=at(created + attempt - 1),
        phase=phase,
        deleting=False,
        node=node,
        unschedulable=unschedulable,
        waiting_reason="" if started is not None or over else waiting,
        waiting_message=waiting_message,
        started=at(started) if started is not None else at(1) if over else None,
        status_reason="",
        status_message="",
        termination=Termination(exit_code, kubelet, text, at(50))
        if over and exit_code is not None
        else None,
    )


def mount_event(volume: str, why: str, *, seen: float = 0) -> PodEvent:
    return PodEvent(
        "FailedMount", f'MountVolume.SetUp failed for volume "{volume}" : {why}', at(seen)
    )


def verdict(code: ExitCode = ExitCode.DONE, **changes: Any) -> Verdict:
    info = EXIT_TABLE[code]
    fields: dict[str, Any] = {
        "exit_code": code,
        "reason": info.reason,
        "message": info.meaning,
        "totals": Totals(messages=500, copied=500, bytes_total=9000, bytes_copied=9000, folders=7),
        "duration_seconds": 40,
    }
    return Verdict(**(fields | changes))


def observe(
    mailsync: MailSyncObject,
    *,
    now: datetime = NOW,
    jobs: tuple[JobSnapshot, ...] = (),
    pods: tuple[PodSnapshot, ...] = (),
    **changes: Any,
) -> Observation:
    spec, error = read_spec(mailsync.spec)
    states = changes.get("endpoints", {})
    servers = {name: state.server for name, state in states.items() if state.server}
    accounts, error = read_accounts(spec, servers) if spec else (None, error)
    return Observation(
        now=now,
        mailsync=mailsync,
        status=read_status(mailsync.status),
        spec=spec,
        spec_error=error,
        accounts=accounts,
        jobs=jobs,
        pods=pods,
        **changes,
    )


def state(status: MailSyncStatus | None) -> tuple[str, str]:
    """Return the status and reason of Succeeded: the state in one word."""
    condition = condition_of(status, ConditionType.SUCCEEDED)
    return condition.status.value, condition.reason


def condition_of(status: MailSyncStatus | None, kind: ConditionType) -> Condition:
    assert status is not None
    found = conditions.of(status, kind)
    assert found is not None, f"{kind} is not set"
    return found


def decide_end(told: Verdict) -> MailSyncStatus:
    """Return the status after a first run that ended so, a minute after its start."""
    run = CurrentRun(number=1, type=RunType.INITIAL, job_name="alice-1", start_time=NOW)
    before = mailsync_object(status=MailSyncStatus(current_run=run))
    outcome = "Failed" if told.exit_code else "Complete"
    ended = decide(
        observe(
            before,
            jobs=(job(before, outcome=outcome, reason="PodFailurePolicy"),),
            pods=(pod(before, exit_code=int(told.exit_code), message=told),),
            now=at(60),
        )
    )
    assert ended.status is not None
    return ended.status

"""Limits in the operator: what a run is told, what is counted, and what is waited for."""

from __future__ import annotations

import json
from typing import Any

from mailsync_api import names
from mailsync_api.conditions import ConditionType, EventReason, Reason
from mailsync_api.exitcodes import ExitCode
from mailsync_api.job import JobInput
from mailsync_api.report import Totals
from mailsync_api.status import CopiedBytes, MailSyncStatus
from mailsync_operator.actions import CreateJob
from mailsync_operator.builders.job import Engine, build_job, to_object
from mailsync_operator.decide import decide
from mailsync_operator.gate import endpoint_state, terms_of
from mailsync_operator.observe import Observation
from mailsync_operator.transitions import transitions
from tests.unit_operator.endpoint_objects import endpoint_object
from tests.unit_operator.lives import failed, in_run, running_status
from tests.unit_operator.objects import (
    at,
    condition_of,
    job,
    mailsync_object,
    observe,
    pod,
    state,
    verdict,
)

_DAY = 86400
_LIMIT = {"maxBytesPerDay": 1_000_000}


def _told(obs: Observation) -> tuple[JobInput, dict[str, Any]]:
    """Return what the Job that a decision asks for tells its pod, and the Job."""
    [create] = [action for action in decide(obs).actions if isinstance(action, CreateJob)]
    assert obs.spec
    assert obs.accounts
    made = to_object(
        build_job(
            obs.mailsync,
            obs.spec,
            obs.accounts,
            run=create.run,
            spec_hash=create.spec_hash,
            engine=Engine("registry.example/engine:1"),
            terms=terms_of(obs.spec, obs.endpoints),
            copied_lately=obs.status.copied_lately,
            now=obs.now,
        )
    )
    [container] = made["spec"]["template"]["spec"]["containers"]
    [text] = [each["value"] for each in container["env"] if each["name"] == names.INPUT_ENV]
    return JobInput.model_validate(json.loads(text)), made


def _copied(*entries: tuple[float, int]) -> list[CopiedBytes]:
    return [CopiedBytes(time=at(seconds), bytes=size) for seconds, size in entries]


def test_a_pod_is_told_the_strictest_limits_and_what_is_left_of_the_day() -> None:
    endpoint = endpoint_object(preset="Gmail", host=None, probe={"suspend": True})
    mailsync = mailsync_object(
        source={"host": None, "endpointRef": {"name": endpoint.name}},
        limits={"maxConnectionsPerMailbox": 3, "maxBytesPerSecond": 5000},
        status=MailSyncStatus(copied_lately=_copied((-3600, 10**9), (-2 * _DAY, 10**9))),
    )
    told, made = _told(observe(mailsync, endpoints={endpoint.name: endpoint_state(endpoint)}))
    assert told.connections == 3
    assert told.pace.bytes_per_second is not None
    assert told.pace.bytes_per_second.value == 5000
    daily = told.pace.daily
    assert daily is not None
    assert (daily.limit.value, daily.left) == (2_500_000_000, 1_500_000_000)
    assert "preset Gmail" in daily.limit.origin
    assert daily.renewed_after_seconds == _DAY - 3600
    # Another pod of the same Job would begin with as much again.
    assert made["spec"]["backoffLimit"] == 0


def test_without_limits_a_pod_is_told_none() -> None:
    told, made = _told(observe(mailsync_object()))
    assert told.pace.to_wire() == {}
    assert made["spec"]["backoffLimit"] == 3


def test_what_all_pods_of_a_run_read_is_counted() -> None:
    before = in_run()
    told = verdict(ExitCode.CONNECTION_LOST, totals=Totals(bytes_read=700))
    last = verdict(ExitCode.CONNECTION_LOST, totals=Totals(bytes_read=44))
    ended = decide(
        observe(
            before,
            jobs=(job(before, outcome="Failed", reason="BackoffLimitExceeded"),),
            pods=(
                pod(before, exit_code=74, message=told),
                pod(before, attempt=2, exit_code=137),  # killed: nobody knows what it read
                pod(before, attempt=3, exit_code=74, message=last),
            ),
            now=at(60),
        )
    )
    assert ended.status is not None
    assert ended.status.copied_lately == _copied((60, 744))
    assert ended.status.last_run is not None
    assert ended.status.last_run.bytes_read == 44


def test_the_end_of_the_day_is_waited_for_without_a_pod_until_there_is_room() -> None:
    told = verdict(
        ExitCode.THROTTLED,
        reason=Reason.DAILY_LIMIT_REACHED,
        retry_after_seconds=3600,
        totals=Totals(bytes_read=400_000),
    )
    earlier = running_status(copied_lately=_copied((3660 - _DAY, 600_000)))
    ended = failed(ExitCode.THROTTLED, told=told, status=earlier, limits=_LIMIT)
    assert ended.status is not None
    assert state(ended.status) == ("Unknown", "Throttled")
    assert ended.status.retry_after_time == at(3660)
    resting = mailsync_object(status=ended.status, limits=_LIMIT)
    assert not decide(observe(resting, now=at(3659))).actions
    again, _ = _told(observe(resting, now=at(3660)))
    assert again.pace.daily is not None
    assert again.pace.daily.left == 600_000


def test_nobody_gets_more_than_the_day_holds_by_asking_for_a_run() -> None:
    full = MailSyncStatus(copied_lately=_copied((-3600, 995_000)))
    mailsync = mailsync_object(status=full, limits=_LIMIT, trigger={"manual": "now"})
    decision = decide(observe(mailsync))
    assert not decision.actions
    assert decision.status is not None
    assert state(decision.status) == ("Unknown", "Throttled")
    assert decision.status.next_sync_time == at(_DAY - 3600)
    assert decision.requeue_after == _DAY - 3600
    text = condition_of(decision.status, ConditionType.SUCCEEDED).message
    assert "spec.limits.maxBytesPerDay" in text
    # With a higher limit it starts at once.
    higher = mailsync_object(status=full, limits={"maxBytesPerDay": 2_000_000})
    assert decide(observe(higher)).actions


def test_a_throttled_run_is_told_as_what_it_is() -> None:
    told = verdict(ExitCode.THROTTLED, retry_after_seconds=1800)
    before = running_status()
    ended = failed(ExitCode.THROTTLED, told=told, status=before).status
    assert ended is not None
    [event] = transitions(before, ended)
    assert (event.reason, event.warning) == (EventReason.RUN_THROTTLED, False)
    assert "the next run starts at 2026-03-01T12:31:00Z" in event.message
    assert event.run is ended.last_run

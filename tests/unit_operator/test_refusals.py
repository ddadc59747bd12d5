"""Refused credentials: tried again slowly, by whatever way a run could start."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from mailsync_api import names
from mailsync_api.conditions import ConditionType
from mailsync_api.exitcodes import ExitCode
from mailsync_api.spec import RetryPolicy
from mailsync_api.status import MailSyncStatus
from mailsync_operator.errors import ConflictError
from mailsync_operator.refusals import refusal_wait
from tests.unit_operator.objects import condition_of, state, verdict
from tests.unit_operator.test_reconcile import KEY, World

_HOUR = 3600


def refused_world(**spec: Any) -> World:
    world = World(**spec)
    world.settle()
    world.run(ExitCode.CREDENTIALS)
    return world


def due(status: MailSyncStatus) -> datetime:
    assert status.next_sync_time is not None
    return status.next_sync_time


def stalled(world: World) -> tuple[str, str, str]:
    found = condition_of(world.status, ConditionType.STALLED)
    return found.status.value, found.reason, found.message


@given(
    first=st.integers(3600, 604800),
    refusals=st.integers(0, 1000),
    uid=st.uuids().map(str),
)
def test_waits_double_up_to_a_day_and_are_never_shorter_than_asked_for(
    first: int, refusals: int, uid: str
) -> None:
    policy = RetryPolicy(credentials_retry_seconds=first)
    wait = refusal_wait(policy, refusals=refusals, uid=uid)
    assert wait is not None
    full = min(first * 2 ** max(refusals - 1, 0), max(first, 86400))
    assert full <= wait <= full * 1.1
    assert wait == refusal_wait(policy, refusals=refusals, uid=uid)


def test_thousands_do_not_come_back_at_once() -> None:
    waits = {refusal_wait(RetryPolicy(), refusals=1, uid=str(number)) for number in range(100)}
    assert len(waits) > 50


def test_it_says_when_the_credentials_are_tried_again() -> None:
    world = refused_world()
    at = due(world.status)
    assert at == world.status.retry_after_time
    assert _HOUR <= (at - world.cluster.now).total_seconds() <= 1.1 * _HOUR
    status, reason, message = stalled(world)
    assert (status, reason) == ("True", "CredentialsRefused")
    for words in (at.strftime("%Y-%m-%dT%H:%M:%SZ"), "spec.trigger.manual", "at once"):
        assert words in message
    assert state(world.status) == ("False", "CredentialsRefused")


def test_it_is_tried_once_when_it_is_due_and_stays_stalled_until_it_is_logged_in() -> None:
    world = refused_world()
    world.pass_time((due(world.status) - world.cluster.now).total_seconds() - 1)
    world.settle()
    assert len(world.jobs) == 1
    world.pass_time(1)
    world.settle()
    assert len(world.jobs) == 2
    assert stalled(world)[:2] == ("True", "CredentialsRefused")
    assert "Run 2 tries the credentials once more" in stalled(world)[2]
    assert state(world.status) == ("False", "CredentialsRefused")
    world.run()
    assert state(world.status) == ("True", "Completed")
    assert stalled(world)[0] == "False"
    assert world.status.consecutive_refusals == 0
    assert world.status.next_sync_time is None


def test_each_further_refusal_doubles_the_wait_up_to_a_day_for_ever() -> None:
    world = refused_world()
    waits = []
    for _ in range(15):
        waits.append(round((due(world.status) - world.cluster.now).total_seconds() / _HOUR))
        world.pass_time((due(world.status) - world.cluster.now).total_seconds())
        world.settle()
        world.run(ExitCode.CREDENTIALS)
        assert stalled(world)[:2] == ("True", "CredentialsRefused")
    assert waits[:3] == [1, 2, 4]
    assert all(24 <= wait <= 26 for wait in waits[6:])
    # Tried for weeks, it has still failed once only, and said so once.
    assert world.status.consecutive_failures == 1
    assert world.meter.reasons.count("Stalled") == 1


def test_when_somebody_asks_it_runs_at_once_and_the_waits_begin_anew() -> None:
    world = refused_world()
    for _ in range(2):
        world.pass_time((due(world.status) - world.cluster.now).total_seconds())
        world.settle()
        world.run(ExitCode.CREDENTIALS)
    assert world.status.consecutive_refusals == 3
    world.change(trigger={"manual": "now"})
    world.settle()
    assert len(world.jobs) == 4
    assert state(world.status) == ("Unknown", "Pending")
    assert stalled(world)[0] == "False"
    world.run(ExitCode.CREDENTIALS)
    assert world.status.consecutive_refusals == 1
    assert (due(world.status) - world.cluster.now).total_seconds() < 1.1 * _HOUR


@pytest.mark.parametrize("later", [False, True])
def test_it_can_be_switched_off(later: bool) -> None:  # noqa: FBT001  a case
    off = {"retry": {"credentialsRetrySeconds": 0}}
    world = refused_world(**({} if later else off))
    world.change(**off)
    for _ in range(5):
        world.pass_time(86400)
        world.settle()
    assert len(world.jobs) == 1
    assert world.status.next_sync_time is None
    assert "credentialsRetrySeconds is 0" in stalled(world)[2]
    world.change(**off, trigger={"manual": "now"})
    world.settle()
    assert len(world.jobs) == 2


def test_while_it_is_suspended_nothing_is_tried() -> None:
    world = refused_world()
    world.change(suspend=True)
    world.pass_time(10 * _HOUR)
    world.settle()
    assert len(world.jobs) == 1
    assert "spec.suspend" in stalled(world)[2]
    world.change(suspend=False)
    world.settle()
    assert len(world.jobs) == 2


def test_a_job_that_is_deleted_as_it_is_refused_counts() -> None:
    world = World()
    world.settle()
    world.cluster.start_pod()
    world.settle()
    world.cluster.end_pod(77, verdict(ExitCode.CREDENTIALS))
    [job] = world.cluster.all_of("Job")
    world.cluster.remove("Job", "default", job["metadata"]["name"])
    world.settle()
    assert stalled(world)[:2] == ("True", "CredentialsRefused")


def test_a_run_that_is_held_back_says_why() -> None:
    world = refused_world()
    edit(world, lastRun={"specHash": "0123456789abcdef"})
    world.settle()
    assert state(world.status) == ("Unknown", "BackingOff")
    assert (
        "refused less than an hour ago"
        in condition_of(world.status, ConditionType.SUCCEEDED).message
    )


def edit(world: World, **changes: Any) -> None:
    """Change the status by hand: fields of objects one by one, None takes a field away."""
    body = world.cluster.objects["MailSync", *KEY]
    status = dict(body.get("status", {}))
    for name, value in changes.items():
        if value is None:
            status.pop(name, None)
        elif isinstance(value, dict):
            status[name] = status.get(name, {}) | value
        else:
            status[name] = value
    world.cluster.put("MailSync", body | {"status": status})


_PAST = "2026-01-01T00:00:00Z"
_EDITS: dict[str, dict[str, Any]] = {
    "everything": dict.fromkeys(MailSyncStatus().to_wire() | {"lastRun": 0, "currentRun": 0}),
    "the last run": {"lastRun": None},
    "the run under way": {"currentRun": None},
    "the waits": {"retryAfterTime": _PAST, "nextSyncTime": _PAST, "consecutiveRefusals": 0},
    "the token": {"lastManualSync": None},
    "the end": {"lastRun": {"completionTime": _PAST}},
    "the hash": {"lastRun": {"specHash": "0123456789abcdef"}},
    "the cause": {"lastRun": {"exitCode": 69}, "retryAfterTime": _PAST},
    "the number": {"lastRun": {"number": 1}},
}


@pytest.mark.parametrize("what", _EDITS)
@pytest.mark.parametrize("keep", ["Job and pod", "Job"])
def test_an_edited_status_brings_no_login_closer(what: str, keep: str) -> None:
    world = refused_world(ttlSecondsAfterFinished=0)
    if keep == "Job":
        [job], [pod] = world.cluster.all_of("Job"), world.cluster.all_of("Pod")
        why = "Container engine for pod default/x failed with exit code 77 matching FailJob rule"
        job["status"]["conditions"][0]["message"] = why
        world.cluster.put("Job", job)
        world.cluster.remove("Pod", "default", pod["metadata"]["name"])
    assert world.cluster.all_of("Job")[0]["spec"]["ttlSecondsAfterFinished"] == _HOUR
    for _ in range(3):
        edit(world, **_EDITS[what])
        world.restart()
        world.pass_time(1000)
        world.settle()
        assert len(world.jobs) == 1


class Throttle(RuleBasedStateMachine):
    """Wrong passwords, and all that could bring a run about but somebody's asking for one."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(ttlSecondsAfterFinished=0, failedRunsHistoryLimit=1)
        self.cluster = self.world.cluster
        self.token = 0
        self.refused: list[tuple[datetime, str]] = []

    def open_jobs(self) -> list[dict[str, Any]]:
        jobs = self.cluster.all_of("Job")
        return [job for job in jobs if not job.get("status", {}).get("conditions")]

    @rule(times=st.integers(1, 5))
    def look(self, times: int) -> None:
        for _ in range(times):
            try:
                self.world.look()
            except ConflictError:
                self.cluster.catch_up()

    @rule(seconds=st.sampled_from([1, 60, 1800, 3600, 7200, 86400]))
    def wait(self, seconds: int) -> None:
        self.world.pass_time(seconds)

    @precondition(lambda self: self.open_jobs())
    @rule(times=st.integers(0, 3))
    def refuse(self, times: int) -> None:
        token = self.open_jobs()[-1]["metadata"]["annotations"].get(names.TRIGGER_ANNOTATION, "")
        self.cluster.start_pod()
        self.cluster.end_pod(77, verdict(ExitCode.CREDENTIALS))
        self.cluster.end_job("Failed", "PodFailurePolicy")
        now = self.cluster.now
        if self.refused and now - self.refused[-1][0] < timedelta(seconds=_HOUR):
            answered = {each for _, each in self.refused}
            assert token not in answered, f"nobody asked for {token} at {now}: {self.refused}"
        self.refused.append((now, token))
        self.look(times)

    @precondition(lambda self: self.open_jobs())
    @rule(code=st.sampled_from([ExitCode.UNREACHABLE, ExitCode.TLS_POLICY, ExitCode.THROTTLED]))
    def fail(self, code: ExitCode) -> None:
        self.cluster.start_pod()
        self.cluster.end_pod(int(code), verdict(code))
        self.cluster.end_job("Failed", "PodFailurePolicy")

    @rule()
    def restart(self) -> None:
        self.world.restart()

    @rule(lag=st.booleans())
    def hold_watches(self, lag: bool) -> None:  # noqa: FBT001  drawn by Hypothesis
        self.cluster.lag = lag
        if not lag:
            self.cluster.catch_up()

    @rule(what=st.sampled_from(sorted(_EDITS)), times=st.integers(0, 3))
    def edit_status(self, what: str, times: int) -> None:
        status = self.cluster.objects["MailSync", *KEY].get("status", {})
        if "lastRun" in status or not isinstance(_EDITS[what].get("lastRun"), dict):
            edit(self.world, **_EDITS[what])
        self.look(times)

    @rule()
    def ask(self) -> None:
        self.token += 1
        self.world.change(
            ttlSecondsAfterFinished=0,
            failedRunsHistoryLimit=1,
            trigger={"manual": str(self.token)},
        )

    @rule()
    def change_secret(self) -> None:
        # Without permission the operator cannot know.
        for side in ("source", "destination"):
            meta = {"name": f"{side}-password", "namespace": "default"}
            self.cluster.put("Secret", {"metadata": meta, "data": {"password": "bmV3"}})

    @rule()
    def collect_old_jobs(self) -> None:
        """Do what the TTL controller does."""
        for job in self.cluster.all_of("Job"):
            for condition in job.get("status", {}).get("conditions", []):
                ended = datetime.fromisoformat(condition["lastTransitionTime"])
                left = timedelta(seconds=job["spec"]["ttlSecondsAfterFinished"])
                if ended + left <= self.cluster.now:
                    self.cluster.remove("Job", "default", job["metadata"]["name"])
                    for pod in self.cluster.all_of("Pod"):
                        if pod["metadata"]["name"].startswith(f"{job['metadata']['name']}-"):
                            self.cluster.remove("Pod", "default", pod["metadata"]["name"])


TestThrottle = Throttle.TestCase

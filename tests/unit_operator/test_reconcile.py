"""Whole lives of a MailSync on a cluster in memory: no state but the cluster's."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from datetime import timedelta
from typing import Any

import pytest

from mailsync_api.conditions import ConditionStatus, ConditionType, Reason
from mailsync_api.exitcodes import ExitCode
from mailsync_api.report import Report, ReportLine, SkippedMessage
from mailsync_api.status import MailSyncStatus
from mailsync_operator.apply import Applier
from mailsync_operator.builders.job import Engine
from mailsync_operator.errors import ConflictError, ForbiddenError, TransientError
from mailsync_operator.events import EventRecorder
from mailsync_operator.progress import ProgressPoller
from mailsync_operator.reconcile import Reconciler
from mailsync_operator.snapshot import Key, MailSyncObject
from mailsync_operator.transitions import Transition
from mailsync_operator.turns import Turns
from tests.support.builders import manifest
from tests.unit_operator.fake_cluster import FakeCluster
from tests.unit_operator.objects import NOW, condition_of, state, verdict

KEY = ("default", "alice")


@dataclasses.dataclass
class Meter:
    told: list[Transition] = dataclasses.field(default_factory=list)

    def transition(self, mailsync: MailSyncObject, transition: Transition) -> None:
        assert mailsync.namespace == KEY[0]
        self.told.append(transition)

    @property
    def reasons(self) -> list[str]:
        return [transition.reason.value for transition in self.told]


class World:
    """An operator on a cluster; ``restart`` gives a new one that remembers nothing."""

    def __init__(self, **spec: Any) -> None:
        self.cluster = FakeCluster(NOW)
        self.cluster.put("MailSync", manifest(**spec))
        self.meter = Meter()
        self.restart()

    def restart(self) -> None:
        cluster = self.cluster
        cluster.catch_up()
        self.reconciler = Reconciler(
            cluster,
            cluster,
            applier=Applier(cluster, engine=Engine("engine:1")),
            poller=ProgressPoller(cluster, news=lambda _: None),
            recorder=EventRecorder(cluster, instance="test", clock=lambda: cluster.now),
            meter=self.meter,
            clock=lambda: cluster.now,
            doubt=self.doubt,
            turns=Turns(cluster, wake=lambda _: None),
        )

    def doubt(self, key: Key) -> None:
        pytest.fail(f"no MailEndpoint {key} is there to be doubted")

    def look(self) -> float | None:
        async def once() -> float | None:
            return await self.reconciler.reconcile(KEY)

        return asyncio.run(once())

    def settle(self) -> None:
        """Look until nothing is to be done at once."""
        for _ in range(5):
            if self.look() != 0:
                return
        pytest.fail("it never comes to rest")

    def change(self, **spec: Any) -> None:
        body = self.cluster.objects["MailSync", *KEY]
        body["metadata"]["generation"] = body["metadata"].get("generation", 1) + 1
        self.cluster.put("MailSync", body | {"spec": manifest(**spec)["spec"]})

    def pass_time(self, seconds: float) -> None:
        self.cluster.now += timedelta(seconds=seconds)

    @property
    def status(self) -> MailSyncStatus:
        return MailSyncStatus.model_validate(self.cluster.objects["MailSync", *KEY]["status"])

    @property
    def jobs(self) -> list[str]:
        return [job["metadata"]["name"] for job in self.cluster.all_of("Job")]

    def run(self, code: ExitCode = ExitCode.DONE, **changes: Any) -> None:
        """Let the run that is under way end so."""
        self.cluster.start_pod()
        self.settle()
        self.pass_time(30)
        told = verdict(code, **changes)
        line = ReportLine(time=self.cluster.now, report=Report(verdict=told))
        log = json.dumps(line.to_wire()) + "\n"
        self.cluster.end_pod(int(code), told, log)
        self.cluster.end_job("Failed" if code else "Complete")
        self.settle()


def test_a_life_from_creation_to_completion() -> None:
    world = World()
    world.settle()
    assert len(world.jobs) == 1
    assert state(world.status) == ("Unknown", "Pending")
    world.cluster.start_pod()
    world.settle()
    assert state(world.status) == ("Unknown", "InitialSync")
    world.run()
    assert state(world.status) == ("True", "Completed")
    assert world.status.report_name is not None
    report = world.cluster.objects["ConfigMap", "default", world.status.report_name]
    assert json.loads(report["data"]["report.json"])["verdict"]["exitCode"] == 0
    assert world.meter.reasons == ["RunStarted", "RunSucceeded"]


def test_a_look_at_nothing_new_writes_nothing() -> None:
    world = World()
    world.settle()
    world.run()
    calls = world.cluster.calls.copy()
    for _ in range(3):
        world.look()
    assert world.cluster.calls == calls


def test_the_operator_is_killed_after_each_step_and_goes_on() -> None:
    world = World()
    for step in (world.settle, world.cluster.start_pod, world.settle, world.run):
        step()
        world.restart()
        world.settle()
    assert len(world.jobs) == 1
    assert world.meter.reasons == ["RunStarted", "RunSucceeded"]
    assert state(world.status) == ("True", "Completed")


def test_killed_between_job_and_status_there_is_still_one_job() -> None:
    world = World()
    world.cluster.errors["apply_status"] = TransientError("killed here")
    with pytest.raises(TransientError):
        world.look()
    del world.cluster.errors["apply_status"]
    world.restart()
    world.settle()
    assert len(world.jobs) == 1
    assert world.status.current_run is not None
    assert world.meter.reasons == ["RunStarted"]


def test_watches_that_lag_behind_cause_no_second_job_and_no_lost_one() -> None:
    world = World()
    world.cluster.lag = True
    for _ in range(4):
        world.look()
    assert len(world.jobs) == 1
    assert world.status.last_run is None
    assert world.meter.reasons == ["RunStarted"]


def test_an_end_is_counted_once_though_the_watch_shows_the_old_status() -> None:
    world = World()
    world.settle()
    world.cluster.start_pod()
    world.settle()
    world.cluster.end_pod(0, verdict())
    world.cluster.end_job("Complete")
    world.cluster.lag = True
    for _ in range(4):
        world.look()
    assert world.meter.reasons == ["RunStarted", "RunSucceeded"]
    assert world.cluster.calls["create_job"] == 1


def test_a_job_that_ends_before_its_pod_is_seen_still_has_its_verdict() -> None:
    world = World()
    world.settle()
    world.cluster.start_pod()
    world.settle()
    old = {key: body for key, body in world.cluster.seen.items() if key[0] == "Pod"}
    world.cluster.end_pod(77, verdict(ExitCode.CREDENTIALS))
    world.cluster.end_job("Failed", "PodFailurePolicy")
    world.cluster.lag = True
    world.cluster.seen |= old
    world.look()
    assert world.status.last_run is not None
    assert world.status.last_run.reason == Reason.CREDENTIALS_REFUSED


def test_a_run_whose_end_the_watch_lost_is_found_by_looking() -> None:
    world = World()
    world.settle()
    world.cluster.start_pod()
    world.settle()
    world.look()
    world.cluster.lag = True
    world.cluster.end_pod(0, verdict())
    world.cluster.end_job("Complete")
    world.look()
    assert world.status.last_run is None
    world.pass_time(300)
    world.look()
    assert world.status.last_run is not None


def test_a_change_by_someone_else_makes_it_look_again() -> None:
    world = World()
    world.settle()
    world.cluster.lag = True
    world.change(suspend=True)
    world.cluster.catch_up()
    world.look()
    assert state(world.status) == ("Unknown", "Suspended")


def test_a_stale_object_is_not_written_over() -> None:
    world = World()
    world.cluster.lag = True
    world.change(suspend=True)
    with pytest.raises(ConflictError):
        world.look()
    assert "status" not in world.cluster.objects["MailSync", *KEY]


def test_wrong_password_stalls_and_nothing_runs_until_someone_acts() -> None:
    never = {"retry": {"credentialsRetrySeconds": 0}}  # else: test_refusals.py
    world = World(**never)
    world.settle()
    world.run(ExitCode.CREDENTIALS)
    assert condition_of(world.status, ConditionType.STALLED).status is ConditionStatus.TRUE
    for _ in range(5):
        world.pass_time(86400)
        world.settle()
    assert len(world.jobs) == 1
    world.change(**never, trigger={"manual": "fixed"})
    world.settle()
    assert len(world.jobs) == 2
    world.run()
    assert state(world.status) == ("True", "Completed")
    assert world.status.last_manual_sync == "fixed"
    world.settle()
    assert len(world.jobs) == 2


def test_back_off_grows_until_given_up() -> None:
    world = World(retry={"maxConsecutiveFailures": 3, "backoffSeconds": 10})
    waits = []
    for _ in range(3):
        world.settle()
        world.run(ExitCode.UNREACHABLE)
        if world.status.retry_after_time:
            waits.append((world.status.retry_after_time - world.cluster.now).total_seconds())
            world.pass_time(waits[-1])
    assert len(waits) == 2
    assert waits[0] < waits[1] <= 20
    assert state(world.status) == ("False", Reason.UNREACHABLE)
    world.pass_time(86400)
    world.settle()
    assert len(world.jobs) == 3


def test_a_missing_secret_is_told_once_and_it_goes_on_by_itself() -> None:
    world = World()
    world.settle()
    world.cluster.start_pod(running=False)
    text = 'MountVolume.SetUp failed for volume "source" : secret "source-password" not found'
    world.cluster.event_texts = [text]
    for _ in range(3):
        world.settle()
    assert world.meter.reasons == ["RunStarted", "RunBlocked"]
    assert condition_of(world.status, ConditionType.READY).reason == Reason.SECRET_NOT_FOUND
    [pod] = world.cluster.all_of("Pod")
    world.cluster.remove("Pod", "default", pod["metadata"]["name"])
    world.cluster.start_pod()
    world.settle()
    assert state(world.status) == ("Unknown", "InitialSync")
    assert condition_of(world.status, ConditionType.READY).reason == Reason.NOT_YET_KNOWN


def test_a_job_that_cannot_have_a_pod_says_why() -> None:
    world = World()
    world.settle()
    for number in range(3):
        # The name of the pod is another one in each try.
        world.cluster.event_texts = [f'Error creating: pods "x-{number}" is forbidden: quota']
        world.pass_time(10)
        world.settle()
    ready = condition_of(world.status, ConditionType.READY)
    assert ready.reason == Reason.POD_NOT_STARTED
    assert ready.message.endswith("the pod is forbidden: quota")
    assert world.meter.reasons == ["RunStarted", "RunBlocked"]


def test_suspend_and_resume() -> None:
    world = World()
    world.settle()
    world.cluster.start_pod()
    world.change(suspend=True)
    world.settle()
    [job] = world.cluster.all_of("Job")
    assert job["spec"]["suspend"] is True
    assert state(world.status) == ("Unknown", "Suspended")
    world.change()
    world.settle()
    [job] = world.cluster.all_of("Job")
    assert job["spec"]["suspend"] is False
    assert world.meter.reasons == ["RunStarted", "Suspended", "Resumed"]


def test_a_job_that_is_not_accepted_is_shown() -> None:
    world = World()
    world.cluster.errors["create_job"] = ForbiddenError("exceeded quota: jobs")
    assert world.look() == 60
    assert condition_of(world.status, ConditionType.READY).reason == Reason.JOB_REFUSED
    world.look()
    assert world.meter.reasons == ["RunBlocked"]
    del world.cluster.errors["create_job"]
    world.settle()
    assert len(world.jobs) == 1


def test_a_job_of_someone_else_is_not_taken_for_ours() -> None:
    world = World()
    world.settle()
    [job] = world.cluster.all_of("Job")
    world.cluster.remove("Job", "default", job["metadata"]["name"])
    body = world.cluster.objects["MailSync", *KEY]
    world.cluster.put("MailSync", {k: v for k, v in body.items() if k != "status"})
    job["metadata"]["ownerReferences"] = []
    world.cluster.put("Job", job)
    world.restart()
    world.look()
    ready = condition_of(world.status, ConditionType.READY)
    assert ready.reason == Reason.JOB_REFUSED
    assert "not ours" in ready.message


def test_a_bad_pod_template_is_shown() -> None:
    world = World(podTemplate={"affinity": {"nodeAfinity": {}}})
    world.look()
    ready = condition_of(world.status, ConditionType.READY)
    assert ready.reason == Reason.JOB_REFUSED
    assert "nodeAfinity" in ready.message


def test_a_lost_log_costs_the_report_only() -> None:
    world = World()
    world.settle()
    world.cluster.errors["pod_log"] = TransientError("the node is gone")
    world.run()
    assert state(world.status) == ("True", "Completed")
    assert world.status.report_name is None


def test_events_that_cannot_be_written_stop_nothing() -> None:
    world = World()
    world.cluster.errors["create_event"] = ForbiddenError("no")
    world.settle()
    world.run()
    assert state(world.status) == ("True", "Completed")


def test_a_deleted_mailsync_is_forgotten() -> None:
    world = World()
    world.settle()
    world.cluster.remove("MailSync", *KEY)
    assert world.look() is None


def test_one_deleted_while_it_is_looked_at() -> None:
    world = World()
    world.cluster.lag = True
    del world.cluster.objects["MailSync", *KEY]
    assert world.look() is None


def test_the_state_of_a_run_is_there_for_the_next_one_and_stays_when_a_log_is_lost() -> None:
    world = World()
    world.settle()
    world.cluster.start_pod()
    world.settle()
    line = json.dumps(ReportLine(time=NOW, report=Report(verdict=verdict(), state="s1")).to_wire())
    world.cluster.end_pod(0, verdict(), line)
    world.cluster.end_job("Complete")
    world.settle()
    name = world.status.report_name
    assert name is not None

    def state_kept() -> str:
        return str(world.cluster.objects["ConfigMap", "default", name]["data"]["state.json"])

    assert state_kept() == "s1"
    world.cluster.errors["pod_log"] = TransientError("the node is gone")
    world.change(trigger={"manual": "again"})
    world.settle()
    world.run()
    assert world.status.last_run is not None
    assert world.status.last_run.number == 2
    assert state_kept() == "s1"


def test_the_report_names_what_was_skipped_however_long_the_log() -> None:
    world = World()
    world.settle()
    world.cluster.start_pod()
    world.settle()
    skipped = [SkippedMessage(folder="INBOX", uid=7, reason="too big")]
    report = Report(verdict=verdict(), skipped=skipped)
    line = json.dumps(ReportLine(time=NOW, report=report).to_wire())
    # What follows the report pushes it out of the first, short look at the log's end.
    world.cluster.end_pod(0, verdict(), line + "\n" + "stray words\n" * 200)
    world.cluster.end_job("Complete")
    world.settle()
    assert world.status.report_name is not None
    stored = world.cluster.objects["ConfigMap", "default", world.status.report_name]
    assert json.loads(stored["data"]["report.json"])["skipped"][0]["reason"] == "too big"

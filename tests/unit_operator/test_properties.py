"""What holds for whatever happens."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mailsync_api.exitcodes import ExitCode
from mailsync_api.spec import RetryPolicy
from mailsync_api.status import MailSyncStatus
from mailsync_operator.backoff import backoff_seconds
from mailsync_operator.decide import decide
from mailsync_operator.errors import ConflictError
from mailsync_operator.naming import job_name, object_stem, probe_job_name, report_name
from tests.unit_operator.objects import (
    UID,
    at,
    job,
    mailsync_object,
    mount_event,
    observe,
    pod,
    verdict,
    wanted_hash,
)
from tests.unit_operator.test_reconcile import KEY, World

_LABEL = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True)
_NAME = (
    st.lists(_LABEL, min_size=1, max_size=12).map(".".join).filter(lambda name: len(name) <= 253)
)
_UID = st.uuids().map(str)
_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_LONG = "a" * 253


# --- names ---


@given(name=_NAME, uid=_UID, run=st.integers(1, 2**31 - 1))
def test_names_are_valid_labels(name: str, uid: str, run: int) -> None:
    for made in (
        job_name(name=name, uid=uid, run=run),
        probe_job_name(name=name, uid=uid, number=run),
        report_name(name=name, uid=uid),
    ):
        assert len(made) <= 63
        assert _DNS_LABEL.fullmatch(made)


@given(names=st.lists(_NAME, min_size=2, max_size=8, unique=True), uid=_UID)
def test_different_objects_have_different_names(names: list[str], uid: str) -> None:
    assert len({object_stem(name=name, uid=uid) for name in names}) == len(names)


def test_the_longest_names_differ_in_their_last_character() -> None:
    made = {job_name(name=_LONG[:-1] + end, uid=UID, run=1) for end in "abcdefghij0123456789"}
    assert len(made) == 20


def test_a_recreated_object_does_not_meet_its_former_jobs() -> None:
    assert job_name(name="a", uid="1", run=1) != job_name(name="a", uid="2", run=1)


def test_runs_of_one_object_have_different_names() -> None:
    assert len({job_name(name=_LONG, uid=UID, run=run) for run in range(1, 200)}) == 199


# --- waits ---


@given(
    first=st.integers(1, 86400),
    most=st.integers(1, 604800),
    failures=st.integers(1, 1000),
    uid=_UID,
)
def test_waits_are_within_bounds_and_repeatable(
    first: int, most: int, failures: int, uid: str
) -> None:
    policy = RetryPolicy(backoff_seconds=min(first, most), max_backoff_seconds=most)
    wait = backoff_seconds(policy, failures=failures, uid=uid)
    assert 1 <= wait <= most
    full = min(policy.backoff_seconds * 2 ** (failures - 1), most)
    assert wait >= int(full * 0.9)
    assert wait == backoff_seconds(policy, failures=failures, uid=uid)


def test_waits_of_different_objects_are_spread() -> None:
    policy = RetryPolicy(backoff_seconds=3600, max_backoff_seconds=3600)
    waits = {backoff_seconds(policy, failures=1, uid=str(number)) for number in range(100)}
    assert len(waits) > 50


# --- decisions ---

_pod_states: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.just({}),
    st.just({"started": 1.0}),
    st.just({"waiting": "ImagePullBackOff"}),
    st.just({"unschedulable": "no node", "node": ""}),
    st.sampled_from([*map(int, ExitCode), 1, 137]).map(lambda code: {"exit_code": code}),
)
_jobs = st.one_of(
    st.none(),
    st.fixed_dictionaries(
        {"outcome": st.sampled_from([None, "Complete", "Failed"]), "suspended": st.booleans()}
    ),
)


@given(
    job_state=_jobs,
    pod_states=st.lists(_pod_states, max_size=3),
    suspend=st.booleans(),
    manual=st.sampled_from([None, "x", "y"]),
    mode=st.sampled_from(["Sync", "DryRun"]),
    told=st.booleans(),
    invalid=st.booleans(),
    seconds=st.integers(0, 200000),
)
def test_a_status_is_stable_once_it_is_written(  # noqa: PLR0917  one for each thing that varies
    job_state: dict[str, Any] | None,
    pod_states: list[dict[str, Any]],
    suspend: bool,  # noqa: FBT001  drawn by Hypothesis
    manual: str | None,
    mode: str,
    told: bool,  # noqa: FBT001  drawn by Hypothesis
    invalid: bool,  # noqa: FBT001  drawn by Hypothesis
    seconds: int,
) -> None:
    spec: dict[str, Any] = {"suspend": suspend, "mode": mode}
    if manual:
        spec["trigger"] = {"manual": manual}
    valid = mailsync_object(**spec)
    if invalid:
        spec["folders"] = {"include": ["re:("]}
    hash_ = wanted_hash(valid)
    jobs = (job(valid, hash_=hash_, **job_state),) if job_state is not None else ()
    pods = tuple(
        pod(
            valid,
            attempt=number,
            message=verdict(ExitCode(code))
            if told and (code := changes.get("exit_code")) in set(ExitCode)
            else "",
            **changes,
        )
        for number, changes in enumerate(pod_states, 1)
    )
    seen: dict[str, Any] = {
        "jobs": jobs,
        "pods": pods,
        "pod_events": (mount_event("source", 'secret "source-password" not found'),),
        "now": at(seconds),
    }
    status: MailSyncStatus | None = None
    for _ in range(4):  # ending one run and starting the next are two steps
        before = status
        decision = decide(observe(mailsync_object(status=status, **spec), **seen))
        status = decision.status
        assert status is not None
        # What is written is valid, and is read back as the same.
        assert MailSyncStatus.model_validate(status.to_wire()) == status
        created = [a for a in decision.actions if type(a).__name__ == "CreateJob"]
        assert len(created) <= 1
        if created:
            assert before is None or before.current_run is None
            return  # the next look has the new Job, another state than this one
        if before == status:
            assert not [a for a in decision.actions if type(a).__name__ == "CollectReport"]
            return
    raise AssertionError(f"it never comes to rest: {status}")


class Lives(RuleBasedStateMachine):
    """An operator that is killed, watches that lag, users that change their mind, pods that die."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.cluster = self.world.cluster
        self.token = 0

    def live_jobs(self) -> list[dict[str, Any]]:
        jobs = self.cluster.all_of("Job")
        return [job for job in jobs if not job.get("status", {}).get("conditions")]

    def open_pods(self) -> list[dict[str, Any]]:
        return [pod for pod in self.cluster.all_of("Pod") if pod["status"]["phase"] == "Running"]

    def in_run(self) -> bool:
        return bool(self.live_jobs() and self.open_pods())

    @rule()
    def look(self) -> None:
        try:
            self.world.look()
        except ConflictError:
            self.cluster.catch_up()

    @precondition(lambda self: self.live_jobs() and not self.open_pods())
    @rule()
    def start_pod(self) -> None:
        self.cluster.start_pod()

    @precondition(lambda self: self.in_run())
    @rule()
    def done(self) -> None:
        self.cluster.end_pod(0, verdict())
        self.cluster.end_job("Complete")

    @precondition(lambda self: self.in_run())
    @rule(code=st.sampled_from([c for c in ExitCode if c]))
    def fail(self, code: ExitCode) -> None:
        self.cluster.end_pod(int(code), verdict(code))
        self.cluster.end_job("Failed", "PodFailurePolicy")

    @precondition(lambda self: self.open_pods())
    @rule()
    def die(self) -> None:
        self.cluster.end_pod(137)

    @precondition(lambda self: self.live_jobs() and not self.open_pods())
    @rule()
    def delete_job(self) -> None:
        meta = self.live_jobs()[0]["metadata"]
        self.cluster.remove("Job", meta["namespace"], meta["name"])

    @rule()
    def kill_operator(self) -> None:
        self.world.restart()

    @rule(lag=st.booleans())
    def hold_watches(self, lag: bool) -> None:  # noqa: FBT001  drawn by Hypothesis
        self.cluster.lag = lag
        if not lag:
            self.cluster.catch_up()

    @rule(seconds=st.sampled_from([1, 60, 3600, 86400]))
    def wait(self, seconds: int) -> None:
        self.world.pass_time(seconds)

    @rule(suspend=st.booleans(), again=st.booleans())
    def change(self, suspend: bool, again: bool) -> None:  # noqa: FBT001  drawn by Hypothesis
        self.token += again
        self.world.change(suspend=suspend, trigger={"manual": str(self.token)})

    @invariant()
    def one_run_at_a_time(self) -> None:
        assert len(self.live_jobs()) <= 1

    @invariant()
    def every_end_is_counted_once(self) -> None:
        ended = [told.run.number for told in self.world.meter.told if told.run is not None]
        assert ended == sorted(set(ended))

    @invariant()
    def the_history_is_bounded(self) -> None:
        status = self.cluster.objects["MailSync", *KEY].get("status", {})
        assert len(status.get("runs", [])) <= 8


TestLives = Lives.TestCase

"""Slots of MailEndpoints: never more runs at once than allowed, whatever dies and lags behind."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailsync_api.conditions import ConditionType
from mailsync_api.endpoint import Side
from mailsync_api.exitcodes import ExitCode
from mailsync_api.limits import Limits, resolve
from mailsync_api.mailendpoint import MailEndpointSpec
from mailsync_api.status import MailSyncStatus, RunType
from mailsync_operator.apply import Applier
from mailsync_operator.builders.job import Engine
from mailsync_operator.endpoints.reconcile import ACTIVE_SECONDS, EndpointReconciler
from mailsync_operator.errors import RefusedError, TransientError
from mailsync_operator.events import EventRecorder
from mailsync_operator.progress import ProgressPoller
from mailsync_operator.reconcile import Reconciler
from mailsync_operator.slots import Ask, first_full, granted
from mailsync_operator.snapshot import JobSnapshot, Key
from mailsync_operator.turns import Turns
from tests.support.builders import endpoint_manifest, manifest
from tests.unit_operator.fake_cluster import FakeCluster
from tests.unit_operator.objects import NOW, at, condition_of, state, verdict

OLD, NEW = ("default", "old"), ("default", "new")
_INITIAL, _DELTA = RunType.INITIAL, RunType.DELTA


def _ask(name: str, *room: tuple[Key, int], since: float = 0, kind: RunType = _INITIAL) -> Ask:
    return Ask(("default", name), kind, room, at(since))


# --- whose turn it is


def test_who_waits_longest_comes_first_and_no_more_than_there_is_room_for() -> None:
    asks = [_ask(name, (OLD, 3), since=since) for name, since in (("c", 1), ("b", 5), ("a", 9))]
    assert granted(reversed(asks), {OLD: {_INITIAL: 1}}) == asks[:2]
    assert granted(asks, {OLD: {_INITIAL: 3}}) == []
    assert granted(asks, {OLD: {_DELTA: 3}}) == asks


def test_who_waits_for_one_server_does_not_keep_others_from_another() -> None:
    both = _ask("both", (OLD, 1), (NEW, 1))
    only = _ask("only", (NEW, 1), since=5)
    assert granted([both, only], {OLD: {_INITIAL: 1}}) == [only]
    assert first_full(both, {OLD: {_INITIAL: 1}}) == (OLD, 1)
    assert granted([both, only], {}) == [both]


_ASKS = st.lists(
    st.builds(
        lambda n, since, kind, places: Ask(
            ("default", f"m{n}"),
            kind,
            tuple((("default", p), 3) for p in sorted(places)),
            at(since),
        ),
        st.integers(0, 10**6),
        st.integers(0, 20),
        st.sampled_from(list(RunType)),
        st.sets(st.sampled_from("abc"), min_size=1),
    ),
    max_size=30,
    unique_by=lambda ask: ask.key,
)
_ACTIVE = st.dictionaries(
    st.sampled_from([("default", name) for name in "abc"]),
    st.dictionaries(st.sampled_from(list(RunType)), st.integers(0, 5)),
)


@given(_ASKS, _ACTIVE)
def test_there_is_never_more_than_the_room_and_never_room_for_one_who_waits(
    asks: list[Ask], active: dict[Key, dict[RunType, int]]
) -> None:
    chosen = granted(asks, active)
    after = {key: Counter(counts) for key, counts in active.items()}
    for ask in chosen:
        for endpoint, _ in ask.room:
            after.setdefault(endpoint, Counter())[ask.run_type] += 1
    for endpoint, counts in after.items():
        for kind, count in counts.items():
            assert count <= max(3, active.get(endpoint, {}).get(kind, 0))
    for ask in asks:
        assert ask in chosen or first_full(ask, after) is not None


# --- the share of a rate


@pytest.mark.parametrize(
    ("sides", "rate", "messages"),
    [((Side.SOURCE,), 20_000, 3), ((Side.DESTINATION,), 20_000, 3), (tuple(Side), 10_000, 1)],
)
def test_the_shares_of_all_runs_are_never_more_than_the_servers_rate(
    sides: tuple[Side, ...], rate: int, messages: int
) -> None:
    limits = {
        "maxConcurrentInitialSyncs": 3,
        "maxConcurrentDeltaSyncs": 2,
        "maxBytesPerSecond": 100_000,
        "maxMessagesPerSecond": 19,
    }
    spec = MailEndpointSpec.model_validate({"host": "x", "limits": limits})
    terms = dict.fromkeys(sides, spec.terms("old"))
    found = resolve(Limits(), terms)
    assert found.bytes_per_second is not None
    assert found.messages_per_second is not None
    assert found.bytes_per_second.value == rate
    assert found.messages_per_second.value == messages
    assert 'of MailEndpoint "old"' in found.bytes_per_second.origin
    # What is the mailbox's own holds where it is stricter.
    own = resolve(Limits(max_bytes_per_second=5000), terms).bytes_per_second
    assert own is not None
    assert own.origin == "spec.limits.maxBytesPerSecond"


# --- lives


class Fleet:
    """An operator and some MailSyncs that share a MailEndpoint."""

    loop = asyncio.new_event_loop()

    def __init__(self, count: int = 5, **limits: Any) -> None:
        self.cluster = FakeCluster(NOW)
        limits = limits or {"maxConcurrentInitialSyncs": 2, "maxConcurrentDeltaSyncs": 1}
        body = endpoint_manifest("old", limits=limits, probe={"suspend": True})
        self.cluster.put("MailEndpoint", body)
        source = {"host": None, "endpointRef": {"name": "old"}}
        self.keys: list[Key] = [("default", f"m{number}") for number in range(count)]
        for _, name in self.keys:
            self.cluster.put("MailSync", manifest(name, source=source))
        self.most: Counter[RunType] = Counter()
        self.restart()

    def restart(self) -> None:
        """Kill the operator; the new one remembers nothing and has all listed."""
        cluster = self.cluster
        cluster.catch_up()
        self.woken: list[Key] = []
        self.turns = Turns(cluster, wake=self.woken.append)
        recorder = EventRecorder(cluster, instance="test", clock=lambda: cluster.now)
        self.reconciler = Reconciler(
            cluster,
            cluster,
            applier=Applier(cluster, engine=Engine("engine:1")),
            poller=ProgressPoller(cluster, news=lambda _: None),
            recorder=recorder,
            meter=_NoMeter(),
            clock=lambda: cluster.now,
            doubt=lambda _: None,
            turns=self.turns,
        )
        self.endpoints = EndpointReconciler(
            cluster,
            cluster,
            engine=Engine("engine:1"),
            recorder=recorder,
            meter=_NoMeter(),
            clock=lambda: cluster.now,
        )

    def look(self, key: Key) -> None:
        async def once() -> None:
            # The queue tries again.
            with contextlib.suppress(TransientError):
                await self.reconciler.reconcile(key)

        self.loop.run_until_complete(once())
        self._count()

    def look_at_all(self) -> None:
        for key in self.keys:
            self.look(key)

    def look_at_endpoint(self) -> float | None:
        async def once() -> float | None:
            return await self.endpoints.reconcile(OLD)

        return self.loop.run_until_complete(once())

    @property
    def active(self) -> Counter[RunType]:
        """What runs in truth, whatever the watches have brought."""
        jobs = (JobSnapshot.from_body(body) for body in self.cluster.all_of("Job"))
        return Counter(job.run_type for job in jobs if job.outcome is None and job.run_type)

    def _count(self) -> None:
        for kind, count in self.active.items():
            self.most[kind] = max(self.most[kind], count)

    def end(self, code: ExitCode = ExitCode.DONE) -> Key | None:
        """End the oldest run."""
        for body in self.cluster.all_of("Job"):
            found = JobSnapshot.from_body(body)
            if found.outcome is None:
                self._end(body, code)
                return found.namespace, found.owner_name
        return None

    def _end(self, job: dict[str, Any], code: ExitCode) -> None:
        cluster, name = self.cluster, job["metadata"]["name"]
        others = [body for body in cluster.all_of("Job") if body["metadata"]["name"] != name]
        for body in others:
            del cluster.objects["Job", "default", body["metadata"]["name"]]
        cluster.start_pod()
        cluster.end_pod(int(code), verdict(code))
        cluster.end_job("Failed" if code else "Complete")
        for body in others:
            cluster.objects["Job", "default", body["metadata"]["name"]] = body
        if not cluster.lag:
            cluster.catch_up()

    def status(self, key: Key) -> MailSyncStatus:
        body = self.cluster.objects["MailSync", *key]
        return MailSyncStatus.model_validate(body.get("status", {}))

    def states(self) -> Counter[str]:
        return Counter(state(self.status(key))[1] for key in self.keys)


class _NoMeter:
    def transition(self, *_: object) -> None:
        """Count nothing."""

    def probed(self, _: object) -> None:
        """Count nothing."""


def test_five_mailboxes_run_two_at_a_time_and_the_others_hold_nothing() -> None:
    fleet = Fleet()
    fleet.look_at_all()
    assert fleet.states() == {"Pending": 2, "Queued": 3}
    assert len(fleet.cluster.all_of("Job")) == 2
    waiting = fleet.status(fleet.keys[2])
    text = condition_of(waiting, ConditionType.SUCCEEDED).message
    assert 'MailEndpoint "old" allows 2 first runs at once' in text
    assert waiting.current_run is None


def test_a_slot_that_becomes_free_goes_to_who_waits_longest() -> None:
    fleet = Fleet()
    for key in (fleet.keys[n] for n in (0, 1, 4, 3, 2)):
        fleet.cluster.now += timedelta(seconds=1)
        fleet.look(key)
    done = fleet.end()
    assert done is not None
    fleet.woken.clear()
    fleet.turns.changed(OLD)
    assert fleet.woken == [fleet.keys[4]]
    # One who comes first by chance does not overtake.
    fleet.look(fleet.keys[2])
    assert fleet.states()["Queued"] == 3
    fleet.look(fleet.keys[4])
    assert state(fleet.status(fleet.keys[4]))[1] == "Pending"
    assert fleet.most[_INITIAL] == 2


def test_what_the_watch_has_not_brought_back_is_counted() -> None:
    fleet = Fleet()
    fleet.cluster.lag = True
    fleet.look_at_all()
    assert fleet.active == {_INITIAL: 2}


def test_a_job_that_is_not_accepted_gives_its_slot_back() -> None:
    fleet = Fleet(maxConcurrentInitialSyncs=1)
    fleet.cluster.errors["create_job"] = RefusedError("no")
    fleet.look(fleet.keys[0])
    assert state(fleet.status(fleet.keys[0])) == ("Unknown", "Pending")
    del fleet.cluster.errors["create_job"]
    fleet.look(fleet.keys[1])
    assert fleet.active == {_INITIAL: 1}


def test_a_mailbox_that_is_suspended_or_deleted_leaves_the_line() -> None:
    fleet = Fleet(count=4)
    fleet.look_at_all()
    first = fleet.cluster.objects["MailSync", *fleet.keys[2]]
    fleet.cluster.put("MailSync", first | {"spec": {**first["spec"], "suspend": True}})
    fleet.end()
    fleet.look(fleet.keys[0])
    fleet.look(fleet.keys[2])
    assert state(fleet.status(fleet.keys[2]))[1] == "Suspended"
    fleet.woken.clear()
    fleet.turns.changed(OLD)
    assert fleet.woken == [fleet.keys[3]]
    del fleet.cluster.objects["MailSync", *fleet.keys[3]]
    fleet.cluster.catch_up()
    fleet.look(fleet.keys[3])
    fleet.woken.clear()
    fleet.turns.changed(OLD)
    assert fleet.woken == []


def test_without_slots_nobody_waits() -> None:
    fleet = Fleet(count=9, maxConnectionsPerMailbox=2)
    fleet.look_at_all()
    assert fleet.states() == {"Pending": 9}


def test_the_mailendpoint_shows_what_runs_and_is_not_written_all_the_time() -> None:
    fleet = Fleet()
    fleet.look_at_endpoint()
    fleet.look_at_all()
    fleet.cluster.now += timedelta(seconds=ACTIVE_SECONDS)
    fleet.look_at_endpoint()

    def shown() -> dict[str, Any]:
        found: dict[str, Any] = fleet.cluster.objects["MailEndpoint", *OLD]["status"]["active"]
        return found

    assert shown() == {"initial": 2, "delta": 0}
    done = fleet.end()
    assert done is not None
    fleet.look(done)
    assert fleet.look_at_endpoint() == ACTIVE_SECONDS
    assert shown() == {"initial": 2, "delta": 0}
    fleet.cluster.now += timedelta(seconds=ACTIVE_SECONDS)
    fleet.look_at_endpoint()
    assert shown() == {"initial": 1, "delta": 0}


_STEPS = st.lists(
    st.sampled_from(["look", "look", "look", "end", "fail", "show", "restart", "lose", "find"]),
    max_size=40,
)


@settings(deadline=None, max_examples=10)
@given(_STEPS, st.randoms(use_true_random=False))
def test_no_order_of_events_gives_more_runs_than_slots(steps: list[str], chance: Any) -> None:
    fleet = Fleet(count=6)
    fleet.cluster.lag = True
    for step in steps:
        fleet.cluster.now += timedelta(seconds=1)
        match step:
            case "look":
                fleet.look(chance.choice(fleet.keys))
            case "end":
                fleet.end()
            case "fail":
                fleet.end(ExitCode.THROTTLED)
            case "show":
                fleet.cluster.catch_up()
            case "restart":
                fleet.restart()
            case "lose":  # the answer to a write is lost
                fleet.cluster.errors["apply_status"] = TransientError("lost")
            case _:  # and no more
                fleet.cluster.errors.clear()
        assert fleet.active[_INITIAL] <= 2
        assert fleet.active[_DELTA] <= 1
    # And whatever happened, all come to their end.
    fleet.cluster.errors.clear()
    fleet.cluster.lag = False
    fleet.cluster.catch_up()
    for _ in range(20):
        fleet.cluster.now += timedelta(seconds=1000)
        fleet.look_at_all()
        fleet.end()
        assert fleet.active[_INITIAL] <= 2
    assert fleet.states() == {"Completed": 6}

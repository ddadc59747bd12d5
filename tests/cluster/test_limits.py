"""Limits on a real cluster: slots that are never exceeded, and waiting that holds no pod."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from tests.support.checker import compare_mailboxes, read_mailbox
from tests.support.gate import gate
from tests.support.kube import KubeObject, reason
from tests.support.mailbox import load, plain_message
from tests.support.release import Release
from tests.support.stage import USER, Stage, stage

pytestmark = pytest.mark.cluster

_SLOTS = 2
_BOXES = 5
_MESSAGES = 40
_PATIENCE = 240.0


@pytest.fixture
def scene(release: Release) -> Iterator[Stage]:
    with stage(release) as scene:
        yield scene


def _time(value: str) -> datetime:
    return datetime.fromisoformat(value)


def _is_over(job: KubeObject) -> bool:
    found = job.get("status", {}).get("conditions", [])
    return any(
        each["type"] in {"Complete", "Failed"} and each["status"] == "True" for each in found
    )


def _runs(scene: Stage) -> list[KubeObject]:
    """Return the Jobs of runs that are not over; a probe's is none."""
    jobs = scene.kube.all_of("jobs", "mailsync.dev/mailsync-uid")
    return [job for job in jobs if not _is_over(job)]


def test_of_five_mailboxes_two_run_at_once_also_when_the_operator_is_killed(
    release: Release, scene: Stage
) -> None:
    names = [f"box{number}" for number in range(_BOXES)]
    with scene.source.login(USER) as session:
        load(session, [plain_message(n, path=[name]) for name in names for n in range(_MESSAGES)])
    slots = {"maxConcurrentInitialSyncs": _SLOTS, "maxConcurrentDeltaSyncs": 1}
    scene.endpoint("old", scene.source, probe={"suspend": True}, limits=slots)
    for name in names:
        login = scene.source.account(USER)
        scene.sync(
            name,
            source={
                "host": None,
                "tls": None,
                "endpointRef": {"name": "old"},
                "authentication": login["authentication"],
            },
            folders={"include": [name]},
            # Slow enough that there is something to see.
            limits={"maxMessagesPerSecond": 10},
        )
    seen: Counter[int] = Counter()
    states: Counter[str] = Counter()
    shown: list[dict[str, Any]] = []
    killed = False
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        # What runs is looked at before who is done: none can be missed between the two.
        seen[len(_runs(scene))] += 1
        states = Counter(reason(obj) for obj in scene.kube.all_of("mailsyncs"))
        endpoint = scene.kube.get("mailendpoint", "old")
        shown.append((endpoint or {}).get("status", {}).get("active", {}))
        if states["Completed"] and not killed:
            killed = True
            operator = release.operator_pod()["metadata"]["name"]
            release.kube.run("delete", "pod", operator, "--grace-period=0", "--force")
        if states["Completed"] == _BOXES:
            break
    print(f"runs at once, by how often they were seen: {dict(sorted(seen.items()))}")
    assert states == {"Completed": _BOXES}
    assert killed
    assert max(seen) == _SLOTS
    assert {"initial": _SLOTS, "delta": 0} in shown
    assert max(each.get("initial", 0) for each in shown) == _SLOTS
    assert all(len(scene.jobs(name)) == 1 for name in names)
    with scene.source.login(USER) as source, scene.destination.login(USER) as destination:
        here, there = read_mailbox(source), read_mailbox(destination)
    for name in names:
        # Neither lost nor doubled; the folders that nobody asked for are not there.
        assert Counter(there[name,]) == Counter(here[name,])
        assert len(there[name,]) == _MESSAGES


def test_a_mailbox_that_waits_for_a_slot_says_so_and_has_no_pod(scene: Stage) -> None:
    with scene.source.login(USER) as session:
        load(session, [plain_message(n, path=[name]) for name in ("a", "b") for n in range(60)])
    slots = {"maxConcurrentInitialSyncs": 1}
    scene.endpoint("old", scene.source, probe={"suspend": True}, limits=slots)
    source = {
        "host": None,
        "tls": None,
        "endpointRef": {"name": "old"},
        "authentication": scene.source.account(USER)["authentication"],
    }
    slow = {"maxMessagesPerSecond": 5}
    scene.sync("first", source=source, folders={"include": ["a"]}, limits=slow)
    scene.running_pod("first")
    scene.sync("second", source=source, folders={"include": ["b"]}, limits=slow)
    waiting = scene.wait_reason("second", "Queued")
    assert scene.pods("second") == []
    assert scene.jobs("second") == []
    [said] = [each for each in waiting["status"]["conditions"] if each["type"] == "Succeeded"]
    assert 'MailEndpoint "old" allows 1 first runs at once' in said["message"]
    scene.kube.patch("mailsync", "first", {"spec": {"limits": {"maxMessagesPerSecond": None}}})
    scene.kube.delete("mailsync", "first")  # gives its slot back
    scene.wait_reason("second", "Completed")


def test_a_throttled_mailbox_waits_without_a_pod_and_goes_on_by_itself(
    release: Release, scene: Stage
) -> None:
    # In clear text: what is said before TLS is nobody's word, and the gate does not speak TLS.
    old = scene.server_without_tls("old")
    with old.login(USER) as session:
        load(session, [plain_message(n) for n in range(30)])
    words = "Request is throttled. Suggested Backoff Time: 20000 milliseconds"
    with gate(release, scene.kube, to=old.host, words=words) as host:
        scene.sync("alice", source=old.account(USER, mode="None", host=host))
        waiting = scene.wait_reason("alice", "Throttled")
        status = waiting["status"]
        assert "currentRun" not in status
        assert status["consecutiveFailures"] == 0
        run, due = status["lastRun"], _time(status["retryAfterTime"])
        assert (run["exitCode"], run["retryAfterSeconds"]) == (75, 20)
        assert (due - _time(run["completionTime"])).total_seconds() >= 19  # whole seconds
        assert status["nextSyncTime"] == status["retryAfterTime"]
        assert {pod["status"]["phase"] for pod in scene.pods("alice")} <= {"Succeeded", "Failed"}
        assert 'mailsync_objects{state="Throttled"} 1.0' in release.metrics()
        done = scene.wait_reason("alice", "Completed")
    last, before = done["status"]["runs"]
    assert (before["exitCode"], last["exitCode"]) == (75, 0)
    assert _time(last["startTime"]) >= due
    told = {event["reason"]: event for event in scene.kube.events("MailSync", "alice")}
    assert told["RunThrottled"]["type"] == "Normal"
    assert "RunFailed" not in told
    with old.login(USER) as source, scene.destination.login(USER) as destination:
        assert [str(each) for each in compare_mailboxes(source, destination)] == []

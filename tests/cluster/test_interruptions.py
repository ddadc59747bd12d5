"""What may die in the middle, and what is deleted: nothing is lost, doubled or left behind."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.support.checker import compare_mailboxes, count_messages
from tests.support.kube import KubeObject, reason
from tests.support.mailbox import load, plain_message
from tests.support.release import Release
from tests.support.stage import USER, Stage, kill_engine, stage

pytestmark = pytest.mark.cluster

_COUNT = 3000
# Slow enough that there is a middle to hit: a twentieth of a core, and a destination that takes
# messages one by one and is asked for its consent to each.
_ONE_BY_ONE = "imap_capability = IMAP4rev1 SASL-IR NAMESPACE UIDPLUS SPECIAL-USE UNSELECT\n"
_SLOW = {"resources": {"limits": {"cpu": "50m"}, "requests": {"cpu": "50m"}}}


@pytest.fixture
def scene(release: Release) -> Iterator[Stage]:
    """Set up a stage with many small messages at the source."""
    with stage(release, destination=_ONE_BY_ONE) as scene:
        with scene.source.login(USER) as session:
            load(session, (plain_message(number) for number in range(_COUNT)))
        yield scene


def copied(scene: Stage) -> int:
    with scene.destination.login(USER) as session:
        return count_messages(session)


def differences(scene: Stage) -> list[str]:
    with scene.source.login(USER) as source, scene.destination.login(USER) as destination:
        return [str(each) for each in compare_mailboxes(source, destination)]


def wait_halfway(scene: Stage) -> int:
    """Return how much is copied, once that is a half."""
    seen = 0

    def halfway() -> bool:
        nonlocal seen
        seen = copied(scene)
        return seen >= _COUNT // 2

    scene.kube.until(halfway, what=f"half of {_COUNT} messages copied", seconds=180)
    print(f"interrupted at {seen} of {_COUNT}")
    assert seen < _COUNT, "it was over before it could be interrupted"
    return seen


def test_an_engine_that_is_killed_half_way_finishes_in_the_next_attempt(scene: Stage) -> None:
    scene.sync("alice", podTemplate=_SLOW)
    pod = scene.running_pod("alice")
    before = wait_halfway(scene)
    kill_engine(scene.kube, pod)

    done = scene.wait_reason("alice", "Completed", seconds=300)
    run = done["status"]["lastRun"]
    assert run["attempts"] == 2
    assert run["number"] == 1
    assert len(scene.jobs("alice")) == 1
    assert run["messagesAlreadyPresent"] >= before
    assert run["messagesAlreadyPresent"] + run["messagesCopied"] == _COUNT
    assert copied(scene) == _COUNT
    assert differences(scene) == []


def test_a_run_outlives_the_operator(release: Release, scene: Stage) -> None:
    scene.sync("alice", podTemplate=_SLOW)
    pod = scene.running_pod("alice")
    operator = release.operator_pod()["metadata"]
    release.kube.run("delete", "pod", operator["name"], "--grace-period=0", "--force")
    wait_halfway(scene)

    done = scene.wait_reason("alice", "Completed", seconds=300)
    assert release.operator_pod()["metadata"]["uid"] != operator["uid"]
    assert done["status"]["lastRun"]["attempts"] == 1
    assert done["status"]["progress"]["percent"] == 100
    assert len(scene.jobs("alice")) == 1
    assert [each["metadata"]["uid"] for each in scene.pods("alice")] == [pod["metadata"]["uid"]]
    assert differences(scene) == []


def test_suspend_stops_the_pod_and_resume_goes_on(scene: Stage) -> None:
    scene.sync("alice", podTemplate=_SLOW)
    scene.running_pod("alice")
    wait_halfway(scene)
    scene.kube.patch("mailsync", "alice", {"spec": {"suspend": True}})
    scene.wait_reason("alice", "Suspended")
    scene.kube.until(lambda: not live_pods(scene), what="no pod while suspended")

    scene.kube.patch("mailsync", "alice", {"spec": {"suspend": False}})
    scene.wait_reason("alice", "Completed", seconds=300)
    assert len(scene.jobs("alice")) == 1
    assert differences(scene) == []


def test_deleting_a_mailsync_during_a_run_leaves_no_pod(scene: Stage) -> None:
    scene.sync("alice", podTemplate=_SLOW)
    scene.running_pod("alice")
    wait_halfway(scene)
    scene.kube.delete("mailsync", "alice")
    assert scene.kube.get("mailsync", "alice") is None
    scene.kube.until(lambda: not engine_pods(scene), what="no engine pod left", seconds=60)
    assert scene.kube.all_of("jobs") == []


def test_a_namespace_with_a_running_mailsync_can_be_deleted(scene: Stage) -> None:
    scene.sync("alice", podTemplate=_SLOW)
    scene.running_pod("alice")
    finalizers = scene.kube.get("mailsync", "alice")
    assert finalizers is not None
    assert "finalizers" not in finalizers["metadata"]
    scene.kube.run("delete", "namespace", scene.kube.namespace, "--timeout=90s")
    assert scene.kube.get("namespace", scene.kube.namespace) is None


def test_progress_is_on_the_status_while_it_runs(scene: Stage) -> None:
    scene.sync("alice", podTemplate=_SLOW)

    def under_way(obj: KubeObject) -> bool:
        done = obj.get("status", {}).get("progress", {}).get("messages", {}).get("completed", 0)
        return reason(obj) == "InitialSync" and 0 < done < _COUNT

    obj = scene.kube.wait(
        "mailsync", "alice", under_way, what="progress in the middle", seconds=120
    )
    status = obj["status"]
    assert status["progress"]["messages"]["total"] == _COUNT
    assert 0 <= status["progress"]["percent"] < 100
    assert status["currentRun"]["number"] == 1
    assert status["tls"]["source"]["secured"] is True
    # No mail content: each message's subject is "plain" and its number.
    assert "plain " not in json.dumps(status)


def engine_pods(scene: Stage) -> list[KubeObject]:
    return scene.kube.all_of("pods", "mailsync.dev/mailsync-uid")


def live_pods(scene: Stage) -> list[KubeObject]:
    return [pod for pod in engine_pods(scene) if pod["status"].get("phase") == "Running"]

"""A corrected Secret: with rbac.watchSecrets it is seen within seconds, without it is not."""

from __future__ import annotations

import dataclasses
import json
import urllib.request
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from mailsync_operator.cluster.secrets import LIST_FORM
from tests.cluster.test_refusals import poke
from tests.support.kube import condition
from tests.support.release import Release, install
from tests.support.stage import USER, Stage, stage

if TYPE_CHECKING:
    from tests.cluster.interface import ClusterProvider

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def scene(release: Release) -> Iterator[Stage]:
    with stage(release) as scene:
        yield scene


def refused(scene: Stage, name: str) -> None:
    """Bring a MailSync to be refused its password at the source."""
    wrong = scene.source.password(USER, "wrong")
    wrong["metadata"]["name"] = f"{name}-password"
    scene.kube.apply(wrong)
    secret = {"secretRef": {"name": f"{name}-password"}}
    scene.sync(name, source=scene.source.account(USER, authentication=secret))
    scene.wait_condition(name, "Stalled", "True", why="CredentialsRefused")


def correct(scene: Stage, name: str) -> None:
    right = scene.source.password(USER)
    right["metadata"]["name"] = f"{name}-password"
    scene.kube.apply(right)


def test_without_the_permission_a_corrected_secret_starts_nothing(
    release: Release, scene: Stage
) -> None:
    assert not scene.kube.acting_as(release.account).can_i("list", "secrets")
    refused(scene, "unwatched")
    correct(scene, "unwatched")
    poke(scene, "unwatched")
    assert len(scene.jobs("unwatched")) == 1
    obj = scene.kube.get("mailsync", "unwatched")
    assert obj is not None
    stalled = condition(obj, "Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", "CredentialsRefused")
    # What it says instead: when the next attempt is.
    assert obj["status"]["nextSyncTime"] in stalled["message"]
    assert "spec.trigger.manual" in stalled["message"]


@pytest.fixture(scope="module")
def watching(cluster: ClusterProvider, release: Release) -> Iterator[Release]:
    """Give the operator the permission, and take it away again."""
    values = {"rbac": {"watchSecrets": True}, "log": {"level": "debug"}}
    yield install(cluster, images=release.images, values=values)
    install(cluster, images=release.images)


def test_a_corrected_secret_is_tried_within_seconds(watching: Release, scene: Stage) -> None:
    assert scene.kube.acting_as(watching.account).can_i("watch", "secrets")
    assert not scene.kube.acting_as(watching.account).can_i("get", "secrets")
    refused(scene, "watched")
    before = scene.source.refused(USER)
    correct(scene, "watched")
    done = scene.wait_reason("watched", "Completed")
    assert condition(done, "Stalled")["status"] == "False"
    assert scene.source.refused(USER) == before
    assert len(scene.jobs("watched")) == 2


def test_a_pod_whose_secret_comes_late_does_not_wait_for_the_kubelet(
    watching: Release, scene: Stage
) -> None:
    assert watching.operator_pod()
    secret = {"secretRef": {"name": "late-password"}}
    scene.sync("late", source=scene.source.account(USER, authentication=secret))
    scene.wait_condition("late", "Ready", "False", why="SecretNotFound")
    (first,) = scene.pods("late")

    def failed() -> int:
        events = scene.kube.events("Pod", first["metadata"]["name"])
        return sum(each.get("count") or 1 for each in events if each["reason"] == "FailedMount")

    # The kubelet's waits double: after so many it looks about twice in a minute.
    scene.kube.until(lambda: failed() >= 6, what="six failed mounts", seconds=120)
    correct(scene, "late")
    scene.wait_reason("late", "Completed")
    assert len(scene.jobs("late")) == 1
    assert scene.pods("late")[-1]["metadata"]["uid"] != first["metadata"]["uid"]


def test_what_the_api_server_answers_holds_no_data(watching: Release, scene: Stage) -> None:
    kube = dataclasses.replace(scene.kube, as_user=watching.account)
    path = f"/api/v1/namespaces/{kube.namespace}/secrets"
    with kube.proxy() as url:

        def ask(form: str) -> str:
            request = urllib.request.Request(url + path, headers={"Accept": form})  # noqa: S310  the proxy
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310  as above
                return str(answer.read().decode())

        found = json.loads(ask(LIST_FORM))
        # What the permission allows all the same: that is why it is not given by default.
        assert '"data"' in ask("application/json")
    assert found["kind"] == "PartialObjectMetadataList"
    assert len(found["items"]) >= 3
    assert all(set(item) <= {"kind", "apiVersion", "metadata"} for item in found["items"])


def test_the_log_at_level_debug_names_no_token_and_no_data(watching: Release) -> None:
    log = watching.log()
    assert "following /api/v1/secrets (metadata only)" in log
    for word in ("Authorization", "Bearer ", "eyJhbGciOi", "last-applied-configuration"):
        assert word not in log

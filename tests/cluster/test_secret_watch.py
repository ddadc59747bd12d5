"""A corrected Secret: with rbac.watchSecrets it is seen within seconds, without it is not.

The release of these tests has a namespace of its own to serve, so the operator of the other tests is
left as it is; both see the namespace, and either may start a Job, but there is one Job for each run.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.support.kube import condition
from tests.support.release import Release, install
from tests.support.stage import USER, Stage, stage

if TYPE_CHECKING:
    from tests.cluster.interface import ClusterProvider

pytestmark = pytest.mark.cluster

_SOON = 45.0


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
    time.sleep(_SOON)  # the proof is that nothing happens for as long as the other test may take
    assert len(scene.jobs("unwatched")) == 1
    obj = scene.kube.get("mailsync", "unwatched")
    assert obj is not None
    stalled = condition(obj, "Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", "CredentialsRefused")
    # What it says instead: when the next attempt is.
    assert obj["status"]["nextSyncTime"] in stalled["message"]
    assert "spec.trigger.manual" in stalled["message"]


@pytest.fixture(scope="module")
def watching(cluster: ClusterProvider, release: Release, scene: Stage) -> Iterator[Release]:
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
    done = scene.wait_reason("watched", "Completed", seconds=_SOON)
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
    # The kubelet's waits double: by now it looks about every half minute.
    time.sleep(30)
    correct(scene, "late")
    scene.wait_reason("late", "Completed", seconds=_SOON)
    assert len(scene.jobs("late")) == 1


def test_what_the_api_server_answers_holds_no_data(watching: Release, scene: Stage) -> None:
    """Ask as the operator does, with its permission."""
    kube = dataclasses.replace(scene.kube, as_user=watching.account)
    path = f"/api/v1/namespaces/{kube.namespace}/secrets"
    form = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
    answer = kube.ask(path, accept=form)
    found = json.loads(answer)
    assert found["kind"] == "PartialObjectMetadataList"
    assert len(found["items"]) >= 3
    assert all(set(item) <= {"kind", "apiVersion", "metadata"} for item in found["items"])
    # What the permission would allow is another matter: it is why the default is not to give it.
    assert '"data"' in kube.ask(path, accept="application/json")


def test_the_log_at_level_debug_names_no_token_and_no_data(watching: Release) -> None:
    log = watching.log()
    assert "following /api/v1/secrets (metadata only)" in log
    for word in ("Authorization", "Bearer ", "eyJhbGciOi", "last-applied-configuration"):
        assert word not in log

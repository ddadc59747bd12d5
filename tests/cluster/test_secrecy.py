"""Who can read what: Secrets, pods, logs, status, Events, the operator's memory."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.kube import KubeObject
from tests.support.release import Release
from tests.support.secret_forms import forms
from tests.support.stage import (
    DESTINATION_PASSWORD,
    SOURCE_PASSWORD,
    USER,
    Stage,
    operator_processes,
    stage,
)

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def scene(release: Release) -> Iterator[Stage]:
    """Set up a stage: one MailSync succeeded, one was refused its password, a server is probed."""
    with stage(release) as scene:
        other = scene.server("other")
        scene.kube.apply(other.password(USER, WRONG_PASSWORD))
        scene.endpoint("probed", scene.source)
        scene.sync("good")
        scene.sync("refused", source=other.account(USER))
        scene.wait_endpoint("probed", "Ready", "True")
        scene.wait_reason("good", "Completed")
        scene.wait_reason("refused", "CredentialsRefused")
        yield scene


WRONG_PASSWORD = "Irrtum-0815-falsch"
PASSWORDS = (SOURCE_PASSWORD, DESTINATION_PASSWORD, WRONG_PASSWORD)


def leaks(text: bytes) -> list[str]:
    return [word for word in PASSWORDS if any(form in text for form in forms(word.encode()))]


@pytest.mark.parametrize(
    "text",
    [
        f"LOGIN alice {SOURCE_PASSWORD}".encode(),
        json.dumps({"password": DESTINATION_PASSWORD}).encode(),
        base64.b64encode(f"\0{USER}\0{SOURCE_PASSWORD}".encode()),
        base64.b64encode(f"\0{USER}x\0{SOURCE_PASSWORD}".encode()),
        base64.b64encode(DESTINATION_PASSWORD.encode()),
    ],
)
def test_the_search_finds_what_is_there(text: bytes) -> None:
    assert leaks(b"before " + text + b" after")


@pytest.mark.parametrize("verb", ["get", "list", "watch", "create", "update", "patch", "delete"])
@pytest.mark.parametrize("namespace", ["scene", "own"])
def test_the_operator_has_no_permission_on_secrets(
    release: Release, scene: Stage, verb: str, namespace: str
) -> None:
    kube = scene.kube if namespace == "scene" else release.kube
    operator = kube.acting_as(release.account)
    assert operator.can_i("list", "pods"), "the question itself works"
    assert not operator.can_i(verb, "secrets")


def test_the_job_pod_is_restricted_and_has_no_api_token(scene: Stage) -> None:
    # The namespace enforces "restricted", so that the pod ran at all is half of the proof.
    namespace = scene.kube.get("namespace", scene.kube.namespace)
    assert namespace is not None
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    (pod,) = scene.pods("good")
    assert pod["spec"]["automountServiceAccountToken"] is False
    mounts = [m["mountPath"] for c in pod["spec"]["containers"] for m in c["volumeMounts"]]
    assert not [path for path in mounts if "serviceaccount" in path]
    (container,) = pod["spec"]["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True


def test_the_engine_logged_in_with_these_passwords(scene: Stage) -> None:
    # Else the searches below would find nothing for the wrong reason.
    assert scene.source.logins(USER) >= 1
    assert scene.destination.logins(USER) >= 1


@pytest.mark.parametrize(
    "kind",
    ["pods", "jobs", "mailsyncs", "mailendpoints", "events", "configmaps", "events.events.k8s.io"],
)
def test_no_password_is_in_any_object(scene: Stage, kind: str) -> None:
    text = json.dumps(scene.kube.all_of(kind), ensure_ascii=False)
    assert scene.kube.namespace in text, "the list holds something"
    assert leaks(text.encode()) == []


def test_no_password_is_in_any_log(release: Release, scene: Stage) -> None:
    logs = [scene.kube.logs(pod["metadata"]["name"]) for pod in scene.pods("good")]
    logs += [scene.kube.logs(pod["metadata"]["name"]) for pod in scene.pods("refused")]
    logs.append(release.kube.logs(release.operator_pod()["metadata"]["name"]))
    assert all(len(log) > 100 for log in logs)
    assert leaks("\n".join(logs).encode()) == []


def test_no_password_is_in_the_metrics(release: Release, scene: Stage) -> None:
    text = release.metrics()
    assert f'namespace="{scene.kube.namespace}"' in text
    assert leaks(text.encode()) == []


def test_no_password_is_in_the_operators_memory_or_environment(
    release: Release, scene: Stage
) -> None:
    if not operator_processes(release.operator_pod()):
        pytest.fail("needs a cluster whose processes run on this machine: use the local provider")
    for process in operator_processes(release.operator_pod()):
        memory = dump(process)
        assert scene.kube.namespace.encode() in memory, "the dump holds what the operator knows"
        assert leaks(memory) == []
        assert leaks((process / "environ").read_bytes()) == []
        assert leaks((process / "cmdline").read_bytes()) == []


def dump(process: Path) -> bytes:
    """Return all the writable memory of a process."""
    parts = []
    with (process / "mem").open("rb", buffering=0) as memory:
        for line in (process / "maps").read_text().splitlines():
            match = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw", line)
            if match:
                start, end = (int(number, 16) for number in match.groups())
                try:
                    memory.seek(start)
                    parts.append(memory.read(end - start))
                except OSError:  # [vvar] and the like cannot be read
                    continue
    return b"\n".join(parts)


def test_the_operator_pod_passes_restricted_too(release: Release) -> None:
    pod: KubeObject = release.operator_pod()
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
    # The API server warns of running pods that the level would refuse; nothing is changed.
    release.kube.run(
        "label", "--dry-run=server", "--overwrite", "--warnings-as-errors",
        "namespace", release.kube.namespace, "pod-security.kubernetes.io/enforce=restricted",
    )  # fmt: skip

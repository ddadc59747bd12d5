"""What pods of the cluster can rely on: DNS, Services, the API, logs, exec, Jobs, Pod Security."""

from __future__ import annotations

import json
import urllib.request
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster.archive import image_reference, write_image
from tests.cluster.binaries import binary
from tests.cluster.existing import ContextProvider
from tests.cluster.interface import render_status
from tests.cluster.shell import CommandError, run
from tests.support.kube import Kube, KubeObject

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.interface import ClusterProvider

pytestmark = pytest.mark.cluster

# What Pod Security calls "restricted".
_CONTAINER_SECURITY = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
_POD_SECURITY = {
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "seccompProfile": {"type": "RuntimeDefault"},
}


@pytest.fixture(scope="module")
def image(cluster: ClusterProvider, tmp_path_factory: pytest.TempPathFactory) -> str:
    program = binary("podcheck").read_bytes()
    archive = tmp_path_factory.mktemp("image") / "podcheck.tar"
    write_image(archive, image_reference("podcheck", program), program, command="/podcheck")
    return cluster.load(str(archive))


@pytest.fixture(scope="module")
def namespace(cluster: ClusterProvider) -> Iterator[Kube]:
    """Make a namespace of this run that refuses any pod that is not "restricted"."""
    here = Kube.of(cluster, f"tooling-{uuid.uuid4().hex[:8]}")
    here.fresh()
    yield here
    here.delete("namespace", here.namespace)


def existing(namespace: Kube, kind: str, name: str) -> KubeObject:
    found = namespace.get(kind, name)
    assert found is not None, f"there is no {kind}/{name}"
    return found


def pod_spec(image: str, *arguments: str, secure: bool = True) -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": "main",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": list(arguments),
    }
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
    }
    if secure:
        container["securityContext"] = _CONTAINER_SECURITY
        spec["securityContext"] = _POD_SECURITY
    return spec


def pod(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": name, "labels": {"app": name}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def job(name: str, spec: dict[str, Any], **settings: object) -> dict[str, Any]:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"template": {"spec": spec}, **settings},
    }


@pytest.fixture(scope="module")
def server(namespace: Kube, image: str) -> str:
    """Name of a pod and of the Service in front of it."""
    ports = [{"port": 80, "targetPort": 8080}]
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "server"},
        "spec": {"selector": {"app": "server"}, "ports": ports},
    }
    namespace.apply(pod("server", pod_spec(image, "serve")), service)
    namespace.run("wait", "--for=condition=Ready", "pod/server", "--timeout=60s")
    return "server"


def test_every_component_is_healthy(cluster: ClusterProvider) -> None:
    components = cluster.status()
    assert components
    assert all(component.healthy for component in components), render_status(components)


def test_a_pod_reaches_dns_a_service_and_the_api(namespace: Kube, image: str, server: str) -> None:
    name = f"{server}.{namespace.namespace}.svc.cluster.local"
    namespace.apply(job("check", pod_spec(image, "check", name, f"http://{name}"), backoffLimit=0))
    namespace.run(
        "wait", "--for=jsonpath={.status.conditions[*].type}", "job/check", "--timeout=60s"
    )
    found = json.loads(namespace.run("logs", "job/check"))
    assert found["dns"] == existing(namespace, "service", "server")["spec"]["clusterIP"]
    assert found["service"] == "server"
    assert found["api"].startswith("v1.")
    assert existing(namespace, "job", "check")["status"].get("succeeded") == 1


def test_exec_runs_in_the_pod(namespace: Kube, server: str) -> None:
    # The program's usage error is what only the program itself can answer.
    with pytest.raises(CommandError) as failure:
        namespace.run("exec", server, "--", "/podcheck")
    assert failure.value.returncode == 64
    assert "usage: podcheck" in failure.value.output


def test_a_port_is_forwarded(namespace: Kube, server: str) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with (
        namespace.port_forward(f"pod/{server}", 8080) as port,
        opener.open(f"http://127.0.0.1:{port}", timeout=30) as response,
    ):
        assert response.read() == b"server\n"


def test_a_pod_that_is_not_restricted_is_refused(namespace: Kube, image: str) -> None:
    with pytest.raises(CommandError, match="violates PodSecurity"):
        namespace.apply(pod("careless", pod_spec(image, "serve", secure=False)))


def test_a_failure_policy_ends_a_job_at_its_exit_code(namespace: Kube, image: str) -> None:
    on_exit = {"containerName": "main", "operator": "In", "values": [64]}
    policy = {"rules": [{"action": "FailJob", "onExitCodes": on_exit}]}
    namespace.apply(
        job("refused", pod_spec(image, "nonsense"), backoffLimit=5, podFailurePolicy=policy)
    )
    namespace.run("wait", "--for=condition=Failed", "job/refused", "--timeout=60s")
    status = existing(namespace, "job", "refused")["status"]
    failed = next(each for each in status["conditions"] if each["type"] == "Failed")
    assert failed["reason"] == "PodFailurePolicy"
    assert status["failed"] == 1


def test_a_finished_job_is_removed_after_its_time(namespace: Kube, image: str) -> None:
    namespace.apply(
        job("brief", pod_spec(image, "nonsense"), backoffLimit=0, ttlSecondsAfterFinished=1)
    )
    namespace.run("wait", "--for=delete", "job/brief", "--timeout=60s")


def test_events_are_told(namespace: Kube, server: str) -> None:
    reasons = {event["reason"] for event in namespace.all_of("events")}
    assert {"Scheduled", "Started"} <= reasons, f"events of {server}: {reasons}"


def test_a_second_up_changes_nothing(cluster: ClusterProvider) -> None:
    before = cluster.status()
    cluster.up()
    assert cluster.status() == before


def test_the_cluster_serves_as_an_existing_context(
    cluster: ClusterProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig()))
    current = run([cluster.tools().kubectl, "config", "current-context"]).stdout.strip()
    existing = ContextProvider(current)
    existing.up()
    assert existing.status()[0].name == "API server"
    assert all(component.healthy for component in existing.status())
    copy = existing.kubeconfig()
    existing.down()
    assert not copy.exists()
    assert all(component.healthy for component in cluster.status())

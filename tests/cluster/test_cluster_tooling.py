"""What pods of the cluster can rely on: DNS, Services, the API, logs, exec, Jobs, Pod Security."""

from __future__ import annotations

import json
import socket
import subprocess
import urllib.request
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster.archive import image_reference, write_image
from tests.cluster.binaries import binary
from tests.cluster.existing import ContextProvider
from tests.cluster.interface import render_status
from tests.cluster.processes import wait_until
from tests.cluster.shell import CommandError, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

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


class Namespace:
    """kubectl within one namespace."""

    def __init__(self, cluster: ClusterProvider, name: str) -> None:
        self.name = name
        self.kubectl = [str(cluster.tools().kubectl), "--kubeconfig", str(cluster.kubeconfig())]

    def run(self, *arguments: str, stdin: str | None = None) -> str:
        command = [*self.kubectl, "--namespace", self.name, *arguments]
        return run(command, stdin=stdin, timeout=120).stdout

    def apply(self, *objects: dict[str, Any]) -> None:
        document = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.run("apply", "-f", "-", stdin=json.dumps(document))

    def get(self, what: str) -> Any:
        return json.loads(self.run("get", what, "--output=json"))


@pytest.fixture(scope="module")
def image(cluster: ClusterProvider, tmp_path_factory: pytest.TempPathFactory) -> str:
    program = binary("podcheck").read_bytes()
    archive = tmp_path_factory.mktemp("image") / "podcheck.tar"
    write_image(archive, image_reference("podcheck", program), program, command="/podcheck")
    return cluster.load(str(archive))


@pytest.fixture(scope="module")
def namespace(cluster: ClusterProvider) -> Iterator[Namespace]:
    """Make a namespace for this run that refuses any pod that is not "restricted"."""
    here = Namespace(cluster, f"tooling-{uuid.uuid4().hex[:8]}")
    here.run("create", "namespace", here.name)
    here.run("label", "namespace", here.name, "pod-security.kubernetes.io/enforce=restricted")
    found = wait_until(
        lambda: "default" in here.run("get", "serviceaccounts", "--output=name"), timeout=30
    )
    assert found, "the namespace got no service account"
    yield here
    here.run("delete", "namespace", here.name, "--wait=true", "--timeout=60s")


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
def server(namespace: Namespace, image: str) -> str:
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


def test_a_pod_reaches_dns_a_service_and_the_api(
    namespace: Namespace, image: str, server: str
) -> None:
    name = f"{server}.{namespace.name}.svc.cluster.local"
    namespace.apply(job("check", pod_spec(image, "check", name, f"http://{name}"), backoffLimit=0))
    namespace.run(
        "wait", "--for=jsonpath={.status.conditions[*].type}", "job/check", "--timeout=60s"
    )
    found = json.loads(namespace.run("logs", "job/check"))
    assert found["dns"] == namespace.get("service/server")["spec"]["clusterIP"]
    assert found["service"] == "server"
    assert found["api"].startswith("v1.")
    assert namespace.get("job/check")["status"].get("succeeded") == 1


def test_exec_runs_in_the_pod(namespace: Namespace, server: str) -> None:
    # The program's usage error is what only the program itself can answer.
    with pytest.raises(CommandError) as failure:
        namespace.run("exec", server, "--", "/podcheck")
    assert failure.value.returncode == 64
    assert "usage: podcheck" in failure.value.output


def test_a_port_is_forwarded(namespace: Namespace, server: str, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [*namespace.kubectl, "--namespace", namespace.name, "port-forward"]
    with (tmp_path / "log").open("w") as log:
        forward = subprocess.Popen([*command, f"pod/{server}", f"{port}:8080"], stdout=log)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    body = ""

    def answered() -> bool:
        nonlocal body
        try:
            with opener.open(f"http://127.0.0.1:{port}", timeout=5) as response:
                body = response.read().decode()
        except OSError:
            return False
        return True

    try:
        assert wait_until(answered, timeout=30), (tmp_path / "log").read_text()
    finally:
        forward.terminate()
        forward.wait(timeout=10)
    assert body == "server\n"


def test_a_pod_that_is_not_restricted_is_refused(namespace: Namespace, image: str) -> None:
    with pytest.raises(CommandError, match="violates PodSecurity"):
        namespace.apply(pod("careless", pod_spec(image, "serve", secure=False)))


def test_a_failure_policy_ends_a_job_at_its_exit_code(namespace: Namespace, image: str) -> None:
    on_exit = {"containerName": "main", "operator": "In", "values": [64]}
    policy = {"rules": [{"action": "FailJob", "onExitCodes": on_exit}]}
    namespace.apply(
        job("refused", pod_spec(image, "nonsense"), backoffLimit=5, podFailurePolicy=policy)
    )
    namespace.run("wait", "--for=condition=Failed", "job/refused", "--timeout=60s")
    status = namespace.get("job/refused")["status"]
    failed = next(each for each in status["conditions"] if each["type"] == "Failed")
    assert failed["reason"] == "PodFailurePolicy"
    assert status["failed"] == 1


def test_a_finished_job_is_removed_after_its_time(namespace: Namespace, image: str) -> None:
    namespace.apply(
        job("brief", pod_spec(image, "nonsense"), backoffLimit=0, ttlSecondsAfterFinished=1)
    )
    namespace.run("wait", "--for=delete", "job/brief", "--timeout=60s")


def test_events_are_told(namespace: Namespace, server: str) -> None:
    reasons = {event["reason"] for event in namespace.get("events")["items"]}
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

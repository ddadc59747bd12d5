"""The chart's NetworkPolicy on a real API server, and what it keeps from an engine's pod.

Whether anything is kept is the network plugin's doing, so that is found out first.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.interface import ClusterProvider
from tests.cluster.shell import run
from tests.support.dovecot_pod import IMAP_PORT, IMAPS_PORT
from tests.support.release import Release
from tests.support.stage import USER, Stage, stage

pytestmark = pytest.mark.cluster

_CHART = Path(__file__).parents[2] / "charts" / "mailsync"
_TRY = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)"


@pytest.fixture(scope="module")
def scene(release: Release) -> Iterator[Stage]:
    with stage(release) as scene:
        yield scene


@pytest.fixture(scope="module")
def enforced(scene: Stage, release: Release) -> bool:
    """Return whether a pod that may connect to nothing is kept from it."""
    selector = {"podSelector": {"matchLabels": {"may": "nothing"}}, "policyTypes": ["Egress"]}
    scene.kube.apply(_object("networking.k8s.io/v1", "NetworkPolicy", "nothing", spec=selector))
    server = scene.kube.get("pod", scene.source.pod.name)
    assert server is not None
    container = {
        "name": "try",
        "image": release.images["mailsync-syncjob"],
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-c", _TRY, server["status"]["podIP"], str(IMAPS_PORT)],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    spec = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    pod = _object("v1", "Pod", "nothing", spec=spec)
    pod["metadata"]["labels"] = {"may": "nothing"}
    scene.kube.apply(pod)
    ended = scene.kube.wait(
        "pod", "nothing", lambda obj: obj["status"]["phase"] in {"Succeeded", "Failed"}, what="over"
    )
    return bool(ended["status"]["phase"] == "Failed")


def _object(version: str, kind: str, name: str, **fields: Any) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, **fields}


def test_an_engine_reaches_the_ports_of_the_policy_and_no_others(
    scene: Stage, cluster: ClusterProvider, *, enforced: bool
) -> None:
    # It is the pods' ports that count: 993 is only the Service's.
    settings = [
        "networkPolicy.enabled=true",
        f"networkPolicy.namespaces={{{scene.kube.namespace}}}",
        f"networkPolicy.ports={{{IMAPS_PORT}}}",
    ]
    words = [word for setting in settings for word in ("--set", setting)]
    helm = [cluster.tools().helm, "template", "mailsync", _CHART, *words]
    shown = ["--show-only", "templates/networkpolicy.yaml"]
    [policy] = [each for each in yaml.safe_load_all(run([*helm, *shown]).stdout) if each]
    scene.kube.apply(policy)

    scene.sync("allowed", destination=scene.destination.account(USER))
    scene.sync("elsewhere", source=scene.source.account(USER, mode="StartTLS"), retry=_ONCE)
    assert IMAP_PORT != IMAPS_PORT
    scene.wait_reason("allowed", "Completed", seconds=180)
    wanted = ("BackingOff", "Unreachable") if enforced else ("Completed",)
    scene.wait_reason("elsewhere", *wanted, seconds=240)


_ONCE = {"backoffLimit": 0, "maxConsecutiveFailures": 1}

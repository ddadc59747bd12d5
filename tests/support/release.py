"""The product on a cluster: its images loaded, its chart installed, its operator ready."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


from tests.cluster.interface import ClusterProvider
from tests.cluster.shell import run
from tests.images.build import build, load
from tests.support.kube import Kube, KubeObject

__all__ = ["Release", "install"]

_CHART = Path(__file__).parents[2] / "charts" / "mailsync"
_OPERATOR = "app.kubernetes.io/component=operator"


@dataclass(frozen=True, slots=True)
class Release:
    """An installed release.

    Attributes
    ----------
    kube
        The operator's namespace.
    images
        The references of our images by their names.
    """

    kube: Kube
    name: str
    images: Mapping[str, str]

    @property
    def account(self) -> str:
        """The operator's ServiceAccount, as the API server knows it."""
        return f"system:serviceaccount:{self.kube.namespace}:{self.name}"

    def operator_pod(self) -> KubeObject:
        """Return the operator's pod once exactly one is there and ready."""

        def ready() -> list[KubeObject]:
            pods = self.kube.all_of("pods", _OPERATOR)
            statuses = [each.get("status", {}).get("containerStatuses", []) for each in pods]
            if len(pods) == 1 and statuses[0] and statuses[0][0]["ready"]:
                return pods
            return []

        self.kube.until(lambda: bool(ready()), what="one ready operator pod", seconds=90)
        return ready()[0]

    def metrics(self) -> str:
        """Return what /metrics of the operator says."""
        pod = self.operator_pod()["metadata"]["name"]
        return self.kube.raw(
            f"/api/v1/namespaces/{self.kube.namespace}/pods/{pod}:8080/proxy/metrics"
        )


def install(cluster: ClusterProvider, *, namespace: str = "mailsync-system") -> Release:
    """Install or upgrade the release of this checkout, and wait until the operator is ready.

    Raises
    ------
    CommandError
        helm refused or the operator did not become ready; the message has helm's words.
    """
    images = load(build(), cluster)
    name = "mailsync"
    command: list[str | Path] = [
        cluster.tools().helm, "upgrade", "--install", name, _CHART,
        f"--kubeconfig={cluster.kubeconfig()}", f"--namespace={namespace}", "--create-namespace",
        "--wait", "--timeout=120s",
    ]  # fmt: skip
    for part in ("operator", "syncjob"):
        repository, tag = images[f"mailsync-{part}"].rsplit(":", 1)
        command.append(f"--set-string=image.{part}.repository={repository},image.{part}.tag={tag}")
    run(command, timeout=180)
    return Release(Kube.of(cluster, namespace), name, images)

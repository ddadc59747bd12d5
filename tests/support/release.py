"""The product on a cluster: its images loaded, its chart installed, its operator ready."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.cluster.shell import CommandError, ToolingError, run
from tests.images.build import build, load
from tests.support.builders import merged
from tests.support.kube import Kube, KubeObject

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.cluster.interface import ClusterProvider

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

    def helm(self, cluster: ClusterProvider, *arguments: str | Path, stdin: str = "") -> str:
        """Run helm in the release's namespace; returns its standard output."""
        where = [f"--kubeconfig={self.kube.kubeconfig}", f"--namespace={self.kube.namespace}"]
        return run([cluster.tools().helm, *arguments, *where], stdin=stdin, timeout=180).stdout

    def log(self, *, tail: int = -1) -> str:
        """Return the operator's log."""
        return self.kube.logs(f"deployment/{self.name}", tail=tail)


def install(
    cluster: ClusterProvider,
    *,
    namespace: str = "mailsync-system",
    images: Mapping[str, str] | None = None,
    values: Mapping[str, Any] | None = None,
) -> Release:
    """Install or upgrade the release of this checkout, and wait until the operator is ready.

    Parameters
    ----------
    images
        References as `tests.images.build.load` returns them; built and loaded here if not given.
    values
        Values of the chart beside the images.

    Raises
    ------
    ToolingError
        helm refused or the operator did not become ready; the message has helm's words, and the
        events and the end of the log of the operator's pod.
    """
    images = images or load(build(), cluster)
    release = Release(Kube.of(cluster, namespace), "mailsync", images)
    release.kube.ensure()
    chosen = {part: _image(images[f"mailsync-{part}"]) for part in ("operator", "syncjob")}
    text = json.dumps(merged({"image": chosen}, dict(values or {})))
    command: list[str | Path] = ["upgrade", "--install", release.name, _CHART, "--values=-"]
    try:
        release.helm(cluster, *command, "--wait", "--timeout=120s", stdin=text)
    except CommandError as error:
        raise ToolingError(f"{error}\n{_how_it_is(release.kube)}") from error
    return release


def _image(reference: str) -> dict[str, str]:
    repository, _, tag = reference.rpartition(":")
    return {"repository": repository, "tag": tag}


def _how_it_is(kube: Kube) -> str:
    """Say how the operator's pods are: their events and the ends of their logs."""
    lines = []
    for pod in kube.all_of("pods", _OPERATOR):
        name = pod["metadata"]["name"]
        lines.append(f"pod {name}:")
        lines += [f"{each['reason']}: {each['message']}" for each in kube.events("Pod", name)]
        for which in ((), ("--previous",)):
            lines += kube.run("logs", name, "--tail=20", *which, check=False).splitlines()
    return "\n".join(lines) or f"there is no pod of the operator in namespace {kube.namespace}"

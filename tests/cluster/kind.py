"""A cluster in Docker, by kind (https://kind.sigs.k8s.io)."""

from __future__ import annotations

from pathlib import Path

from tests.cluster.cache import cache_root, locked
from tests.cluster.existing import api_components, installed_tools
from tests.cluster.images import exported, find_image
from tests.cluster.interface import Component, Tools
from tests.cluster.shell import run, say, step

__all__ = ["KindProvider"]


class KindProvider:
    """The cluster ``mailsync`` of kind; needs a running Docker and the program ``kind``."""

    name = "kind"

    def __init__(self, cluster: str = "mailsync") -> None:
        self._cluster = cluster

    def up(self) -> None:
        """See `ClusterProvider.up`."""
        with locked("kind"):
            if self._exists():
                run(["kind", "export", "kubeconfig", *self._arguments()])
            else:
                self.kubeconfig().parent.mkdir(parents=True, exist_ok=True)
                with step("kind cluster (fetches its node image the first time)"):
                    run(["kind", "create", "cluster", "--wait=180s", *self._arguments()])
        say(f"The kind cluster is up: {self.kubeconfig()}")

    def down(self) -> None:
        """See `ClusterProvider.down`."""
        with locked("kind"):
            if self._exists():
                run(["kind", "delete", "cluster", *self._arguments()])
            self.kubeconfig().unlink(missing_ok=True)

    def status(self) -> list[Component]:
        """See `ClusterProvider.status`."""
        if not self._exists() or not self.kubeconfig().exists():
            return []
        return api_components(self.tools().kubectl, self.kubeconfig())

    def load(self, image: str) -> str:
        """See `ClusterProvider.load`."""
        source = image if Path(image).is_file() else find_image(image)
        with exported(source) as (archive, names):
            run(["kind", "load", "image-archive", archive, "--name", self._cluster])
        return names[0]

    def kubeconfig(self) -> Path:
        """See `ClusterProvider.kubeconfig`; the user's own file is left alone."""
        return cache_root() / "kind" / "kubeconfig"

    def tools(self) -> Tools:
        """See `ClusterProvider.tools`."""
        return installed_tools()

    def _arguments(self) -> list[str]:
        return ["--name", self._cluster, "--kubeconfig", str(self.kubeconfig())]

    def _exists(self) -> bool:
        return self._cluster in run(["kind", "get", "clusters"]).stdout.split()

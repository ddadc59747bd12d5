"""A cluster that is there already, named by a context of the user's kubeconfig."""

from __future__ import annotations

import functools
import json
import shutil
from pathlib import Path
from typing import Any

from tests.cluster.binaries import binary
from tests.cluster.cache import cache_root
from tests.cluster.images import push
from tests.cluster.interface import Component, Tools
from tests.cluster.shell import ToolingError, run, say

__all__ = ["ContextProvider", "api_components", "installed_tools", "node_components"]


class ContextProvider:
    """An existing cluster; nothing of it is made or removed.

    Parameters
    ----------
    context
        Name of the context, from ``$KUBECONFIG`` or ``~/.kube/config``.
    registry
        Where images are pushed to so that the cluster's nodes can pull them, such as
        ``registry.example.org/mailsync``; needed by `load` only.
    """

    name = "context"

    def __init__(self, context: str, registry: str = "") -> None:
        if not context:
            raise ToolingError("the provider `context` needs CONTEXT=NAME of your kubeconfig")
        self._context = context
        self._registry = registry

    def up(self) -> None:
        """See `ClusterProvider.up`: checks that the cluster answers."""
        unhealthy = [each.name for each in self.status() if not each.healthy]
        if unhealthy:
            raise ToolingError(f"context {self._context}: not healthy: {', '.join(unhealthy)}")
        say(f"The cluster of context {self._context} answers: {self.kubeconfig()}")

    def down(self) -> None:
        """See `ClusterProvider.down`: forgets the copy of the kubeconfig, no more."""
        self._copy().unlink(missing_ok=True)
        say(f"The cluster of context {self._context} is yours and stays as it is.")

    def status(self) -> list[Component]:
        """See `ClusterProvider.status`."""
        return api_components(self.tools().kubectl, self.kubeconfig())

    def load(self, image: str) -> str:
        """See `ClusterProvider.load`: pushes to the registry."""
        if not self._registry:
            raise ToolingError("set REGISTRY=HOST/PATH, which the cluster's nodes can pull from")
        return push(image, self._registry)

    def kubeconfig(self) -> Path:
        """See `ClusterProvider.kubeconfig`: a copy with this one context."""
        view = ["config", "view", "--raw", "--minify", "--flatten", f"--context={self._context}"]
        result = run([self.tools().kubectl, *view], check=False)
        if result.returncode != 0:
            raise ToolingError(f"context {self._context}: {result.stderr.strip()}")
        path = self._copy()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(result.stdout, encoding="utf-8")
        return path

    def tools(self) -> Tools:
        """See `ClusterProvider.tools`."""
        return installed_tools()

    def _copy(self) -> Path:
        # A context's name may hold anything, `/` and `:` above all (EKS has both).
        plain = "".join(each if each.isalnum() or each in "-_." else "_" for each in self._context)
        return cache_root() / "context" / f"{plain}.kubeconfig"


def installed_tools() -> Tools:
    """Kubectl and helm from PATH where they are, else the pinned ones, built."""
    return Tools(kubectl=_tool("kubectl"), helm=_tool("helm"))


@functools.cache
def _tool(name: str) -> Path:
    found = shutil.which(name)
    # Helm 3 is another program of the same name; the chart is tested with the pinned one.
    return Path(found) if found and name == "kubectl" else binary(name)


def api_components(kubectl: Path, kubeconfig: Path) -> list[Component]:
    """Ask the API server for its version and its nodes' state."""
    base = [kubectl, "--kubeconfig", kubeconfig, "--request-timeout=10s"]
    version = run([*base, "get", "--raw=/version"], check=False)
    if version.returncode != 0:
        reason = (version.stderr.strip().splitlines() or ["no answer"])[-1]
        return [Component("API server", healthy=False, detail=reason)]
    release = json.loads(version.stdout)["gitVersion"]
    nodes = run([*base, "get", "nodes", "--output=json"], check=False)
    if nodes.returncode != 0:  # an account limited to namespaces may not list them
        return [Component("API server", healthy=True, detail=release)]
    listed = node_components(json.loads(nodes.stdout)["items"])
    return [Component("API server", healthy=True, detail=release), *listed]


def node_components(nodes: list[dict[str, Any]]) -> list[Component]:
    """Render node objects of the API."""
    components = []
    for node in nodes:
        status = node.get("status", {})
        ready = any(
            each["type"] == "Ready" and each["status"] == "True"
            for each in status.get("conditions", [])
        )
        version = status.get("nodeInfo", {}).get("kubeletVersion", "")
        components.append(Component(f"node {node['metadata']['name']}", ready, version))
    return components

"""What every way to get a cluster has in common."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

__all__ = ["ClusterProvider", "Component", "Tools", "render_status"]


@dataclass(frozen=True, slots=True)
class Tools:
    """Command line programs that fit the cluster."""

    kubectl: Path
    helm: Path


@dataclass(frozen=True, slots=True)
class Component:
    """A part of the cluster as ``status`` shows it.

    Attributes
    ----------
    detail
        A process id, a version, or why it is not healthy.
    """

    name: str
    healthy: bool
    detail: str


class ClusterProvider(Protocol):
    """A Kubernetes cluster that tests run on. Every method may be called at any time."""

    @property
    def name(self) -> str:
        """What the user calls it."""

    def up(self) -> None:
        """Make the cluster ready for pods; at once when it is already."""

    def down(self) -> None:
        """Remove everything that `up` made; nothing happens where there is nothing."""

    def status(self) -> list[Component]:
        """List the cluster's parts; empty when it is down."""

    def load(self, image: str) -> str:
        """Bring an image to the nodes and return the name that pods use for it.

        Parameters
        ----------
        image
            Its name in the local builder's storage (buildah, podman or docker), or the path of an
            OCI or docker archive.
        """

    def kubeconfig(self) -> Path:
        """Path of a kubeconfig whose current context is this cluster."""

    def tools(self) -> Tools:
        """Programs to talk to it with."""


def render_status(components: list[Component]) -> str:
    """Render a table for people."""
    if not components:
        return "The cluster is down."
    width = max(len(name) for name in ("COMPONENT", *(each.name for each in components)))
    lines = [f"{'COMPONENT':<{width}}  HEALTHY  DETAIL"]
    for component in components:
        word = "yes" if component.healthy else "no"
        lines.append(f"{component.name:<{width}}  {word:<7}  {component.detail}")
    return "\n".join(lines)

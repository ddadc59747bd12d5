"""The choice among the ways to get a cluster."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from typing import Literal

from tests.cluster.existing import ContextProvider
from tests.cluster.interface import ClusterProvider
from tests.cluster.kind import KindProvider
from tests.cluster.local import LocalProvider
from tests.cluster.shell import ToolingError, run

__all__ = ["PROVIDERS", "Machine", "ProviderName", "choose", "look_at_machine", "provider"]

ProviderName = Literal["local", "kind", "context"]
PROVIDERS: tuple[ProviderName, ...] = ("local", "kind", "context")


@dataclass(frozen=True, slots=True)
class Machine:
    """What the choice of a provider depends on.

    Attributes
    ----------
    context
        The context of a kubeconfig that the user named; empty when none.
    docker_engine
        Whether a Docker engine answers; a client alone is of no use.
    """

    context: str
    docker_engine: bool
    kind: bool
    linux: bool
    root: bool


def choose(machine: Machine) -> ProviderName:
    """Choose: what the user named, else kind where it can work, else this machine itself.

    Raises
    ------
    ToolingError
        None can work here; the message says what each would need.
    """
    if machine.context:
        return "context"
    if machine.kind and machine.docker_engine:
        return "kind"
    if machine.linux and machine.root:
        return "local"
    raise ToolingError(
        "no way to get a cluster: set CONTEXT=NAME for an existing one, or install kind with a"
        " running Docker, or run as root on Linux"
    )


def look_at_machine() -> Machine:
    """Find out what there is. Docker is asked only where kind is installed."""
    kind = shutil.which("kind") is not None
    docker = kind and shutil.which("docker") is not None
    return Machine(
        context=os.environ.get("CONTEXT", ""),
        docker_engine=docker and run(["docker", "info"], check=False, timeout=30).returncode == 0,
        kind=kind,
        linux=sys.platform == "linux",
        root=os.geteuid() == 0,
    )


def provider(name: ProviderName | Literal["auto"] = "auto") -> ClusterProvider:
    """Make the provider of that name; ``auto`` chooses one for this machine.

    Raises
    ------
    ToolingError
        ``auto`` and none can work here, or ``context`` without ``CONTEXT``.
    """
    chosen = choose(look_at_machine()) if name == "auto" else name
    if chosen == "local":
        return LocalProvider()
    if chosen == "kind":
        return KindProvider()
    return ContextProvider(os.environ.get("CONTEXT", ""), os.environ.get("REGISTRY", ""))

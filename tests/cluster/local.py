"""A single-node cluster on this machine: the provider for Linux and root without Docker."""

from __future__ import annotations

import dataclasses
import functools
import os
import shutil
import sys
from pathlib import Path

from tests.cluster.archive import archive_names
from tests.cluster.binaries import binaries
from tests.cluster.bringup import (
    CONTAINERD_NAMESPACE,
    SEARCH_PATH,
    bring_up,
    import_archive,
)
from tests.cluster.cache import cache_root, locked
from tests.cluster.commands import PROGRAMS
from tests.cluster.health import dns_ready, healthy, node_ready
from tests.cluster.images import exported, find_image
from tests.cluster.interface import Component, Tools
from tests.cluster.layout import CNI_PLUGINS, Layout
from tests.cluster.packages import ensure
from tests.cluster.processes import alive
from tests.cluster.record import Record, read_record
from tests.cluster.shell import ToolingError, run, say, step
from tests.cluster.takedown import take_down

__all__ = ["LocalProvider"]

# What is used of each Debian package. One that is there already, from wherever, is good enough:
# the user may have Docker's packages of the same programs, which exclude Debian's.
_PACKAGES = {
    "containerd": ("containerd", "containerd-shim-runc-v2", "ctr"),
    "containernetworking-plugins": (f"{CNI_PLUGINS}/bridge", f"{CNI_PLUGINS}/host-local"),
    "etcd-server": ("etcd",),
    "iproute2": ("ip",),
    "nftables": ("nft",),
    "runc": ("runc",),
}
_FOUND = ("etcd", "containerd")
_BUILT = tuple(name for name in PROGRAMS if name not in _FOUND)


class LocalProvider:
    """The cluster of this machine; there is one at a time, whichever cache folder it uses."""

    name = "local"

    def __init__(self, layout: Layout | None = None) -> None:
        self._own = layout or Layout(state=cache_root() / "cluster")

    def up(self) -> None:
        """See `ClusterProvider.up`; a cluster that is not whole is taken down and made anew."""
        _check_user()
        _install_packages()
        paths = binaries([*_BUILT, "kubectl", "helm", "coredns", "pause"])
        paths |= {name: Path(shutil.which(name, path=SEARCH_PATH) or name) for name in _FOUND}
        with locked("cluster"):
            components = self.status()
            if components and all(component.healthy for component in components):
                say(f"The local cluster is up: {self.kubeconfig()}")
                return
            self._take_down()
            with step("local cluster"):
                bring_up(self._own, paths)
            say(f"The local cluster is up: {self.kubeconfig()}")

    def down(self) -> None:
        """See `ClusterProvider.down`."""
        _check_user()
        with locked("cluster"):
            if not self._take_down():
                say("The local cluster is down already.")

    def status(self) -> list[Component]:
        """See `ClusterProvider.status`: one line for each program, then the node and DNS."""
        _check_user()
        record = read_record(self._own)
        if record is None:
            return []
        layout = self._layout()
        components = [_component(name, record, layout) for name in PROGRAMS]
        # The API server is asked for these, and there is no use in asking one that is not there.
        answers = components[PROGRAMS.index("kube-apiserver")].healthy
        ready = answers and node_ready(layout)
        named = answers and dns_ready(layout)
        return [
            *components,
            Component("node", ready, "Ready" if ready else "not Ready"),
            Component("DNS", named, "available" if named else "not available"),
        ]

    def load(self, image: str) -> str:
        """See `ClusterProvider.load`; an image that the node has already is not sent again."""
        layout = self._layout()
        if not read_record(self._own):
            raise ToolingError("the local cluster is down; bring it up before loading images")
        source = image if Path(image).is_file() else find_image(image)
        if isinstance(source, str):
            reference, identity = archive_names(Path(source))[0], _stamp(Path(source))
        else:
            reference, identity = source.reference, source.identity
        # The note is next to containerd's own storage, so both go at the same time.
        note = layout.state / "loaded" / reference.replace("/", "_")
        known = note.read_text(encoding="utf-8") if note.exists() else ""
        if known == identity and _has(layout, reference):
            return reference
        with step(f"loading {reference} into the node"), exported(source) as (archive, _):
            import_archive(layout, archive)
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(identity, encoding="utf-8")
        return reference

    def kubeconfig(self) -> Path:
        """See `ClusterProvider.kubeconfig`."""
        return self._layout().kubeconfig

    def tools(self) -> Tools:
        """See `ClusterProvider.tools`: those that are built with the cluster."""
        paths = _tool_paths()
        return Tools(kubectl=paths["kubectl"], helm=paths["helm"])

    def _layout(self) -> Layout:
        """Layout of the running cluster, which another cache folder may hold."""
        record = read_record(self._own)
        return dataclasses.replace(self._own, state=record.state) if record else self._own

    def _take_down(self) -> bool:
        record = read_record(self._own)
        if record is None and not self._own.runtime.exists():
            # After a reboot only files of the last run are left.
            shutil.rmtree(self._own.state, ignore_errors=True)
            return False
        with step("taking the local cluster down"):
            take_down(self._own, record or Record(state=self._own.state))
        return True


@functools.cache
def _tool_paths() -> dict[str, Path]:
    return binaries(["kubectl", "helm"])


def _component(name: str, record: Record, layout: Layout) -> Component:
    daemon = record.daemon(name)
    if daemon is None:
        return Component(name, healthy=False, detail="not started")
    if not alive(daemon):
        return Component(name, healthy=False, detail=f"process {daemon.pid} ended")
    return Component(name, healthy(name, layout), f"process {daemon.pid}")


def _stamp(archive: Path) -> str:
    """Tell one version of a file from the next without reading it: images are large."""
    status = archive.stat()
    return f"{archive.absolute()} {status.st_size} {status.st_mtime_ns}"


def _install_packages() -> None:
    """Install the packages of the programs that are not on this machine."""
    missing = {
        package: [name for name in names if shutil.which(name, path=SEARCH_PATH) is None]
        for package, names in _PACKAGES.items()
    }
    ensure(*(package for package, names in missing.items() if names))


def _has(layout: Layout, reference: str) -> bool:
    ctr = ["ctr", "--address", layout.containerd_socket, "--namespace", CONTAINERD_NAMESPACE]
    return bool(run([*ctr, "images", "list", "--quiet", f"name=={reference}"]).stdout.strip())


def _check_user() -> None:
    if sys.platform != "linux":
        raise ToolingError("the local cluster needs Linux; use kind, or CONTEXT=NAME")
    if os.geteuid() != 0:
        raise ToolingError("the local cluster needs root; use kind, or CONTEXT=NAME")

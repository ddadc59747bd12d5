"""Bringing the local cluster up: files, processes, then what runs inside of it."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path

from tests.cluster import config
from tests.cluster.archive import image_reference, write_image
from tests.cluster.cgroups import make_groups
from tests.cluster.commands import CONTROL_PLANE, NODE_PROGRAMS, STORE, command_lines
from tests.cluster.health import healthy, node_ready
from tests.cluster.host import (
    FOREIGN_FOLDERS,
    MARKER,
    bridged_packets_filtered,
    busy_ports,
    filesystem_of,
    make_network,
    overlapping,
    read_settings,
)
from tests.cluster.layout import GATEWAY, LOCALHOST, NODE, PORTS, SERVICE_GATEWAY, Layout
from tests.cluster.manifests import dns_objects
from tests.cluster.pki import Authority, write_signing_key
from tests.cluster.processes import alive, start, wait_until
from tests.cluster.record import Record, write_record
from tests.cluster.shell import ToolingError, run, step

__all__ = ["CONTAINERD_NAMESPACE", "SEARCH_PATH", "bring_up", "import_archive"]

CONTAINERD_NAMESPACE = "k8s.io"
"""Where containerd keeps what belongs to Kubernetes."""

SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where programs that are not built here are found."""

_PATIENCE = 120.0  # seconds for any one thing to get ready, on a busy machine too


def bring_up(layout: Layout, paths: dict[str, Path]) -> None:
    """Start everything, from nothing running to pods with DNS.

    Parameters
    ----------
    paths
        Every program by name: the cluster's own, and ``kubectl``, ``coredns`` and ``pause``.
    """
    _check_machine()
    record = Record(
        state=layout.state,
        settings=read_settings(),
        absent=tuple(name for name in FOREIGN_FOLDERS if not Path(name).exists()),
    )
    # Written before the first change: whatever breaks from here on can be put back.
    write_record(layout, record)
    with step("certificates and configuration"):
        images = _write_images(layout, paths)
        _write_certificates(layout)
        _write_configuration(layout, pause_image=images["pause"])
    with step("network and control groups"):
        make_network()
        make_groups()
    commands = command_lines(layout, paths)
    for names in ((*STORE, "containerd", "kube-apiserver"), CONTROL_PLANE, NODE_PROGRAMS):
        new = [name for name in names if record.daemon(name) is None]
        with step(f"starting {', '.join(new)}"):
            for name in new:
                record = _started(layout, record, name, commands[name])
            for name in new:
                _await(layout, record, name, lambda name=name: healthy(name, layout))  # type: ignore[misc] # a loop variable bound early
            if "containerd" in new:
                for archive in sorted((layout.state / "images").iterdir()):
                    import_archive(layout, archive)
    kubectl = paths["kubectl"]
    with step("waiting for the node"):
        _await(layout, record, "kubelet", lambda: node_ready(layout))
    with step("cluster DNS"):
        _start_dns(layout, kubectl, images["coredns"])


def import_archive(layout: Layout, archive: Path) -> None:
    """Give the node the images of an archive."""
    run(
        [
            "ctr", "--address", layout.containerd_socket, "--namespace", CONTAINERD_NAMESPACE,
            "images", "import", archive,
        ]
    )  # fmt: skip


def _check_machine() -> None:
    routes = json.loads(run(["ip", "-json", "route"]).stdout or "[]")
    if taken := overlapping(routes):
        raise ToolingError(f"the pods' network is in use here already: {', '.join(taken)}")
    if busy := busy_ports(dataclasses.astuple(PORTS)):
        raise ToolingError(f"TCP ports of the local cluster are in use: {busy}")
    tables = run(["nft", "list", "tables"]).stdout
    if "kube-proxy" in tables:
        raise ToolingError("another kube-proxy has its rules on this machine (nft list tables)")


def _write_images(layout: Layout, paths: dict[str, Path]) -> dict[str, str]:
    references = {}
    for name in ("pause", "coredns"):
        program = paths[name].read_bytes()
        references[name] = image_reference(name, program)
        archive = layout.state / "images" / f"{name}.tar"
        write_image(archive, references[name], program, command=f"/{name}")
    return references


def _write_certificates(layout: Layout) -> None:
    ca = Authority.create(layout.pki, "ca")
    names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc"]
    ca.issue(
        "apiserver",
        "kube-apiserver",
        names=[*names, "kubernetes.default.svc.cluster.local", "localhost"],
        addresses=[SERVICE_GATEWAY, GATEWAY, LOCALHOST],
    )
    ca.issue("apiserver-kubelet", "kube-apiserver-kubelet-client", organization="system:masters")
    ca.issue("kubelet-server", NODE, names=[NODE], addresses=[GATEWAY])
    ca.issue("loopback", "loopback", names=["localhost"], addresses=[LOCALHOST])
    write_signing_key(layout.pki / "service-account.key")
    # An authority of its own: a certificate of the cluster's must not open the store.
    store = Authority.create(layout.pki / "etcd", "etcd-ca")
    store.issue("etcd", "etcd", names=["localhost"], addresses=[LOCALHOST])
    store.issue("apiserver-etcd", "kube-apiserver")
    users = {
        "admin": ("mailsync-admin", "system:masters"),
        "controller-manager": ("system:kube-controller-manager", ""),
        "scheduler": ("system:kube-scheduler", ""),
        "kube-proxy": ("system:kube-proxy", ""),
        "kubelet": (f"system:node:{NODE}", "system:nodes"),
    }
    for name, (user, group) in users.items():
        pair = ca.issue(name, user, organization=group)
        document = config.kubeconfig(
            server=layout.api_url,
            authority=ca.pair.certificate.read_bytes(),
            certificate=pair.certificate.read_bytes(),
            key=pair.key.read_bytes(),
        )
        target = layout.configuration / f"{name}.kubeconfig"
        _write(layout.kubeconfig if name == "admin" else target, json.dumps(document))


def _write_configuration(layout: Layout, *, pause_image: str) -> None:
    documents = {
        # JSON is YAML.
        "kubelet.yaml": config.kubelet_config(layout),
        "scheduler.yaml": config.scheduler_config(layout),
        "kube-proxy.yaml": config.kube_proxy_config(
            layout, masquerade_all=not bridged_packets_filtered()
        ),
        "cni/10-mailsync.conflist": config.cni_network(layout),
    }
    for name, document in documents.items():
        _write(layout.configuration / name, json.dumps(document, indent=1))
    snapshotter = config.snapshotter_for(filesystem_of(layout.state))
    text = config.containerd_config(layout, pause_image=pause_image, snapshotter=snapshotter)
    _write(layout.configuration / "containerd.toml", text)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")


def _started(layout: Layout, record: Record, name: str, command: list[str]) -> Record:
    environment = {
        MARKER: str(layout.runtime),
        # Nothing of the user's environment, above all no proxy, reaches the cluster.
        "PATH": SEARCH_PATH,
        "HOME": str(layout.state),
    }
    # Older releases of etcd start on other machines than amd64 only when they are told to.
    environment["ETCD_UNSUPPORTED_ARCH"] = {"aarch64": "arm64"}.get(os.uname().machine, "")
    environment = {key: value for key, value in environment.items() if value}
    log = layout.logs / f"{name}.log"
    record = record.started(start(name, command, log=log, environment=environment))
    write_record(layout, record)
    return record


def _await(layout: Layout, record: Record, name: str, condition: Callable[[], bool]) -> None:
    """Wait for a program to do its work; its last words are the error when it does not."""
    daemon = record.daemon(name)

    def settled() -> bool:
        return condition() or daemon is None or not alive(daemon)

    if wait_until(settled, timeout=_PATIENCE, interval=0.1) and condition():
        return
    log = layout.logs / f"{name}.log"
    last = log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:]
    told = "\n    ".join(last)
    state = "ended" if daemon and not alive(daemon) else f"is not ready after {_PATIENCE:.0f} s"
    raise ToolingError(f"{name} {state}; {log} ends with\n    {told}")


def _start_dns(layout: Layout, kubectl: Path, image: str) -> None:
    base = [kubectl, "--kubeconfig", layout.kubeconfig]
    run([*base, "apply", "-f", "-"], stdin=json.dumps(dns_objects(image)))
    status = ["rollout", "status", "deployment/coredns", "--namespace=kube-system"]
    run([*base, *status, f"--timeout={_PATIENCE:.0f}s"])

    def default_account() -> bool:
        # The controllers make it a moment after the namespace; pods are refused before.
        get = [*base, "get", "serviceaccount/default", "--namespace=default"]
        return run(get, check=False).returncode == 0

    if not wait_until(default_account, timeout=_PATIENCE):
        raise ToolingError("the namespace `default` did not get its service account")

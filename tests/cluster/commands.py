"""Command lines of the local cluster's control plane and node programs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.cluster.layout import GATEWAY, LOCALHOST, NODE, PORTS, SERVICE_CIDR, Layout

__all__ = ["CONTROL_PLANE", "NODE_PROGRAMS", "PROGRAMS", "STORE", "command_lines", "flags"]

STORE = ("etcd",)
CONTROL_PLANE = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
NODE_PROGRAMS = ("containerd", "kubelet", "kube-proxy")
PROGRAMS = (*STORE, *CONTROL_PLANE, *NODE_PROGRAMS)


def command_lines(layout: Layout, paths: Mapping[str, Path]) -> dict[str, list[str]]:
    """Render every program's command line, by name.

    Parameters
    ----------
    paths
        Where each of `PROGRAMS` is.
    """
    configuration = layout.configuration
    settings: dict[str, Mapping[str, str]] = {
        "etcd": _etcd(layout),
        "kube-apiserver": _apiserver(layout),
        "kube-controller-manager": _controller_manager(layout),
        "kube-scheduler": {
            "config": f"{configuration}/scheduler.yaml",
            **_loopback(layout, PORTS.scheduler),
        },
        "containerd": {"config": f"{configuration}/containerd.toml"},
        "kubelet": {
            "config": f"{configuration}/kubelet.yaml",
            "kubeconfig": f"{configuration}/kubelet.kubeconfig",
            "root-dir": str(layout.kubelet),
            "hostname-override": NODE,
            "node-ip": GATEWAY,
        },
        "kube-proxy": {"config": f"{configuration}/kube-proxy.yaml"},
    }
    return {name: [str(paths[name]), *flags(settings[name])] for name in PROGRAMS}


def flags(settings: Mapping[str, str]) -> list[str]:
    """Render settings as ``--name=value``."""
    return [f"--{name}={value}" for name, value in settings.items()]


def _etcd(layout: Layout) -> dict[str, str]:
    client = f"https://{LOCALHOST}:{PORTS.etcd}"
    peer = f"https://{LOCALHOST}:{PORTS.etcd_peer}"
    pki = layout.pki / "etcd"
    tls = {
        "cert-file": f"{pki}/etcd.crt",
        "key-file": f"{pki}/etcd.key",
        "trusted-ca-file": f"{pki}/etcd-ca.crt",
        # Whoever writes to etcd is root on the node, so it asks for a certificate even here.
        "client-cert-auth": "true",
    }
    return {
        "name": "mailsync",
        "data-dir": str(layout.state / "etcd"),
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": f"mailsync={peer}",
        "listen-metrics-urls": f"http://{LOCALHOST}:{PORTS.etcd_health}",
        **tls,
        **{f"peer-{name}": value for name, value in tls.items()},
        # The cluster does not outlive a power cut; waiting for the disk would be for nothing.
        "unsafe-no-fsync": "true",
        "log-level": "warn",
    }


def _apiserver(layout: Layout) -> dict[str, str]:
    pki = layout.pki
    return {
        "advertise-address": GATEWAY,
        "bind-address": GATEWAY,
        "secure-port": str(PORTS.api),
        "etcd-servers": f"https://{LOCALHOST}:{PORTS.etcd}",
        "etcd-cafile": f"{pki}/etcd/etcd-ca.crt",
        "etcd-certfile": f"{pki}/etcd/apiserver-etcd.crt",
        "etcd-keyfile": f"{pki}/etcd/apiserver-etcd.key",
        "authorization-mode": "Node,RBAC",
        "enable-admission-plugins": "NodeRestriction",
        "client-ca-file": f"{pki}/ca.crt",
        "tls-cert-file": f"{pki}/apiserver.crt",
        "tls-private-key-file": f"{pki}/apiserver.key",
        "kubelet-client-certificate": f"{pki}/apiserver-kubelet.crt",
        "kubelet-client-key": f"{pki}/apiserver-kubelet.key",
        "kubelet-certificate-authority": f"{pki}/ca.crt",
        # The node's name is in no DNS.
        "kubelet-preferred-address-types": "InternalIP",
        "service-account-issuer": "https://kubernetes.default.svc.cluster.local",
        "service-account-key-file": f"{pki}/service-account.key",
        "service-account-signing-key-file": f"{pki}/service-account.key",
        "service-cluster-ip-range": SERVICE_CIDR,
        "event-ttl": "24h",
    }


def _controller_manager(layout: Layout) -> dict[str, str]:
    pki = layout.pki
    return {
        "kubeconfig": f"{layout.configuration}/controller-manager.kubeconfig",
        "use-service-account-credentials": "true",
        "service-account-private-key-file": f"{pki}/service-account.key",
        "root-ca-file": f"{pki}/ca.crt",
        "flex-volume-plugin-dir": str(layout.kubelet / "volume-plugins"),
        "leader-elect": "false",
        # One node that is slow for half a minute is not one that was lost.
        "node-monitor-grace-period": "2m",
        **_loopback(layout, PORTS.controller_manager),
    }


def _loopback(layout: Layout, port: int) -> dict[str, str]:
    """Serve health and metrics on the loopback address only."""
    return {
        "bind-address": LOCALHOST,
        "secure-port": str(port),
        "tls-cert-file": f"{layout.pki}/loopback.crt",
        "tls-private-key-file": f"{layout.pki}/loopback.key",
    }

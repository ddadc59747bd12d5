"""Names, addresses and folders of the local cluster: one place, no effects."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "BRIDGE",
    "CGROUP",
    "CLUSTER_DNS",
    "CNI_PLUGINS",
    "GATEWAY",
    "LOCALHOST",
    "NETWORK",
    "NODE",
    "POD_CIDR",
    "PORTS",
    "SERVICE_CIDR",
    "SERVICE_GATEWAY",
    "Layout",
    "Ports",
]

NODE = "mailsync-node"
BRIDGE = "mailsync0"
CNI_PLUGINS = "/usr/lib/cni"
"""Where Debian puts them."""
NETWORK = "mailsync"
"""Name of the CNI network: the CNI plugins name their files after it."""
CGROUP = "mailsync-cluster"
"""The control group that all pods are in, so that all of them are found again."""
LOCALHOST = "127.0.0.1"
POD_CIDR = "10.244.0.0/24"
GATEWAY = "10.244.0.1"
"""The bridge's address: the node's, the API server's and the pods' gateway. No other machine is
on that network, so nothing of the cluster listens on an address of the outside."""
SERVICE_CIDR = "10.96.0.0/16"
SERVICE_GATEWAY = "10.96.0.1"
"""The Service ``kubernetes``; always the first address of the range."""
CLUSTER_DNS = "10.96.0.10"


@dataclass(frozen=True, slots=True)
class Ports:
    """TCP ports, all beside the usual ones so that another cluster's programs are not met."""

    api: int = 16443
    etcd: int = 16379
    etcd_peer: int = 16380
    etcd_health: int = 16381
    controller_manager: int = 16257
    scheduler: int = 16259
    kubelet: int = 16250
    kubelet_health: int = 16248
    proxy_health: int = 16256
    proxy_metrics: int = 16249


PORTS = Ports()


@dataclass(frozen=True, slots=True)
class Layout:
    """Where one run of the cluster keeps its files.

    Attributes
    ----------
    state
        A folder on a disk, within the cache.
    runtime
        A short path for sockets (108 bytes is the kernel's limit), gone with a reboot.
    """

    state: Path
    runtime: Path = Path("/run/mailsync-cluster")

    @property
    def record(self) -> Path:
        """What was started and what must be put back."""
        return self.runtime / "record.json"

    @property
    def pki(self) -> Path:
        return self.state / "pki"

    @property
    def configuration(self) -> Path:
        return self.state / "etc"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self.state / "kubeconfig"

    @property
    def kubelet(self) -> Path:
        return self.state / "kubelet"

    @property
    def containerd(self) -> Path:
        return self.state / "containerd"

    @property
    def cni(self) -> Path:
        return self.state / "cni"

    @property
    def containerd_socket(self) -> Path:
        return self.runtime / "containerd.sock"

    @property
    def api_url(self) -> str:
        return f"https://{GATEWAY}:{PORTS.api}"

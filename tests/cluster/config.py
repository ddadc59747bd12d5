"""Configuration files of the local cluster's programs, rendered from the layout alone."""

from __future__ import annotations

import base64
from typing import Any

from tests.cluster.layout import (
    BRIDGE,
    CGROUP,
    CLUSTER_DNS,
    CNI_PLUGINS,
    GATEWAY,
    LOCALHOST,
    NETWORK,
    NODE,
    POD_CIDR,
    PORTS,
    Layout,
)

__all__ = [
    "cni_network",
    "containerd_config",
    "kube_proxy_config",
    "kubeconfig",
    "kubelet_config",
    "scheduler_config",
    "snapshotter_for",
]

Document = dict[str, Any]


def kubelet_config(layout: Layout) -> Document:
    """Render the kubelet's file: this node's sizes, and nothing outside the layout's folders."""
    pki = layout.pki
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": GATEWAY,
        "port": PORTS.kubelet,
        "readOnlyPort": 0,
        "healthzBindAddress": LOCALHOST,
        "healthzPort": PORTS.kubelet_health,
        "tlsCertFile": str(pki / "kubelet-server.crt"),
        "tlsPrivateKeyFile": str(pki / "kubelet-server.key"),
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "clusterDomain": "cluster.local",
        "clusterDNS": [CLUSTER_DNS],
        "containerRuntimeEndpoint": f"unix://{layout.containerd_socket}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{CGROUP}",
        # Machines of today, as they come: hybrid control groups, swap, no reserved resources.
        "failCgroupV1": False,
        "failSwapOn": False,
        "enforceNodeAllocatable": [],
        "makeIPTablesUtilChains": False,
        "resolvConf": "",
        "podLogsDir": str(layout.state / "pod-logs"),
        "volumePluginDir": str(layout.kubelet / "volume-plugins"),
        # A full disk of the developer's machine must not evict the tests' pods early.
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        # The kubelet keeps records of what it pulled from a registry, and then refuses the same
        # image where it was loaded into the node under another name.
        "imagePullCredentialsVerificationPolicy": "NeverVerify",
        "nodeStatusReportFrequency": "1m",
        "nodeStatusUpdateFrequency": "5s",
        # Tests start many small pods at once.
        "serializeImagePulls": False,
        "maxPods": 200,
        "shutdownGracePeriod": "0s",
    }


def kube_proxy_config(layout: Layout, *, masquerade_all: bool) -> Document:
    """Render kube-proxy's file.

    Parameters
    ----------
    masquerade_all
        Needed where the kernel does not pass bridged packets through netfilter: there a pod's
        answer to another pod of the same bridge would not be translated back.
    """
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clusterCIDR": POD_CIDR,
        "hostnameOverride": NODE,
        "clientConnection": {"kubeconfig": str(layout.configuration / "kube-proxy.kubeconfig")},
        "bindAddress": GATEWAY,
        "healthzBindAddress": f"{LOCALHOST}:{PORTS.proxy_health}",
        "metricsBindAddress": f"{LOCALHOST}:{PORTS.proxy_metrics}",
        "nftables": {"masqueradeAll": masquerade_all, "minSyncPeriod": "0s"},
        # Zero leaves the machine's own limits as they are.
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpCloseWaitTimeout": "0s",
            "tcpEstablishedTimeout": "0s",
        },
        "nodePortAddresses": [f"{LOCALHOST}/32"],
    }


def scheduler_config(layout: Layout) -> Document:
    """Render the scheduler's file."""
    return {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "clientConnection": {"kubeconfig": str(layout.configuration / "scheduler.kubeconfig")},
        "leaderElection": {"leaderElect": False},
    }


def kubeconfig(*, server: str, authority: bytes, certificate: bytes, key: bytes) -> Document:
    """Render a kubeconfig that stands alone, its certificates inside."""

    def data(content: bytes) -> str:
        return base64.b64encode(content).decode("ascii")

    cluster = {"server": server, "certificate-authority-data": data(authority)}
    user = {"client-certificate-data": data(certificate), "client-key-data": data(key)}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "mailsync", "cluster": cluster}],
        "users": [{"name": "mailsync", "user": user}],
        "contexts": [{"name": "mailsync", "context": {"cluster": "mailsync", "user": "mailsync"}}],
        "current-context": "mailsync",
    }


def cni_network(layout: Layout) -> Document:
    """Render the pod network: a bridge, without a way out of the machine.

    There is no masquerading to the outside on purpose: what runs in the tests' pods reaches the
    other pods, the Services and the node, and nothing else.
    """
    bridge = {
        "type": "bridge",
        "bridge": BRIDGE,
        "isGateway": True,
        "hairpinMode": True,
        "ipMasq": False,
        "ipam": {
            "type": "host-local",
            "dataDir": str(layout.cni / "networks"),
            "ranges": [[{"subnet": POD_CIDR, "gateway": GATEWAY}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    return {"cniVersion": "0.4.0", "name": NETWORK, "plugins": [bridge]}


def snapshotter_for(filesystem: str) -> str:
    """Choose how containerd stacks image layers: an overlay cannot lie on another overlay."""
    return "native" if filesystem in {"overlay", "fuse-overlayfs"} else "overlayfs"


def containerd_config(layout: Layout, *, pause_image: str, snapshotter: str) -> str:
    """Render containerd's file; version 2 of the format is read by containerd 1.6 and by 2.x."""
    return f"""\
version = 2
root = "{layout.containerd}"
state = "{layout.runtime}/containerd"
# Neither is used, and each writes outside of the two folders above.
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.nri.v1.nri"]

[grpc]
  address = "{layout.containerd_socket}"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause_image}"
  stream_server_address = "{LOCALHOST}"
  stream_server_port = "0"
  # Containers and virtual machines often lack CAP_SYS_RESOURCE, and runc then fails.
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{CNI_PLUGINS}"
    conf_dir = "{layout.configuration}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "{snapshotter}"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
        Root = "{layout.runtime}/runc"
"""

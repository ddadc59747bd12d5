"""Whether the local cluster's programs do their work, each asked in its own way."""

from __future__ import annotations

import http.client
import json
import ssl
import urllib.request

from tests.cluster.layout import LOCALHOST, NODE, PORTS, Layout
from tests.cluster.shell import run

__all__ = ["answers", "client_context", "dns_ready", "healthy", "node_ready"]

_TIMEOUT = 2.0


def healthy(name: str, layout: Layout) -> bool:
    """Ask one program for its health."""
    loopback = f"//{LOCALHOST}"
    urls = {
        "etcd": f"http:{loopback}:{PORTS.etcd_health}/health",
        "kube-apiserver": f"{layout.api_url}/readyz",
        "kube-controller-manager": f"https:{loopback}:{PORTS.controller_manager}/healthz",
        "kube-scheduler": f"https:{loopback}:{PORTS.scheduler}/healthz",
        "kubelet": f"http:{loopback}:{PORTS.kubelet_health}/healthz",
        "kube-proxy": f"http:{loopback}:{PORTS.proxy_health}/livez",
    }
    if name == "containerd":
        ctr = ["ctr", "--address", layout.containerd_socket, "--connect-timeout", "2s", "version"]
        return run(ctr, check=False, timeout=10).returncode == 0
    return answers(urls[name], client_context(layout))


def answers(url: str, context: ssl.SSLContext | None) -> bool:
    """Whether a GET ends with a status of success."""
    return _get(url, context) is not None


def client_context(layout: Layout) -> ssl.SSLContext | None:
    """TLS as the cluster's administrator; None before there are certificates."""
    pki = layout.pki
    if not (pki / "admin.key").exists():
        return None
    context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
    return context


def node_ready(layout: Layout) -> bool:
    """Whether the node reports that it can run pods."""
    return _has_condition(f"{layout.api_url}/api/v1/nodes/{NODE}", "Ready", layout)


def dns_ready(layout: Layout) -> bool:
    """Whether the cluster's DNS server runs and answers."""
    path = "apis/apps/v1/namespaces/kube-system/deployments/coredns"
    return _has_condition(f"{layout.api_url}/{path}", "Available", layout)


def _has_condition(url: str, condition: str, layout: Layout) -> bool:
    body = _get(url, client_context(layout))
    if body is None:
        return False
    conditions = json.loads(body).get("status", {}).get("conditions", [])
    return any(each["type"] == condition and each["status"] == "True" for each in conditions)


def _get(url: str, context: ssl.SSLContext | None) -> bytes | None:
    """Body of a successful answer, else None."""
    opener = urllib.request.build_opener(
        # Never through a proxy that the user's environment may name.
        urllib.request.ProxyHandler({}),
        urllib.request.HTTPSHandler(context=context),
    )
    try:
        with opener.open(url, timeout=_TIMEOUT) as response:
            return bytes(response.read())
    except (OSError, http.client.HTTPException):  # URLError is an OSError
        return None

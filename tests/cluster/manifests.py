"""Objects that the local cluster itself needs: its DNS."""

from __future__ import annotations

from typing import Any

from tests.cluster.layout import CLUSTER_DNS

__all__ = ["COREFILE", "dns_objects"]

# Names outside of the cluster do not exist: pods have no way out, and an answer at once is
# better than a resolver that waits for servers that it cannot reach.
COREFILE = """\
.:5353 {
    errors
    health :8080 {
        lameduck 0s
    }
    ready :8181
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        pods insecure
        ttl 5
    }
    template ANY ANY {
        rcode NXDOMAIN
    }
}
"""
_LABELS = {"k8s-app": "kube-dns"}
_NAMESPACE = "kube-system"

Document = dict[str, Any]


def dns_objects(image: str) -> Document:
    """Render a List of everything that cluster DNS consists of."""
    objects = [_account(), _role(), _binding(), _corefile(), _deployment(image), _service()]
    return {"apiVersion": "v1", "kind": "List", "items": objects}


def _metadata(name: str, *, namespaced: bool = True) -> Document:
    metadata: Document = {"name": name, "labels": _LABELS}
    return metadata | ({"namespace": _NAMESPACE} if namespaced else {})


def _account() -> Document:
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": _metadata("coredns")}


def _role() -> Document:
    watched = ["endpoints", "services", "pods", "namespaces"]
    verbs = ["list", "watch"]
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": _metadata("system:coredns", namespaced=False),
        "rules": [
            {"apiGroups": [""], "resources": watched, "verbs": verbs},
            {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": verbs},
        ],
    }


def _binding() -> Document:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": _metadata("system:coredns", namespaced=False),
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": "system:coredns",
        },
        "subjects": [{"kind": "ServiceAccount", "name": "coredns", "namespace": _NAMESPACE}],
    }


def _corefile() -> Document:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _metadata("coredns"),
        "data": {"Corefile": COREFILE},
    }


def _deployment(image: str) -> Document:
    container = {
        "name": "coredns",
        "image": image,
        "imagePullPolicy": "Never",
        "args": ["-conf", "/etc/coredns/Corefile"],
        "ports": [
            {"name": "dns", "containerPort": 5353, "protocol": "UDP"},
            {"name": "dns-tcp", "containerPort": 5353, "protocol": "TCP"},
        ],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 1},
        "livenessProbe": {"httpGet": {"path": "/health", "port": 8080}, "periodSeconds": 10},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns", "readOnly": True}],
    }
    pod = {
        "serviceAccountName": "coredns",
        "priorityClassName": "system-cluster-critical",
        "dnsPolicy": "Default",
        "terminationGracePeriodSeconds": 1,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [{"name": "config", "configMap": {"name": "coredns"}}],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata("coredns"),
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": _LABELS},
            "template": {"metadata": {"labels": _LABELS}, "spec": pod},
        },
    }


def _service() -> Document:
    ports = [
        {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 5353},
        {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 5353},
    ]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata("kube-dns"),
        "spec": {"clusterIP": CLUSTER_DNS, "selector": _LABELS, "ports": ports},
    }

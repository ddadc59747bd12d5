"""A gate in front of a mail server on the cluster: it sends the first who come away."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.kube import Kube
    from tests.support.release import Release

__all__ = ["gate"]

_NAME: Final = "gate"
_PORT: Final = 1143
_ALIVE: Final = 1144
"""Answers the kubelet, so that it is not taken for one who comes."""
_SCRIPT: Final = """
import socket, sys, threading

host, words, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
alive = socket.create_server(("", {alive}))
listener = socket.create_server(("", {port}))


def pump(a, b):
    try:
        while data := a.recv(65536):
            b.sendall(data)
    except OSError:
        pass
    finally:
        for each in (a, b):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


while True:
    client, _ = listener.accept()
    if count:
        count -= 1
        client.sendall(b"* BYE " + words.encode() + b"\\r\\n")
        client.close()
        continue
    server = socket.create_connection((host, 143))
    for pair in ((client, server), (server, client)):
        threading.Thread(target=pump, args=pair, daemon=True).start()
"""


@contextlib.contextmanager
def gate(release: Release, kube: Kube, *, to: str, words: str, times: int = 1) -> Iterator[str]:
    """Put a gate before a server's port 143 for as long as the block lasts; yield its host name.

    Parameters
    ----------
    words
        What the first who come are told (BYE), before they are sent away.
    times
        How many of them.
    """
    script = _SCRIPT.format(alive=_ALIVE, port=_PORT)
    metadata = {"name": _NAME, "labels": {"app": _NAME}}
    container: dict[str, Any] = {
        "name": _NAME,
        "image": release.images["mailsync-syncjob"],
        "imagePullPolicy": "IfNotPresent",
        "command": ["/opt/mailsync/bin/python", "-c", script, to, words, str(times)],
        "startupProbe": {"tcpSocket": {"port": _ALIVE}, "periodSeconds": 1},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 0,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
        },
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": _NAME},
        "spec": {"selector": {"app": _NAME}, "ports": [{"port": 143, "targetPort": _PORT}]},
    }
    kube.apply(pod, service)
    kube.wait_ready(_NAME)
    try:
        yield f"{_NAME}.{kube.namespace}.svc"
    finally:
        kube.delete("pod", _NAME)

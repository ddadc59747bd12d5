"""What is in the images, asked from within, in pods as strict as the product's own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.kube import Kube
    from tests.support.release import Release

pytestmark = pytest.mark.cluster

_QUESTIONS = """
import importlib.util, json, os, shutil, subprocess, sys
modules = ["pip", "setuptools", "wheel", "ensurepip", "uv", "kubernetes", "kopf", "imapclient",
           "mailsync_api", "mailsync_operator", "mailsync_syncjob", "hypothesis", "pytest"]
programs = ["gcc", "cc", "c++", "make", "pip", "pip3", "uv", "git", "curl"]
tunnel = None
if shutil.which("stunnel4"):
    said = subprocess.run(["stunnel4", "-version"], capture_output=True, text=True).stderr
    tunnel = [said[said.find("stunnel "):][:9], os.path.isdir("/usr/share/perl/5.36")]
print(json.dumps({
    "tunnel": tunnel,
    "modules": [name for name in modules if importlib.util.find_spec(name)],
    "programs": [name for name in programs if shutil.which(name)],
    "user": [os.getuid(), os.getgid()],
    "environment": sorted(os.environ),
    "bytecode": os.path.exists(importlib.util.find_spec("mailsync_api").cached),
    "sources": importlib.util.find_spec("mailsync_api").origin,
}))
"""


@pytest.fixture(scope="module")
def kube(release: Release) -> Iterator[Kube]:
    """Make a namespace for the pods that are asked."""
    found = release.kube.within("image-contents")
    found.fresh()
    yield found
    found.delete("namespace", found.namespace, wait=False)


def _pod(name: str, image: str) -> dict[str, Any]:
    container = {
        "name": "asked",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-c", _QUESTIONS],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
    }
    spec = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        # No user is given: the kubelet starts it only if the image's own is a number other than 0.
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def _answers(kube: Kube, name: str, image: str) -> dict[str, Any]:
    kube.apply(_pod(name, image))

    def ended(pod: dict[str, Any]) -> bool:
        return pod["status"].get("phase") in {"Succeeded", "Failed"}

    kube.wait("pod", name, ended, what="ended")
    answers: dict[str, Any] = json.loads(kube.logs(name))
    return answers


def test_the_operators_image(kube: Kube, release: Release) -> None:
    answers = _answers(kube, "operator", release.images["mailsync-operator"])
    assert {"mailsync_api", "mailsync_operator", "kopf", "kubernetes"} <= set(answers["modules"])
    _holds_nothing_to_build_with(answers)


def test_the_engines_image_has_no_kubernetes_client(kube: Kube, release: Release) -> None:
    answers = _answers(kube, "syncjob", release.images["mailsync-syncjob"])
    assert {"mailsync_api", "mailsync_syncjob", "imapclient"} <= set(answers["modules"])
    assert not {"kubernetes", "kopf"} & set(answers["modules"])
    # For tunnels; its package would have brought perl along.
    assert answers["tunnel"] == ["stunnel 5", False]
    _holds_nothing_to_build_with(answers)


def _holds_nothing_to_build_with(answers: dict[str, Any]) -> None:
    tools = {"pip", "setuptools", "wheel", "ensurepip", "uv", "hypothesis", "pytest"}
    assert not tools & set(answers["modules"])
    assert answers["programs"] == []
    assert answers["user"] == [65532, 65532]
    assert answers["bytecode"], "compiled at each start: the root file system is read-only"
    # The network settings of the build are nobody's business later.
    assert not [name for name in answers["environment"] if "INDEX" in name or "CERT" in name]

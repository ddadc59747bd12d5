"""A Kubernetes namespace as tests use it: objects in and out, logs, waiting, forwarded ports.

All through kubectl, so that a test does what a user would and a failure can be repeated by hand.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import socket
import subprocess
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tests.cluster.shell import CommandError, ToolingError, run
from tests.support.secrecy import WATCH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tests.cluster.interface import ClusterProvider

__all__ = ["Kube", "KubeObject", "TimedOutError", "condition", "reason"]

KubeObject = dict[str, Any]
"""An object of the API, as JSON."""

_POLL_SECONDS = 0.25
_RESTRICTED = {
    "pod-security.kubernetes.io/enforce": "restricted",
    "pod-security.kubernetes.io/enforce-version": "latest",
}


class TimedOutError(ToolingError):
    """Something did not come true in time; the message shows how it was at the end."""


@dataclass(frozen=True, slots=True)
class Kube:
    """One namespace of a cluster.

    Attributes
    ----------
    as_user
        Whom to act as, for example ``system:serviceaccount:NAMESPACE:NAME``; empty for oneself.
    """

    kubectl: Path
    kubeconfig: Path
    namespace: str
    as_user: str = ""

    @classmethod
    def of(cls, cluster: ClusterProvider, namespace: str) -> Kube:
        """Return a namespace of a provider's cluster, whether it exists or not."""
        return cls(cluster.tools().kubectl, cluster.kubeconfig(), namespace)

    def within(self, namespace: str) -> Kube:
        """Return another namespace of the same cluster."""
        return replace(self, namespace=namespace)

    def acting_as(self, user: str) -> Kube:
        """Return the same namespace as somebody else sees it."""
        return replace(self, as_user=user)

    def this_machine(self) -> str:
        """Return the address from which this machine reaches the API server; pods reach it there.

        Where a firewall is between the two, what connects to it says so.
        """
        view = json.loads(self.run("config", "view", "--minify", "-o", "json"))
        server = urlsplit(str(view["clusters"][0]["cluster"]["server"]))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((server.hostname, server.port or 443))  # nothing is sent
            return str(probe.getsockname()[0])

    def run(
        self,
        *arguments: str,
        stdin: str | None = None,
        check: bool = True,
        timeout: float = 120.0,
    ) -> str:
        """Run kubectl; returns its standard output.

        Raises
        ------
        CommandError
            It failed, with what it wrote; not with ``check=False``.
        """
        return run(self._command(*arguments), stdin=stdin, check=check, timeout=timeout).stdout

    def apply(self, *objects: KubeObject) -> None:
        """Create or change objects; those without a namespace go into this one.

        Raises
        ------
        CommandError
            The API server refused one; the message has its words.
        """
        for secret in (each for each in objects if each["kind"] == "Secret"):
            WATCH.secret(*secret.get("stringData", {}).values())
            WATCH.secret(*(base64.b64decode(v) for v in secret.get("data", {}).values()))
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        self.run("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=text)

    def get(self, kind: str, name: str) -> KubeObject | None:
        """Return an object, None if there is none."""
        text = self._shown(kind, "get", kind, name, "--ignore-not-found", "-o", "json")
        found: KubeObject | None = json.loads(text) if text else None
        return found

    def all_of(self, kind: str, selector: str = "") -> list[KubeObject]:
        """Return the objects of a kind, those with the labels of ``selector`` if given."""
        chosen = ["-l", selector] if selector else []
        text = self._shown(kind, "get", kind, *chosen, "-o", "json")
        items: list[KubeObject] = json.loads(text)["items"]
        return items

    def _shown(self, what: str, *arguments: str) -> str:
        """Run kubectl, and keep what it shows for the search for credentials."""
        text = self.run(*arguments)
        if not what.startswith("secret"):
            WATCH.keep(f"{what} in {self.namespace}", text)
        return text

    def patch(self, kind: str, name: str, changes: KubeObject, *, subresource: str = "") -> None:
        """Merge changes into an object."""
        part = [f"--subresource={subresource}"] if subresource else []
        self.run("patch", kind, name, "--type=merge", "-p", json.dumps(changes), *part)

    def delete(self, kind: str, name: str, *, wait: bool = True) -> None:
        """Delete an object, whether it exists or not; ``wait`` until it is gone."""
        self.run("delete", kind, name, "--ignore-not-found", f"--wait={str(wait).lower()}")

    def raw(self, path: str) -> str:
        """Return what the API server answers to GET."""
        return self._shown(path, "get", "--raw", path)

    def logs(self, target: str, *, previous: bool = False, tail: int = -1) -> str:
        """Return the log of a pod, or of a pod of ``deployment/NAME`` or ``job/NAME``."""
        before = ["--previous"] if previous else []
        where = ["--all-containers", f"--tail={tail}"]
        return self._shown(f"log of {target}", "logs", target, *where, *before)

    def events(self, kind: str, name: str) -> list[KubeObject]:
        """Return the Events about an object, the oldest first."""
        selector = f"involvedObject.kind={kind},involvedObject.name={name}"
        text = self.run("get", "events", f"--field-selector={selector}", "-o", "json")
        items: list[KubeObject] = json.loads(text)["items"]
        return sorted(items, key=lambda each: each["metadata"]["creationTimestamp"])

    def can_i(self, verb: str, resource: str) -> bool:
        """Whether the API server would let this user do so here, with ``pods`` or ``pods/log``."""
        # To kubectl the slash would mean an object's name.
        name, _, part = resource.partition("/")
        words = ["auth", "can-i", verb, name, *([f"--subresource={part}"] if part else [])]
        return self.run(*words, check=False).strip() == "yes"

    def wait(
        self,
        kind: str,
        name: str,
        accept: Callable[[KubeObject], bool],
        *,
        what: str,
        seconds: float = 60.0,
        seen: Callable[[KubeObject], None] | None = None,
    ) -> KubeObject:
        """Return the object as soon as ``accept`` says so.

        Parameters
        ----------
        what
            What is waited for, for the message when it does not come.
        seen
            Called with each state that is looked at, to show progress.

        Raises
        ------
        TimedOutError
            It did not come within so many seconds, or there is no such object.
        """
        last: list[KubeObject] = []

        def come() -> bool:
            found = self.get(kind, name)
            last[:] = [found] if found else []
            if found and seen:
                seen(found)
            return found is not None and accept(found)

        self.until(come, what=f"{kind}/{name}: {what}", seconds=seconds, detail=lambda: _end(last))
        return last[0]

    def until(
        self,
        come: Callable[[], bool],
        *,
        what: str,
        seconds: float = 60.0,
        detail: Callable[[], str] = str,
    ) -> None:
        """Poll until something is true.

        Raises
        ------
        TimedOutError
            It was not within so many seconds; the message has ``what`` and ``detail``.
        """
        deadline = time.monotonic() + seconds
        while not come():
            if time.monotonic() >= deadline:
                raise TimedOutError(f"not within {seconds:.0f} s: {what}\n{detail()}".rstrip())
            time.sleep(_POLL_SECONDS)

    def wait_ready(self, pod: str, *, seconds: float = 90.0) -> None:
        """Wait until a pod is ready.

        Raises
        ------
        TimedOutError
            It is not; the message has its events and the end of its log.
        """
        try:
            self.wait("pod", pod, _is_ready, what="ready", seconds=seconds)
        except TimedOutError as error:
            lines = [f"{each['reason']}: {each['message']}" for each in self.events("Pod", pod)]
            lines += self.run("logs", pod, "--tail=20", check=False).splitlines()
            raise TimedOutError("\n".join([str(error), *lines])) from None

    def fresh(self) -> None:
        """Make this namespace anew and empty, under Pod Security "restricted"."""
        self.delete("namespace", self.namespace)
        self.ensure()

    def ensure(self) -> None:
        """Make this namespace if there is none, under Pod Security "restricted"."""
        metadata = {"name": self.namespace, "labels": _RESTRICTED}
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        # Pods are refused until the namespace has its ServiceAccount.
        self.until(
            lambda: self.get("serviceaccount", "default") is not None,
            what=f"the default ServiceAccount of namespace {self.namespace}",
        )

    @contextlib.contextmanager
    def port_forward(self, target: str, port: int) -> Iterator[int]:
        """Forward a port of ``pod/NAME`` or ``service/NAME``; gives the port on 127.0.0.1.

        Raises
        ------
        ToolingError
            kubectl ended instead; the message has its words.
        """
        command = self._command("port-forward", "--address=127.0.0.1", target, f":{port}")
        with subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "KUBECTL_PORT_FORWARD_WEBSOCKETS": "false"},
        ) as process:
            try:
                yield _forwarded(process, f"{target}:{port}")
            finally:
                process.terminate()

    @contextlib.contextmanager
    def proxy(self) -> Iterator[str]:
        """Let plain HTTP requests through to the API server; gives the URL.

        Raises
        ------
        ToolingError
            kubectl ended instead; the message has its words.
        """
        with subprocess.Popen(
            [str(word) for word in self._command("proxy", "--address=127.0.0.1", "--port=0")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            try:
                line = process.stdout.readline() if process.stdout else ""
                match = re.match(r"Starting to serve on (127\.0\.0\.1:\d+)", line)
                if not match:
                    process.terminate()
                    raise CommandError(["kubectl", "proxy"], process.wait(), output=line)
                yield f"http://{match[1]}"
            finally:
                process.terminate()

    def _command(self, *arguments: str) -> Sequence[str | Path]:
        user = [f"--as={self.as_user}"] if self.as_user else []
        return [
            self.kubectl, f"--kubeconfig={self.kubeconfig}", f"--namespace={self.namespace}",
            *user, *arguments,
        ]  # fmt: skip


def condition(obj: KubeObject, kind: str) -> KubeObject:
    """Return a condition of an object's status; empty if it has none of that type."""
    found: list[KubeObject] = obj.get("status", {}).get("conditions", [])
    return next((each for each in found if each["type"] == kind), {})


def reason(obj: KubeObject) -> str:
    """Return the state of a MailSync in one word: the reason of its condition Succeeded."""
    return str(condition(obj, "Succeeded").get("reason", ""))


def _is_ready(pod: KubeObject) -> bool:
    return condition(pod, "Ready").get("status") == "True"


def _end(last: Sequence[KubeObject]) -> str:
    if not last:
        return "there is no such object"
    return f"its status: {json.dumps(last[0].get('status', {}), indent=1)}"


def _forwarded(process: subprocess.Popen[str], what: str) -> int:
    """Read the port that kubectl chose from its first lines."""
    lines = []
    for line in process.stdout or ():
        lines.append(line)
        match = re.match(r"Forwarding from 127\.0\.0\.1:(\d+) ", line)
        if match:
            return int(match[1])
    raise CommandError(["kubectl", "port-forward", what], process.wait(), output="".join(lines))

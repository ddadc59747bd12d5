"""What a cluster test plays on: a namespace with two mail servers, and the MailSyncs in it."""

from __future__ import annotations

import contextlib
import os
import signal
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import trustme

from mailsync_api.names import ENDPOINT_UID_LABEL, UID_LABEL
from tests.cluster.shell import CommandError
from tests.support.builders import endpoint_manifest, manifest, merged
from tests.support.dovecot_pod import DovecotPod
from tests.support.kube import Kube, KubeObject, condition, reason
from tests.support.mail_server import CA_NAME, MailServer, ca_config_map, certificate
from tests.support.release import Release

__all__ = [
    "DESTINATION_PASSWORD",
    "SOURCE_PASSWORD",
    "USER",
    "Stage",
    "kill_engine",
    "operator_processes",
    "stage",
]

USER = "alice@example.org"
SOURCE_PASSWORD = 'Quelle "7\\ \u00fcber'
DESTINATION_PASSWORD = "Ziel-\u00e4{9}%*-unten"


@dataclass(frozen=True, slots=True)
class Stage:
    """A namespace under Pod Security "restricted" with two servers whose certificates are good."""

    kube: Kube
    authority: trustme.CA
    source: MailServer
    destination: MailServer

    def server(
        self,
        name: str,
        *names: str,
        authority: trustme.CA | None = None,
        expired: bool = False,
        **pod: Any,
    ) -> MailServer:
        """Deploy one more server with USER, its certificate for ``names``; wait until it answers.

        Parameters
        ----------
        names
            Host names of its certificate; its own by default.
        authority
            Who signs it: by default the one that the MailSyncs trust.
        expired
            Whether its certificate is one that ended yesterday.
        pod
            Further fields of `DovecotPod`.
        """
        signer = authority or self.authority
        now = datetime.now(UTC)
        past = {"not_before": now - timedelta(days=9), "not_after": now - timedelta(days=1)}
        pair = certificate(
            signer,
            *(names or (f"{name}.{self.kube.namespace}.svc",)),
            **(past if expired else {}),
        )
        image, users = self.source.pod.image, self.source.pod.users
        described = DovecotPod(name, image, users, pair, **pod)
        server = MailServer.deploy(self.kube, described, _pem(signer))
        self.kube.apply(server.password(USER))
        server.wait_ready()
        return server

    def server_without_tls(self, name: str) -> MailServer:
        """Deploy one more server that knows nothing of TLS."""
        pod = DovecotPod(name, self.source.pod.image, self.source.pod.users, None)
        server = MailServer.deploy(self.kube, pod)
        self.kube.apply(server.password(USER))
        server.wait_ready()
        return server

    def sync(self, name: str, **spec: Any) -> KubeObject:
        """Apply a MailSync: implicit TLS at the source, STARTTLS at the destination.

        ``spec`` is laid over that.
        """
        obj = manifest(
            name,
            self.kube.namespace,
            **{
                "source": self.source.account(USER),
                "destination": self.destination.account(USER, mode="StartTLS"),
                **spec,
            },
        )
        self.kube.apply(obj)
        return obj

    def endpoint(self, name: str, server: MailServer, **spec: Any) -> KubeObject:
        """Apply a MailEndpoint for a server, with implicit TLS; ``spec`` is laid over that."""
        base = {"host": server.host, "tls": {"caRef": {"name": CA_NAME}} if server.ca else {}}
        obj = endpoint_manifest(name, self.kube.namespace, **merged(base, spec))
        self.kube.apply(obj)
        return obj

    def probe_now(self, name: str) -> KubeObject:
        """Ask for one probe more, and return the MailEndpoint once it has ended."""
        token = uuid.uuid4().hex
        self.kube.patch("mailendpoint", name, {"spec": {"probe": {"manual": token}}})
        return self.kube.wait(
            "mailendpoint",
            name,
            lambda obj: obj.get("status", {}).get("lastManualProbe") == token,
            what="the probe to be answered",
        )

    def wait_endpoint(
        self, name: str, kind: str, status: str, *, why: str = "", seconds: float = 60.0
    ) -> KubeObject:
        """Return the MailEndpoint once a condition has this status and reason."""

        def come(obj: KubeObject) -> bool:
            found = condition(obj, kind)
            return found.get("status") == status and why in {"", found.get("reason")}

        what = f"{kind}={status} {why}"
        return self.kube.wait("mailendpoint", name, come, what=what, seconds=seconds)

    def probes(self, name: str) -> list[KubeObject]:
        """Return the Jobs of a MailEndpoint's probes."""
        uid = self._uid(name, kind="mailendpoint")
        return self.kube.all_of("jobs", f"{ENDPOINT_UID_LABEL}={uid}")

    def wait_reason(self, name: str, *wanted: str, seconds: float = 90.0) -> KubeObject:
        """Return the MailSync once its state is one of these words."""
        return self.kube.wait(
            "mailsync", name, lambda obj: reason(obj) in wanted, what=f"{wanted}", seconds=seconds
        )

    def wait_condition(
        self, name: str, kind: str, status: str, *, why: str = "", seconds: float = 90.0
    ) -> KubeObject:
        """Return the condition once it has this status, and this reason if one is given."""

        def come(obj: KubeObject) -> bool:
            found = condition(obj, kind)
            return found.get("status") == status and why in {"", found.get("reason")}

        what = f"{kind}={status} {why}"
        return condition(self.kube.wait("mailsync", name, come, what=what, seconds=seconds), kind)

    def jobs(self, name: str) -> list[KubeObject]:
        """Return the Jobs of a MailSync."""
        return self.kube.all_of("jobs", f"{UID_LABEL}={self._uid(name)}")

    def pods(self, name: str) -> list[KubeObject]:
        """Return the pods of a MailSync, the oldest first."""
        pods = self.kube.all_of("pods", f"{UID_LABEL}={self._uid(name)}")
        return sorted(pods, key=lambda pod: pod["metadata"]["creationTimestamp"])

    def running_pod(self, name: str, *, seconds: float = 60.0) -> KubeObject:
        """Return the MailSync's pod once it runs."""

        def running() -> list[KubeObject]:
            return [pod for pod in self.pods(name) if pod["status"].get("phase") == "Running"]

        self.kube.until(lambda: bool(running()), what=f"a running pod of {name}", seconds=seconds)
        return running()[-1]

    def _uid(self, name: str, *, kind: str = "mailsync") -> str:
        found = self.kube.get(kind, name)
        return str(found["metadata"]["uid"]) if found else "gone"


@contextlib.contextmanager
def stage(release: Release, *, destination: str = "") -> Iterator[Stage]:
    """Set a stage up in a namespace of its own, and clear it away.

    Parameters
    ----------
    destination
        Lines for the end of the destination's configuration.
    """
    kube = release.kube.within(f"chain-{uuid.uuid4().hex[:8]}")
    kube.fresh()
    authority = trustme.CA()
    servers = []
    for name, password in (("source", SOURCE_PASSWORD), ("destination", DESTINATION_PASSWORD)):
        pair = certificate(authority, f"{name}.{kube.namespace}.svc")
        image, extra = release.images["mailsync-dovecot"], {"destination": destination}
        pod = DovecotPod(name, image, {USER: password}, pair, extra=extra.get(name, ""))
        servers.append(MailServer.deploy(kube, pod, _pem(authority)))
    kube.apply(ca_config_map(_pem(authority)), *(server.password(USER) for server in servers))
    for server in servers:
        server.wait_ready()
    try:
        yield Stage(kube, authority, servers[0], servers[1])
        _keep_all(release, kube)
    finally:
        kube.delete("namespace", kube.namespace, wait=False)


def _keep_all(release: Release, kube: Kube) -> None:
    """Keep all that the product said in a namespace, and the operator, for the last search."""
    for kind in ("pods", "jobs", "mailsyncs", "mailendpoints", "events", "configmaps"):
        kube.all_of(kind)
    engines = [*kube.all_of("pods", UID_LABEL), *kube.all_of("pods", ENDPOINT_UID_LABEL)]
    for pod in engines:
        # A pod that never started has no log.
        with contextlib.suppress(CommandError):
            kube.logs(pod["metadata"]["name"])
    release.log()
    release.metrics()


def kill_engine(kube: Kube, pod: KubeObject) -> str:
    """End a pod's engine with SIGKILL; returns how.

    On the local cluster the process itself is killed, as the kernel does when memory is short.
    Elsewhere the pod is deleted without grace, which the kubelet carries out with SIGKILL.
    """
    for process in _processes(pod, "mailsync-job"):
        os.kill(int(process.name), signal.SIGKILL)
        return "SIGKILL to the process"
    kube.run("delete", "pod", pod["metadata"]["name"], "--grace-period=0", "--force")
    return "pod deleted without grace"


def operator_processes(pod: KubeObject) -> list[Path]:
    """Return the folders in /proc of the operator's processes; none if it runs elsewhere."""
    return _processes(pod, "mailsync-operator")


def _processes(pod: KubeObject, command: str) -> list[Path]:
    uid = pod["metadata"]["uid"]
    found = []
    for folder in Path("/proc").iterdir():
        # A process may end between two looks, and one of the system's own has no command line.
        with contextlib.suppress(OSError):
            if (
                folder.name.isdigit()
                and uid in (folder / "cgroup").read_text().replace("_", "-")
                and command.encode() in (folder / "cmdline").read_bytes()
            ):
                found.append(folder)
    return found


def _pem(authority: trustme.CA) -> str:
    return authority.cert_pem.bytes().decode()

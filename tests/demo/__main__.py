"""``python -m tests.demo``: the whole chain, step by step."""

from __future__ import annotations

import secrets
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import trustme
import yaml

from tests.cluster.providers import provider
from tests.cluster.shell import ToolingError, say
from tests.demo.screen import ProgressLines, Screen
from tests.demo.steps import check, fill, series, stop_if_failed
from tests.images.build import build, load
from tests.support.builders import manifest
from tests.support.dovecot_pod import DovecotPod
from tests.support.kube import Kube, reason
from tests.support.mail_server import MailServer, ca_config_map, certificate
from tests.support.release import Release, install

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.cluster.interface import ClusterProvider
    from tests.support.kube import KubeObject

_NAMESPACE = "mailsync-demo"
_NAME = "alice"
_USERS = {"source": "alice@old.example.org", "destination": "alice@new.example.org"}
_SECONDS = 300.0


def main() -> int:
    """Run the demo; returns the exit code."""
    screen = Screen(steps=9)
    try:
        _run(screen)
    except ToolingError as error:
        say(f"\nThe demo stopped: {error}")
        return 1
    except KeyboardInterrupt:
        say("\nThe demo was stopped; run it again at any time.")
        return 130
    return 0


def _run(screen: Screen) -> None:
    with screen.step("A cluster"):
        cluster = provider()
        cluster.up()
        kube = Kube.of(cluster, _NAMESPACE)
        # What an earlier demo left goes away while the images are built.
        kube.delete("namespace", _NAMESPACE, wait=False)
    with screen.step("Images of this checkout: operator, engine, and Dovecot to migrate between"):
        images = load(build(), cluster)
    with screen.step("The operator, installed with its Helm chart"):
        release = install(cluster, images=images)
        _show_release(screen, release)
    with screen.step(f"Two mail servers in namespace {_NAMESPACE}, under Pod Security restricted"):
        source, destination = _servers(kube, images)
        screen.kubectl(kube, "get", "pods,services")
    with screen.step(f"A mailbox at the source, over IMAP: {source.host}"):
        screen.text(fill(source, _USERS["source"]))
    with screen.step("kubectl apply: two Secrets, the CA, one MailSync"):
        _apply(screen, kube, source, destination)
        _watch(kube)
    with screen.step("What the resource, its Events and the metrics say"):
        _show(screen, kube, release)
    with screen.step("Checked without MailSync: every message on both servers"):
        screen.text(check(source, destination, _USERS))
    with screen.step("The manual trigger: one more pass, with nothing left to do"):
        _again(screen, kube)
    _farewell(screen, cluster, kube)


def _show_release(screen: Screen, release: Release) -> None:
    screen.kubectl(release.kube, "get", "deployment,pods")
    allowed = release.kube.acting_as(release.account).can_i("get", "secrets")
    if allowed:
        raise ToolingError("the operator may read Secrets, which its role must not allow")
    screen.text(f"May {release.account} get Secrets? no")


def _servers(kube: Kube, images: Mapping[str, str]) -> tuple[MailServer, MailServer]:
    """Deploy both servers, each with its own certificate of one throw-away authority."""
    kube.fresh()
    company = "MailSync demo"
    authority = trustme.CA(organization_name=company, organization_unit_name="throw-away CA")
    ca = authority.cert_pem.bytes().decode()
    servers = []
    for name, user in _USERS.items():
        pair = certificate(
            authority,
            f"{name}.{_NAMESPACE}.svc",
            organization_name=company,
            organization_unit_name=f"{name} server",
            not_after=datetime.now(UTC) + timedelta(days=90),
        )
        users = {user: secrets.token_urlsafe(16)}
        pod = DovecotPod(name, images["mailsync-dovecot"], users, pair)
        servers.append(MailServer.deploy(kube, pod, ca))
    for server in servers:
        server.wait_ready()
    kube.apply(ca_config_map(ca))
    return servers[0], servers[1]


def _apply(screen: Screen, kube: Kube, source: MailServer, destination: MailServer) -> None:
    user, new_user = _USERS["source"], _USERS["destination"]
    kube.apply(source.password(user), destination.password(new_user))
    mailsync = manifest(
        _NAME,
        _NAMESPACE,
        source=source.account(user, mode="Implicit"),
        destination=destination.account(new_user, mode="StartTLS"),
    )
    kube.apply(mailsync)
    screen.text(yaml.safe_dump(mailsync, sort_keys=False))
    say("")


def _watch(kube: Kube, token: str | None = None) -> KubeObject:
    """Show progress until the MailSync is done, and its manual trigger answered if one is given."""

    def done(mailsync: KubeObject) -> bool:
        stop_if_failed(mailsync, kube)
        answered = mailsync.get("status", {}).get("lastManualSync")
        return reason(mailsync) == "Completed" and answered == token

    return kube.wait("mailsync", _NAME, done, what="done", seconds=_SECONDS, seen=ProgressLines())


def _show(screen: Screen, kube: Kube, release: Release) -> None:
    screen.kubectl(kube, "get", "ms", "-o", "wide")
    screen.kubectl(kube, "describe", "ms", _NAME)
    screen.text(f"$ curl http://{release.name}-metrics.{release.kube.namespace}:8080/metrics")
    screen.text(series(release.metrics(), _NAMESPACE))


def _again(screen: Screen, kube: Kube) -> None:
    change = '{"spec":{"trigger":{"manual":"again"}}}'
    screen.kubectl(kube, "patch", "ms", _NAME, "--type=merge", "-p", change)
    run = _watch(kube, "again")["status"]["lastRun"]
    copied, present = run.get("messagesCopied", 0), run.get("messagesAlreadyPresent", 0)
    if copied:
        raise ToolingError(f"the second pass copied {copied} messages: they are there twice now")
    screen.text(f"0 copied, {present} already there")


def _farewell(screen: Screen, cluster: ClusterProvider, kube: Kube) -> None:
    say(f"\nDone in {screen.total()}. To look around:\n")
    say(f"   export KUBECONFIG={cluster.kubeconfig()}")
    say(f"   alias kubectl={kube.kubectl}")
    say(f"   kubectl -n {_NAMESPACE} get ms,jobs,pods")
    say("   kubectl explain mailsync.spec.source.tls")
    say(f"   kubectl -n {_NAMESPACE} logs source      # Dovecot's log: who logged in")
    down = "" if cluster.name == "context" else "   (or all of the cluster: make cluster-down)"
    say("\nTo clear away:\n")
    say(f"   kubectl delete namespace {_NAMESPACE}{down}")


if __name__ == "__main__":
    sys.exit(main())

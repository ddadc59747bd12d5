"""Tunnels in real pods: stunnel beside the engine, from the manifest to the status."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.kube import condition
from tests.support.mail_server import MailServer
from tests.support.release import Release
from tests.support.stage import USER, Stage, stage

pytestmark = pytest.mark.cluster

TUNNEL = {"type": "Stunnel"}


@pytest.fixture(scope="module")
def scene(release: Release) -> Iterator[Stage]:
    with stage(release) as scene:
        yield scene


def behind(server: MailServer, mode: str, **tls: Any) -> dict[str, Any]:
    """Return an account of a server behind a tunnel."""
    return server.account(USER, mode=mode, tls=tls, tunnel=TUNNEL)


@pytest.mark.parametrize("mode", ["StartTLS", "Implicit"])
def test_a_tunnelled_mailsync_succeeds_and_says_so(scene: Stage, mode: str) -> None:
    name = f"tunnel-{mode.lower()}"
    scene.sync(name, source=behind(scene.source, mode), destination=behind(scene.destination, mode))
    done = scene.wait_reason(name, "Completed", seconds=180)
    for side in ("source", "destination"):
        facts = done["status"]["tls"][side]
        assert facts["tunnel"] == "Stunnel"
        assert (facts["mode"], facts["verified"], facts["secured"]) == (mode, "Full", True)
        assert facts["protocol"] == "TLSv1.3"
        assert facts["serverName"] == f"{side}.{scene.kube.namespace}.svc"
    assert condition(done, "TLSSecured")["status"] == "True"

    [pod] = scene.pods(name)
    # The sidecars do not keep the pod, and the engine has none of the certificates.
    assert pod["status"]["phase"] == "Succeeded"
    [engine] = pod["spec"]["containers"]
    mounted = {each["name"] for each in engine["volumeMounts"]}
    assert mounted == {"source", "destination", "state", "tunnel", "tmp"}
    [job] = scene.jobs(name)
    assert condition(job, "Complete")["status"] == "True"


@pytest.fixture(scope="module")
def bad_servers(scene: Stage) -> dict[str, MailServer]:
    """Return servers by the reason for which their certificates must be refused."""
    return {
        "CertificateExpired": scene.server("expired", expired=True),
        "CertificateNameMismatch": scene.server("misnamed", "else.example.org"),
    }


@pytest.mark.parametrize("mode", ["StartTLS", "Implicit"])
@pytest.mark.parametrize("why", ["CertificateExpired", "CertificateNameMismatch"])
def test_a_bad_certificate_is_refused_by_the_tunnel_for_the_engines_reason(
    scene: Stage, bad_servers: dict[str, MailServer], why: str, mode: str
) -> None:
    server = bad_servers[why]
    names = {}
    for kind, account in (
        ("tunnel", behind(server, mode)),
        ("engine", server.account(USER, mode=mode)),
    ):
        names[kind] = f"{server.pod.name}-{mode.lower()}-{kind}"
        scene.sync(names[kind], source=account)
    messages = {}
    for kind, name in names.items():
        stalled = scene.wait_condition(name, "Stalled", "True", why=why, seconds=180)
        messages[kind] = stalled["message"]
        found = scene.kube.get("mailsyncs", name)
        assert found is not None
        assert found["status"]["lastRun"]["exitCode"] == 76
        secured = condition(found, "TLSSecured")
        assert (secured["status"], secured["reason"]) == ("False", why)
    assert messages["tunnel"] == messages["engine"]
    assert "no credentials were sent" in messages["tunnel"]
    assert server.logins() + server.refused() == 0


def test_a_tunnel_that_cannot_start_does_not_hold_up_the_pod(scene: Stage) -> None:
    ca = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "no-ca"}}
    scene.kube.apply({**ca, "data": {"ca.crt": "this is no certificate"}})
    source = behind(scene.source, "Implicit", caRef={"name": "no-ca"})
    scene.sync("no-ca", source=source)
    stalled = scene.wait_condition("no-ca", "Stalled", "True", why="InvalidConfiguration")
    assert "the tunnel could not start: source.tls.caRef: no PEM" in stalled["message"]


def test_a_server_without_starttls_is_not_logged_in_to(scene: Stage) -> None:
    clear = scene.server_without_tls("plain")
    scene.sync("no-starttls", source=behind(clear, "StartTLS"))
    scene.wait_condition("no-starttls", "Stalled", "True", why="StartTLSNotOffered")
    assert clear.logins() + clear.refused() == 0


def test_an_endpoint_has_the_condition_of_what_its_tunnel_refused(
    scene: Stage, bad_servers: dict[str, MailServer]
) -> None:
    scene.endpoint("tunnelled", scene.source, tunnel=TUNNEL)
    scene.endpoint("tunnelled-expired", bad_servers["CertificateExpired"], tunnel=TUNNEL)
    scene.wait_endpoint("tunnelled", "TLSSecured", "True", seconds=120)
    found = scene.kube.get("mailendpoint", "tunnelled")
    assert found is not None
    assert found["status"]["tls"]["tunnel"] == "Stunnel"
    scene.wait_endpoint(
        "tunnelled-expired", "TLSSecured", "False", why="CertificateExpired", seconds=120
    )

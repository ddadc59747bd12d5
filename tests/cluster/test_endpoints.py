"""MailEndpoints on a real cluster: real probes of real servers, and what MailSyncs make of it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.kube import KubeObject, condition
from tests.support.mail_server import MailServer, certificate
from tests.support.release import Release
from tests.support.stage import USER, Stage, stage

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def scene(release: Release) -> Iterator[Stage]:
    with stage(release) as scene:
        yield scene


def by(endpoint: str, server: MailServer) -> dict[str, Any]:
    """Return a side of a MailSync that refers to a MailEndpoint."""
    own = server.account(USER)
    return own | {"host": None, "tls": None, "endpointRef": {"name": endpoint}}


def shown(server: MailServer) -> dict[str, Any]:
    """Return what a certificate says of itself, read without any code of ours."""
    assert server.pod.tls is not None
    found = x509.load_pem_x509_certificate(server.pod.tls.certificate.encode())
    key = found.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {
        "notAfterTime": found.not_valid_after_utc.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "sha256": hashlib.sha256(found.public_bytes(Encoding.DER)).hexdigest(),
        "spkiSha256": base64.b64encode(hashlib.sha256(key).digest()).decode(),
        "names": names.get_values_for_type(x509.DNSName),
    }


def facts(endpoint: KubeObject) -> dict[str, Any]:
    known = endpoint["status"]["certificate"]
    wanted = ("notAfterTime", "sha256", "spkiSha256")
    return {key: known[key] for key in wanted} | {"names": endpoint["status"]["certificateNames"]}


def columns(scene: Stage, name: str) -> str:
    return scene.kube.run("get", "mep", name, "--no-headers")


def test_a_good_server_is_described_and_copied_from(scene: Stage) -> None:
    scene.endpoint("good", scene.source)
    scene.endpoint("target", scene.destination, tls={"mode": "StartTLS"})
    scene.sync(
        "shared", source=by("good", scene.source), destination=by("target", scene.destination)
    )
    endpoint = scene.wait_endpoint("good", "Ready", "True")
    status = endpoint["status"]
    assert facts(endpoint) == shown(scene.source)
    assert status["tls"]["protocol"] == "TLSv1.3"
    assert status["tls"]["verified"] == "Full"
    assert "IMAP4REV1" in status["capabilities"]
    assert "PLAIN" in status["authMechanisms"]
    assert status["serverId"]
    assert status["latencyMilliseconds"] < 1000
    for kind, wanted in (("TLSSecured", "True"), ("Reachable", "True")):
        assert condition(endpoint, kind)["status"] == wanted
    assert condition(endpoint, "CertificateExpiring")["status"] == "False"
    offers = {(o["port"], o["mode"]): o["offered"] for o in status["alternatives"]}
    assert offers.get((143, "StartTLS")) is True

    done = scene.wait_reason("shared", "Completed")
    assert done["status"]["tls"]["destination"]["mode"] == "StartTLS"
    line = columns(scene, "good")
    assert f"{scene.source.host}:993" in line
    assert "Encrypted" in line
    # A probe does not log in.
    assert scene.source.logins(USER) == 1
    events = {event["reason"] for event in scene.kube.events("MailEndpoint", "good")}
    assert events == {"EndpointReady"}


def test_an_expired_certificate_holds_runs_back_until_it_is_renewed(scene: Stage) -> None:
    good = scene.server("renewed")
    scene.endpoint("renewed", good)
    scene.sync("first", source=by("renewed", good))
    scene.wait_reason("first", "Completed")

    now = datetime.now(UTC)
    bad = good.with_certificate(
        certificate(
            scene.authority,
            good.host,
            not_before=now - timedelta(days=30),
            not_after=now - timedelta(days=1),
        )
    )
    endpoint = scene.probe_now("renewed")
    assert condition(endpoint, "TLSSecured")["status"] == "False"
    for kind in ("TLSSecured", "Ready", "CertificateExpiring"):
        assert condition(endpoint, kind)["reason"] == "CertificateExpired"
    assert condition(endpoint, "Reachable")["status"] == "True"
    assert facts(endpoint) == shown(bad)
    assert "tls" not in endpoint["status"]
    events = {event["reason"] for event in scene.kube.events("MailEndpoint", "renewed")}
    assert {"TLSNotSecured", "CertificateExpiring"} <= events

    scene.sync("second", source=by("renewed", good))
    scene.kube.patch("mailsync", "first", {"spec": {"trigger": {"manual": "again"}}})
    for name in ("first", "second"):
        ready = scene.wait_condition(name, "Ready", "False", why="CertificateExpired")
        assert 'MailEndpoint "renewed" of the source' in ready["message"]
        assert scene.wait_condition(name, "Succeeded", "Unknown", why="WaitingForEndpoint")
        assert scene.wait_condition(name, "Stalled", "True", why="CertificateExpired")
    assert len(scene.jobs("first")) == 1
    assert scene.jobs("second") == []
    assert bad.logins(USER) + bad.refused(USER) == 0

    renewed = bad.with_certificate(certificate(scene.authority, good.host))
    endpoint = scene.probe_now("renewed")
    assert condition(endpoint, "Ready")["status"] == "True"
    for name in ("first", "second"):
        scene.wait_reason(name, "Completed")
    assert renewed.logins(USER) == 2


def test_a_missing_endpoint_is_waited_for(scene: Stage) -> None:
    scene.sync("early", source=by("late", scene.source))
    ready = scene.wait_condition("early", "Ready", "False", why="EndpointNotFound")
    assert '"late"' in ready["message"]
    assert (
        condition(scene.wait_reason("early", "WaitingForEndpoint"), "Stalled")["status"] == "False"
    )
    scene.endpoint("late", scene.source)
    scene.wait_reason("early", "Completed")


def test_a_server_that_is_not_there_is_probed_again(scene: Stage) -> None:
    scene.endpoint("nobody", scene.source, port=144, probe={"periodSeconds": 60})
    scene.sync("nowhere", source=by("nobody", scene.source))
    endpoint = scene.wait_endpoint("nobody", "Reachable", "False", seconds=120)
    assert condition(endpoint, "Ready")["reason"] == "Unreachable"
    scene.wait_condition("nowhere", "Ready", "False", why="Unreachable")
    assert scene.jobs("nowhere") == []
    # Each token is a probe at once, and their Jobs do not pile up.
    for _ in range(2):
        endpoint = scene.probe_now("nobody")
    assert endpoint["status"]["lastProbe"]["number"] >= 3
    assert endpoint["status"]["consecutiveFailures"] >= 3
    scene.kube.until(lambda: len(scene.probes("nobody")) <= 2, what="old probes to be deleted")
    # The right port, and the run starts by itself.
    scene.kube.patch("mailendpoint", "nobody", {"spec": {"port": 993}})
    scene.wait_reason("nowhere", "Completed")


def test_a_missing_ca_is_named(scene: Stage) -> None:
    scene.endpoint("no-ca", scene.source, tls={"caRef": {"name": "not-there"}})
    endpoint = scene.wait_endpoint("no-ca", "Ready", "Unknown", why="ConfigMapNotFound")
    message = condition(endpoint, "Ready")["message"]
    assert 'ConfigMap "not-there" with the CA certificates of the server' in message


def test_the_operators_restart_changes_nothing(scene: Stage, release: Release) -> None:
    before = scene.kube.get("mailendpoint", "good")
    assert before is not None
    release.kube.delete("pod", release.operator_pod()["metadata"]["name"])
    release.operator_pod()
    after = scene.probe_now("good")
    assert after["status"]["lastProbe"]["number"] == before["status"]["lastProbe"]["number"] + 1
    lines = [
        line
        for line in release.metrics().splitlines()
        if line.startswith("mailsync_endpoint_") and f'namespace="{scene.kube.namespace}"' in line
    ]
    ends = datetime.fromisoformat(after["status"]["certificate"]["notAfterTime"]).timestamp()
    [expiry] = [line for line in lines if "certificate_expiry" in line and 'name="good"' in line]
    assert float(expiry.split()[-1]) == ends
    assert [line for line in lines if 'name="good"' in line and 'reason="ProbeMetPolicy"' in line]
    assert condition(after, "Ready") == condition(before, "Ready") | {
        "observedGeneration": after["metadata"]["generation"]
    }

"""The options of TLS and of logging in, from the manifest to the status, in real pods."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.dovecot_pod import secret
from tests.support.kube import condition
from tests.support.mail_server import MailServer, certificate
from tests.support.release import Release
from tests.support.stage import USER, Stage, stage

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def scene(release: Release) -> Iterator[Stage]:
    with stage(release) as scene:
        yield scene


def pin(server: MailServer) -> str:
    """Return the hash of a server's public key as RFC 7469 writes it."""
    assert server.pod.tls is not None
    found = x509.load_pem_x509_certificate(server.pod.tls.certificate.encode())
    key = found.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(key).digest()).decode()


def test_auto_takes_what_is_there_and_says_what_it_was(scene: Stage) -> None:
    clear = scene.server_without_tls("clear")
    scene.sync(
        "auto",
        source=scene.source.account(USER, tls={"mode": "Auto"}),
        destination=scene.destination.account(USER, port=143, tls={"mode": "Auto"}),
    )
    scene.sync("never-clear", source=clear.account(USER, mode="Auto", port=143))
    scene.sync("clear-if-need-be", source=clear.account(USER, mode="Opportunistic", port=143))

    done = scene.wait_reason("auto", "Completed")
    assert done["status"]["tls"]["source"]["mode"] == "Implicit"
    assert done["status"]["tls"]["destination"]["mode"] == "StartTLS"
    assert condition(done, "TLSSecured")["status"] == "True"

    scene.wait_condition("never-clear", "Stalled", "True", why="StartTLSNotOffered")

    done = scene.wait_reason("clear-if-need-be", "Completed")
    secured = condition(done, "TLSSecured")
    assert (secured["status"], secured["reason"]) == ("False", "ClearText")
    events = scene.kube.events("MailSync", "clear-if-need-be")
    assert "ClearText" in {event["reason"] for event in events}


def test_a_pin_holds_and_another_key_is_refused(scene: Stage) -> None:
    wrong = base64.b64encode(bytes(32)).decode()
    for name, pins in (("pinned", [pin(scene.source), wrong]), ("mispinned", [wrong])):
        scene.sync(name, source=scene.source.account(USER, tls={"pinnedSpkiSha256": pins}))
    done = scene.wait_reason("pinned", "Completed")
    assert done["status"]["tls"]["source"]["spkiSha256"] == pin(scene.source)
    before = scene.source.logins() + scene.source.refused()
    scene.wait_condition("mispinned", "Stalled", "True", why="CertificatePinMismatch")
    assert scene.source.logins() + scene.source.refused() == before


def test_a_client_certificate_comes_from_its_secret(scene: Stage) -> None:
    authority = trustme.CA()
    strict = scene.server("strict", client_ca=authority.cert_pem.bytes().decode())
    account = strict.account(USER, tls={"clientCertificateRef": {"name": "client"}})
    scene.sync("certified", source=account)
    ready = scene.wait_condition("certified", "Ready", "False", why="SecretNotFound")
    assert '"client"' in ready["message"]

    pair = certificate(authority, "alice.example.org")
    scene.kube.apply(secret("client", **{"tls.crt": pair.certificate, "tls.key": pair.key}))
    scene.wait_reason("certified", "Completed", seconds=180)
    assert strict.logins(USER) == 1

    scene.sync("uncertified", source=strict.account(USER))
    scene.wait_condition("uncertified", "Succeeded", "False")
    assert strict.logins(USER) == 1


def test_scram_logs_in_without_sending_the_password(scene: Stage) -> None:
    server = scene.server("scram", extra="auth_mechanisms = scram-sha-256\n")
    scene.sync("scram", source=server.account(USER))
    scene.sync("plain", source=server.account(USER, authentication={"mechanism": "Plain"}))
    scene.wait_reason("scram", "Completed")
    assert "method=SCRAM-SHA-256" in server.log()
    # What is asked for and not offered is a matter of the manifest; nothing weaker is tried.
    stalled = scene.wait_condition("plain", "Stalled", "True", why="InvalidConfiguration")
    assert "SCRAM-SHA-256" in stalled["message"]
    assert server.logins(USER) == 1

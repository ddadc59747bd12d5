"""What must not work: each refusal is said on the resource, and nothing secret was sent.

Whether a server saw a login attempt is read in its own log.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
import trustme

from tests.support.kube import KubeObject, condition, reason
from tests.support.mail_server import MailServer
from tests.support.release import Release
from tests.support.stage import USER, Stage, stage

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def scene(release: Release) -> Iterator[Stage]:
    with stage(release) as scene:
        yield scene


def attempts(server: MailServer) -> int:
    """Count the logins that a server saw from within the cluster, good and bad."""
    return server.logins() + server.refused()


def poke(scene: Stage, name: str) -> None:
    """Make the operator look again, and wait until it has: a change that asks for nothing."""
    scene.kube.patch("mailsync", name, {"spec": {"ttlSecondsAfterFinished": 4321}})
    obj = scene.kube.get("mailsync", name)
    assert obj is not None
    generation = obj["metadata"]["generation"]
    scene.kube.wait(
        "mailsync",
        name,
        lambda each: each["status"].get("observedGeneration") == generation,
        what=f"generation {generation} observed",
    )


def seconds_until(obj: KubeObject, kind: str) -> float:
    created = datetime.fromisoformat(obj["metadata"]["creationTimestamp"])
    changed = datetime.fromisoformat(condition(obj, kind)["lastTransitionTime"])
    return (changed - created).total_seconds()


def test_a_wrong_password_is_tried_once(scene: Stage) -> None:
    other = scene.server("other")
    scene.kube.apply(other.password(USER, "not the password"))
    scene.sync("wrong-password", source=other.account(USER))

    stalled = scene.wait_condition("wrong-password", "Stalled", "True", why="CredentialsRefused")
    assert "source" in stalled["message"]
    assert other.host in stalled["message"]
    succeeded = scene.wait_condition("wrong-password", "Succeeded", "False")
    assert succeeded["reason"] == "CredentialsRefused"

    poke(scene, "wrong-password")
    assert other.refused(USER) == 1
    assert len(scene.jobs("wrong-password")) == 1
    assert len(scene.pods("wrong-password")) == 1

    # The right password and a new token: it goes on.
    scene.kube.apply(other.password(USER))
    scene.kube.patch("mailsync", "wrong-password", {"spec": {"trigger": {"manual": "again"}}})
    done = scene.wait_reason("wrong-password", "Completed", seconds=180)
    assert condition(done, "Stalled")["status"] == "False"
    assert other.refused(USER) == 1


def test_a_missing_secret_is_named_and_it_starts_once_it_exists(scene: Stage) -> None:
    account = scene.source.account(
        USER, authentication={"secretRef": {"name": "later", "passwordKey": "secret"}}
    )
    scene.sync("missing-secret", source=account)
    ready = scene.wait_condition("missing-secret", "Ready", "False", why="SecretNotFound")
    for word in ('"later"', '"secret"', "source", scene.kube.namespace):
        assert word in ready["message"]
    obj = scene.kube.get("mailsync", "missing-secret")
    assert obj is not None
    assert reason(obj) == "Pending"
    assert condition(obj, "Stalled")["status"] == "False"
    # Promised: said within 10 s of the manifest.
    assert seconds_until(obj, "Ready") <= 10

    value = scene.source.password(USER)
    value["metadata"]["name"] = "later"
    value["data"] = {"wrong-key": value["data"]["password"]}
    scene.kube.apply(value)
    scene.wait_condition("missing-secret", "Ready", "False", why="SecretKeyNotFound", seconds=150)
    value["data"]["secret"] = value["data"].pop("wrong-key")
    scene.kube.apply(value)
    scene.wait_reason("missing-secret", "Completed", seconds=180)
    assert len(scene.jobs("missing-secret")) == 1


def test_a_missing_ca_config_map_is_named(scene: Stage) -> None:
    account = scene.destination.account(USER, tls={"caRef": {"name": "no-such-ca"}})
    scene.sync("missing-ca", destination=account)
    ready = scene.wait_condition("missing-ca", "Ready", "False", why="ConfigMapNotFound")
    assert '"no-such-ca"' in ready["message"]
    assert "destination" in ready["message"]
    scene.kube.delete("mailsync", "missing-ca")


TLS_CASES = ["wrong CA", "wrong name", "wrong CA after STARTTLS", "no STARTTLS"]


def refusing(scene: Stage, case: str) -> tuple[MailServer, str, str]:
    """Return a server for the case, the mode to reach it with, and the reason to expect."""
    match case:
        case "wrong CA":
            server = scene.server("stranger", authority=trustme.CA())
            return server, "Implicit", "CertificateNotTrusted"
        case "wrong name":
            server = scene.server("misnamed", "elsewhere.example.org")
            return server, "Implicit", "CertificateNameMismatch"
        case "wrong CA after STARTTLS":
            server = scene.server("stranger-starttls", authority=trustme.CA())
            return server, "StartTLS", "CertificateNotTrusted"
        case _:
            return scene.server_without_tls("plain"), "StartTLS", "StartTLSNotOffered"


@pytest.mark.parametrize("case", TLS_CASES)
@pytest.mark.parametrize("side", ["source", "destination"])
def test_without_the_tls_that_was_asked_for_nothing_is_sent(
    scene: Stage, case: str, side: str
) -> None:
    server, mode, expected = refusing(scene, case)
    before = attempts(server)
    name = f"{side}-{case.lower().replace(' ', '-')}"
    trust: dict[str, Any] = {"tls": {"mode": mode, "caRef": {"name": "mail-ca"}}}
    scene.sync(name, **{side: server.account(USER, **trust)})

    secured = scene.wait_condition(name, "TLSSecured", "False", why=expected)
    assert server.host in secured["message"]
    stalled = scene.wait_condition(name, "Stalled", "True", why=expected)
    assert side in stalled["message"]
    obj = scene.kube.get("mailsync", name)
    assert obj is not None
    assert obj["status"]["lastRun"]["exitCode"] == 76
    assert attempts(server) == before
    assert len(scene.pods(name)) == 1


def test_clear_text_is_only_where_it_was_asked_for_and_is_said(scene: Stage) -> None:
    server = scene.server_without_tls("old")
    scene.sync("clear", source=server.account(USER, mode="None"))
    done = scene.wait_reason("clear", "Completed")
    secured = condition(done, "TLSSecured")
    assert (secured["status"], secured["reason"]) == ("False", "ClearText")
    assert done["status"]["tls"]["source"]["secured"] is False
    assert done["status"]["tls"]["destination"]["secured"] is True
    assert any(event["reason"] == "ClearText" for event in scene.kube.events("MailSync", "clear"))


def test_what_the_api_server_cannot_check_is_said_on_the_status(scene: Stage) -> None:
    scene.sync("bad-regex", folders={"include": ["re:("]})
    stalled = scene.wait_condition("bad-regex", "Stalled", "True", why="InvalidConfiguration")
    assert "folders" in stalled["message"]
    assert "re:(" in stalled["message"]
    assert scene.jobs("bad-regex") == []

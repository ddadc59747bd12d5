"""docs/security.md: what it says to type and to write does what it says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.cluster.shell import run
from tests.support.builders import merged
from tests.support.kube import KubeObject, condition
from tests.support.pages import commands, manifests, page, section
from tests.support.release import Release
from tests.support.stage import USER, Stage, stage

pytestmark = pytest.mark.cluster

_PAGE = page("security.md")


@pytest.fixture(scope="module")
def scene(release: Release) -> Iterator[Stage]:
    with stage(release) as scene:
        yield scene


def typed(scene: Stage, command: str, *, folder: Path | None = None) -> str:
    """Return what a command says, with kubectl for this namespace."""
    kubectl = f"{scene.kube.kubectl} --kubeconfig={scene.kube.kubeconfig} -n {scene.kube.namespace}"
    line = command.replace("kubectl ", f"{kubectl} ", 1)
    return run(["bash", "-c", line], cwd=folder, check=False).stdout.strip()


def synced(scene: Stage, name: str, heading: str, **accounts: Any) -> KubeObject:
    """Run a MailSync with what the page says under a heading; return it as it ended."""
    (fragment,) = manifests(section(_PAGE, heading))
    scene.sync(name, **merged(accounts, fragment["spec"]))
    return scene.wait_reason(name, "Completed")


def test_is_it_secure(scene: Stage) -> None:
    scene.sync("alice")
    scene.wait_reason("alice", "Completed")
    text = section(_PAGE, "Is it secure?")
    message, allowed = (typed(scene, command) for command in commands(text))
    # The cipher is the servers' choice; all else is as on the page.
    assert message.replace("TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_256_GCM_SHA384") in text
    assert allowed == "no"


def test_certificates_verified_on_one_side_only(scene: Stage) -> None:
    stranger = scene.server("stranger", authority=trustme.CA())
    # The page leaves caRef out, as verify None goes without.
    source = stranger.account(USER, tls={"mode": "Implicit", "caRef": None})
    done = synced(
        scene, "one-side", "How do I verify certificates on one side only?", source=source
    )
    secured = condition(done, "TLSSecured")
    assert (secured["status"], secured["reason"]) == ("False", "CertificateNotVerified")
    assert "source" in secured["message"]
    assert "destination" not in secured["message"]
    assert done["status"]["tls"]["destination"]["verified"] == "Full"


def test_an_own_certificate_authority(scene: Stage, tmp_path: Path) -> None:
    authority = trustme.CA()
    company = scene.server("company", authority=authority)
    (tmp_path / "company-ca.pem").write_bytes(authority.cert_pem.bytes())
    heading = "How do I use our own certificate authority?"
    (command,) = commands(section(_PAGE, heading))
    assert "created" in typed(scene, command, folder=tmp_path)
    destination = company.account(USER, tls={"mode": "Implicit", "caRef": None})
    done = synced(scene, "own-ca", heading, destination=destination)
    assert done["status"]["tls"]["destination"]["verified"] == "Full"


def test_a_login_is_tested_by_a_dry_run(scene: Stage) -> None:
    done = synced(scene, "trial", "How do I test a connection and a login?")
    assert done["status"]["lastRun"]["dryRun"] is True
    assert condition(done, "Synced")["reason"] == "DryRun"

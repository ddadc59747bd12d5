"""docs/secrets.md: its commands make the Secrets it promises, and a migration lives by them."""

from __future__ import annotations

import base64
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.cluster.shell import run
from tests.support.pages import commands, manifests, page, section
from tests.support.release import Release
from tests.support.stage import DESTINATION_PASSWORD, SOURCE_PASSWORD, USER, Stage, stage

pytestmark = pytest.mark.cluster

_PAGE = page("secrets.md")


@pytest.fixture(scope="module")
def scene(release: Release) -> Iterator[Stage]:
    with stage(release) as scene:
        yield scene


@pytest.fixture(scope="module")
def desk(scene: Stage, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with what the page's reader has: a kubectl, files, a password manager."""
    folder = tmp_path_factory.mktemp("desk")
    (folder / "new.txt").write_text(DESTINATION_PASSWORD, encoding="utf-8")
    (folder / "old.csv").write_text("carol,Käse und Brot\ndave,x'\"$y\\\n", encoding="utf-8")
    (folder / "passwords").mkdir()
    (folder / "passwords" / "erin").write_text("erin's")
    tools = folder / "bin"
    tools.mkdir()
    (tools / "kubectl").symlink_to(scene.kube.kubectl)
    (tools / "kubectl-mailsync").symlink_to(Path(sys.executable).with_name("kubectl-mailsync"))
    (tools / "pass").write_text('#!/bin/sh\n[ "$*" = "show mail/bob" ] && echo "bob\'s"\n')
    (tools / "pass").chmod(0o755)
    config = yaml.safe_load(Path(scene.kube.kubeconfig).read_text(encoding="utf-8"))
    for each in config["contexts"]:
        each["context"]["namespace"] = scene.kube.namespace
    (folder / "kubeconfig").write_text(yaml.safe_dump(config))
    return folder


def type_in(desk: Path, heading: str, *answers: str) -> str:
    """Run a section's commands one after the other in one shell; returns what they said."""
    script = "\n".join(["set -euo pipefail", *commands(section(_PAGE, heading))])
    env = {
        **os.environ,
        "PATH": f"{desk / 'bin'}:{os.environ['PATH']}",
        "KUBECONFIG": str(desk / "kubeconfig"),
    }
    typed = "".join(f"{each}\n" for each in answers)
    return run(["bash", "-c", script], cwd=desk, env=env, stdin=typed, timeout=120).stdout


def value(scene: Stage, name: str, key: str = "password") -> str:
    found = scene.kube.get("secret", name)
    assert found is not None, name
    return base64.b64decode(found["data"][key]).decode()


# The tests of this module are the chapters of one story, in this order.


def test_secrets_are_made_with_every_byte_of_their_passwords(scene: Stage, desk: Path) -> None:
    type_in(desk, "Making one", "a wrong password")
    assert value(scene, "alice-old") == "a wrong password"
    assert value(scene, "alice-new") == DESTINATION_PASSWORD
    assert value(scene, "bob-old") == "bob's"


def test_every_layout(scene: Stage, desk: Path) -> None:
    type_in(desk, "Layouts")
    assert value(scene, "carol-old") == "Käse und Brot"
    assert value(scene, "dave-old") == "x'\"$y\\"
    assert value(scene, "old-passwords", "erin") == "erin's"
    assert value(scene, "frank-old") == DESTINATION_PASSWORD
    (immutable,) = [obj for obj in manifests(_PAGE) if obj.get("kind") == "Secret"]
    scene.kube.apply(immutable)
    assert value(scene, "grace-old") == immutable["stringData"]["password"]


def test_a_corrected_password(scene: Stage, desk: Path) -> None:
    scene.sync(
        "alice",
        source=scene.source.account(USER, authentication={"secretRef": {"name": "alice-old"}}),
        destination=scene.destination.account(
            USER, mode="StartTLS", authentication={"secretRef": {"name": "alice-new"}}
        ),
    )
    scene.wait_reason("alice", "CredentialsRefused")
    type_in(desk, "Changing one", SOURCE_PASSWORD)
    scene.wait_reason("alice", "Completed")


def test_what_is_no_longer_needed_goes(scene: Stage, desk: Path) -> None:
    said = type_in(desk, "Afterwards", "y")
    assert "alice-old" in said
    assert "carol-old" not in said
    assert scene.kube.get("secret", "alice-old") is None
    assert scene.kube.get("secret", "alice-new") is None
    assert scene.kube.get("secret", "carol-old") is not None

"""``kubectl mailsync cleanup`` on a real cluster, as kubectl runs it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.shell import run
from tests.support.release import Release
from tests.support.stage import USER, Stage, stage

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def scene(release: Release) -> Iterator[Stage]:
    with stage(release) as scene:
        yield scene


def plugin(scene: Stage, *arguments: str) -> str:
    """Run it by way of kubectl, which finds it on PATH."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    command = [scene.kube.kubectl, "mailsync", "cleanup", "-n", scene.kube.namespace, *arguments]
    environment = {**os.environ, "PATH": path, "KUBECONFIG": str(scene.kube.kubeconfig)}
    return run(command, env=environment).stdout


def test_secrets_of_finished_migrations_are_listed_and_deleted(scene: Stage) -> None:
    other = scene.server("other")
    scene.sync("open", source=other.account(USER), suspend=True)
    scene.sync("done")
    assert json.loads(plugin(scene, "-o", "json")) == []
    scene.wait_reason("done", "Completed")
    # The destination's is still needed by the other one.
    (found,) = json.loads(plugin(scene, "-o", "json"))
    assert (found["secret"], found["usedBy"]) == ("source-password", ["done"])
    assert "source-password" in plugin(scene)

    plugin(scene, "--delete", "--yes")
    assert scene.kube.get("secret", "source-password") is None
    assert scene.kube.get("secret", "destination-password") is not None
    assert json.loads(plugin(scene, "-o", "json")) == []

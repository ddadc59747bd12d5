"""The chart's life on a real cluster: limited to namespaces, removed, installed again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.builders import manifest
from tests.support.kube import condition
from tests.support.release import install

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.interface import ClusterProvider
    from tests.support.kube import Kube
    from tests.support.release import Release

pytestmark = pytest.mark.cluster


@pytest.fixture
def team(release: Release) -> Iterator[Kube]:
    """Make a namespace that an operator of its own is to watch."""
    found = release.kube.within("team")
    found.fresh()
    yield found
    for name in (found.namespace, "team-system"):
        found.delete("namespace", name, wait=False)


def test_an_operator_of_some_namespaces_may_do_nothing_elsewhere(
    cluster: ClusterProvider, team: Kube
) -> None:
    values = {
        "fullnameOverride": "mailsync-team",
        "watchNamespaces": [team.namespace],
        "crds": {"install": False},
        "rbac": {"aggregate": False},
    }
    small = install(cluster, namespace="team-system", values=values)
    user = "system:serviceaccount:team-system:mailsync-team"
    here, elsewhere = team.acting_as(user), team.within("default").acting_as(user)
    wanted = [("list", "mailsyncs"), ("create", "jobs"), ("get", "pods/log")]
    assert [here.can_i(*each) for each in wanted] == [True] * 3
    assert [elsewhere.can_i(*each) for each in wanted] == [False] * 3
    assert not here.can_i("get", "secrets")
    small.helm(cluster, "uninstall", small.name, "--wait")


def test_uninstalling_keeps_every_mailsync_for_the_next_installation(
    cluster: ClusterProvider, release: Release, team: Kube
) -> None:
    team.apply(manifest("kept", team.namespace, suspend=True))
    release.helm(cluster, "uninstall", release.name, "--wait")
    try:
        kept = team.get("mailsync", "kept")
        assert kept is not None
    finally:
        install(cluster, images=release.images)

    def suspended(obj: dict[str, object]) -> bool:
        return condition(obj, "Succeeded").get("reason") == "Suspended"

    team.wait("mailsync", "kept", suspended, what="seen by the new operator")

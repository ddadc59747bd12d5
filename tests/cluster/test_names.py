"""Many MailSyncs at once, two with the longest names allowed: each gets a Job of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.support.kube import reason
from tests.support.release import Release
from tests.support.stage import Stage, stage

pytestmark = pytest.mark.cluster

_LONGEST = 253
_NAMES = [
    # Equal in all that a Job's name has room for.
    "a" * (_LONGEST - 1) + "x",
    "a" * (_LONGEST - 1) + "y",
    # With dots and dashes where a name may be cut.
    "b." * 20 + "b",
    "c" * 30 + "-" * 21 + "c",
    *(f"mailbox-{number:02}" for number in range(16)),
]
_VALID = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


@pytest.fixture(scope="module")
def scene(release: Release) -> Iterator[Stage]:
    with stage(release) as scene:
        yield scene


def test_twenty_mailsyncs_have_twenty_jobs(scene: Stage) -> None:
    assert len(_NAMES) == 20
    for name in _NAMES:
        scene.sync(name)

    def states() -> list[str]:
        return [reason(each) for each in scene.kube.all_of("mailsyncs")]

    scene.kube.until(
        lambda: states() == ["Completed"] * len(_NAMES),
        what="all completed",
        seconds=240,
        detail=lambda: str(states()),
    )
    jobs = scene.kube.all_of("jobs")
    names = [job["metadata"]["name"] for job in jobs]
    assert len(set(names)) == len(_NAMES)
    assert [n for n in names if len(n) > 63 or not _VALID.fullmatch(n)] == []
    owners = {job["metadata"]["ownerReferences"][0]["name"] for job in jobs}
    assert owners == set(_NAMES)

"""The cluster of the tests in this folder: brought up once, left as it was found."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.cluster.providers import provider
from tests.support.release import Release, install

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.interface import ClusterProvider


@pytest.fixture(scope="session")
def cluster() -> Iterator[ClusterProvider]:
    """Bring a cluster up; it is taken down at the end if these tests started it.

    ``KEEP_CLUSTER=1`` leaves it up for the next run, which then starts at once.
    """
    found = provider()
    started = not any(component.healthy for component in found.status())
    found.up()
    yield found
    if started and os.environ.get("KEEP_CLUSTER", "") in {"", "0"}:
        found.down()


@pytest.fixture(scope="session")
def release(cluster: ClusterProvider) -> Release:
    """Install the chart of this checkout, with images of this checkout."""
    return install(cluster)

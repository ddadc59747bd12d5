"""Hypothesis profiles, and the order of the tests: the fast ones first."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    import pytest

_SLOW = ("servers", "crash", "faults", "cluster", "bench")

pytest_plugins = ("tests.support.secrecy_plugin",)

settings.register_profile("dev", max_examples=50, deadline=None)
settings.register_profile("ci", max_examples=200, deadline=None, derandomize=True)
settings.register_profile(
    "thorough", max_examples=2000, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the slow groups last, the slowest at the end; the order within a group stays."""

    def rank(item: pytest.Item) -> int:
        return max(
            (_SLOW.index(m.name) + 1 for m in item.iter_markers() if m.name in _SLOW), default=0
        )

    items.sort(key=rank)

"""The manifests in the page on logging in are valid, and it speaks of every mechanism."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from mailsync_api.endpoint import Mechanism
from mailsync_api.oauth2 import Grant
from mailsync_syncjob.imap.scram import MAX_ITERATIONS, MIN_ITERATIONS
from tests.support.builders import mailsync

_TEXT = (Path(__file__).parents[2] / "docs" / "authentication.md").read_text(encoding="utf-8")
_MANIFESTS: list[dict[str, Any]] = [
    yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", _TEXT, re.DOTALL)
]


def test_there_are_manifests() -> None:
    assert len(_MANIFESTS) >= 4


@pytest.mark.parametrize("spec", _MANIFESTS, ids=range(len(_MANIFESTS)))
def test_a_manifest_is_valid(spec: dict[str, Any]) -> None:
    assert set(spec) <= {"source", "destination"}
    # The page's own fields only: the builder's Secret must not help out.
    sides: dict[str, Any] = {side: {**account} for side, account in spec.items()}
    for account in sides.values():
        account["authentication"] = {"secretRef": None, **account["authentication"]}
    mailsync(**sides)


def test_every_mechanism_and_grant_is_in_its_table() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", _TEXT, re.MULTILINE)
    assert sorted(rows) == sorted([*Mechanism, *Grant])


def test_the_figures_are_those_of_the_code() -> None:
    assert f"below {MIN_ITERATIONS:,} or above {MAX_ITERATIONS:,}" in _TEXT

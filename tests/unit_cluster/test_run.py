"""Which tests run: all, less what was named."""

from __future__ import annotations

import pytest

from tests.cluster.shell import ToolingError
from tests.run import main, selection


@pytest.mark.parametrize(
    ("skipped", "expected"),
    [
        (set(), "not bench"),
        ({"cluster"}, "not bench and not cluster"),
        ({"servers", "cluster"}, "not bench and not cluster and not servers"),
    ],
)
def test_groups_are_left_out_by_name(skipped: set[str], expected: str) -> None:
    assert selection(skipped) == expected


def test_an_unknown_group_is_named() -> None:
    with pytest.raises(ToolingError, match=r"SKIP=clutser: .*choose from servers"):
        selection({"clutser"})


def test_an_unknown_group_runs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--skip", "clutser"]) == 2
    assert "clutser" in capsys.readouterr().err

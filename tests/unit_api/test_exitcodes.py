"""The exit-code table: complete, and what the Job's podFailurePolicy needs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mailsync_api.exitcodes import (
    EXIT_TABLE,
    ExitCode,
    PodFailureAction,
    RetryClass,
    exit_info,
    fail_job_codes,
)


def test_every_code_has_a_row_and_a_reason_of_its_own() -> None:
    assert set(EXIT_TABLE) == set(ExitCode)
    assert len({row.reason for row in EXIT_TABLE.values()}) == len(ExitCode)


def test_fail_job_codes() -> None:
    # Kubernetes wants them sorted, without 0 and at most 255.
    assert fail_job_codes() == (64, 65, 73, 75, 76, 77, 78, 79, 80, 81)


def test_another_attempt_is_never_made_where_only_a_person_can_help() -> None:
    for row in EXIT_TABLE.values():
        if row.retry in {RetryClass.PERSON, RetryClass.THROTTLED}:
            assert row.action is PodFailureAction.FAIL_JOB, row


@pytest.mark.parametrize(("code", "expected"), [(77, 77), (137, 70), (1, 70), (143, 143), (0, 0)])
def test_a_foreign_exit_code_counts_as_internal(code: int, expected: int) -> None:
    assert exit_info(code).code == expected


def test_the_page_says_what_the_table_says() -> None:
    page = (Path(__file__).parents[2] / "docs" / "exit-codes.md").read_text(encoding="utf-8")
    said = [line for line in page.splitlines() if re.match(r"\| \d+ \|", line)]
    assert said == [
        f"| {int(row.code)} | {row.meaning} | {row.retry.value} | {row.action.value} "
        f"| `{row.reason.value}` |"
        for row in EXIT_TABLE.values()
    ]

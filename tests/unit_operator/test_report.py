"""The report: found in a log, kept in bounded size."""

from __future__ import annotations

import json

import pytest

from mailsync_api import names
from mailsync_api.report import FolderReport, Report, ReportLine, SkippedMessage
from mailsync_api.state import STATE_BYTES, FolderNumbers, folder_key, state_text
from mailsync_operator.report import (
    CONFIG_MAP_BYTES,
    REPORT_BYTES,
    REPORT_KEY,
    find_report,
    report_config_map,
)
from tests.unit_operator.objects import NOW, mailsync_object, verdict


def report(*, skipped: int = 0, folders: int = 0) -> Report:
    return Report(
        verdict=verdict(),
        skipped=[
            SkippedMessage(folder="INBOX", uid=number, reason="r" * 100)
            for number in range(skipped)
        ],
        folders=[
            FolderReport(source=f"Folder {number}", destination="x" * 50)
            for number in range(folders)
        ],
    )


def line(found: Report) -> str:
    return json.dumps(ReportLine(time=NOW, report=found).to_wire())


def test_the_last_report_of_a_log_counts() -> None:
    log = "\n".join(["words", line(report(skipped=1)), line(report(skipped=2)), "words"])
    found = find_report(log)
    assert found is not None
    assert len(found.skipped) == 2


def test_half_a_report_is_none() -> None:
    assert find_report(line(report(skipped=2))[100:]) is None
    assert find_report("") is None


def test_a_huge_report_is_cut_and_says_so() -> None:
    huge = report(skipped=20000, folders=20000)
    body = report_config_map(mailsync_object(), huge, run=3)
    text = body["data"][REPORT_KEY]
    assert len(text.encode()) <= REPORT_BYTES
    kept = json.loads(text)
    for name in ("skipped", "folders"):
        assert len(kept[name]) + kept["omitted"][name] == 20000
    assert kept["skipped"][0]["uid"] == 0


def test_a_small_report_is_kept_whole() -> None:
    body = report_config_map(mailsync_object(), report(skipped=3), run=1)
    kept = json.loads(body["data"][REPORT_KEY])
    assert "omitted" not in kept
    assert Report.model_validate(kept) == report(skipped=3)
    [owner] = body["metadata"]["ownerReferences"]
    assert owner["uid"] == mailsync_object().uid


def huge_state(folders: int) -> str:
    subject, most = "5a" * 16, 2**32 - 1
    one = FolderNumbers(most, most, most - 1, 2**50, most, most, most - 1, 2**50, 2**40)
    found = {folder_key(subject, b"%d" % number, b""): one for number in range(folders)}
    return state_text(subject, found)[0]


def test_the_state_of_5000_folders_fits_beside_any_report() -> None:
    huge = report(skipped=20000, folders=5000).model_copy(update={"state": huge_state(5000)})
    found = find_report(line(huge))
    assert found is not None
    data = report_config_map(mailsync_object(), found, run=3)["data"]
    assert data[names.STATE_FILE_NAME] == huge.state
    # Keys count too (core/v1: 1 MiB in all).
    assert sum(len((key + value).encode()) for key, value in data.items()) < 1 << 20
    kept = json.loads(data[REPORT_KEY])
    assert "state" not in kept
    assert kept["skipped"]


def test_a_state_that_is_too_large_is_dropped_and_that_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    huge = report().model_copy(update={"state": "x" * (STATE_BYTES + 1)})
    assert set(report_config_map(mailsync_object(), huge, run=3)["data"]) == {REPORT_KEY}
    assert f"{STATE_BYTES + 1} bytes" in caplog.text
    assert STATE_BYTES < CONFIG_MAP_BYTES


def test_without_a_state_there_is_no_file() -> None:
    assert set(report_config_map(mailsync_object(), report(), run=3)["data"]) == {REPORT_KEY}

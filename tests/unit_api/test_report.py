"""The engine's output: what is parsed, what is passed over, and the verdict's size."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsync_api.endpoint import TLSMode, TLSVerify
from mailsync_api.exitcodes import ExitCode
from mailsync_api.names import TERMINATION_MESSAGE_BYTES
from mailsync_api.report import (
    LogLine,
    ProgressLine,
    Report,
    ReportLine,
    Strategy,
    Verdict,
    parse_line,
    parse_verdict,
)
from mailsync_api.status import Progress, TLSFacts, TLSStatus

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def _facts() -> TLSFacts:
    return TLSFacts(
        mode=TLSMode.IMPLICIT,
        secured=True,
        verified=TLSVerify.FULL,
        subject="s" * 600,
        issuer="i" * 600,
    )


@given(st.text(max_size=1024))
def test_a_verdict_fits_the_termination_message(message: str) -> None:
    verdict = Verdict(
        exit_code=ExitCode.TLS_POLICY,
        reason="CertificateExpired",
        message=message,
        tls=TLSStatus(source=_facts(), destination=_facts()),
        strategy=Strategy(source_connections=4, fewer_connections_reason="f" * 512),
    )
    text = verdict.to_termination_message()
    assert len(text.encode()) <= TERMINATION_MESSAGE_BYTES
    again = parse_verdict(text)
    assert again is not None
    assert (again.exit_code, again.reason) == (76, "CertificateExpired")
    assert message.startswith(again.message)


@pytest.mark.parametrize("text", ["", "killed", "{}", "[]", '{"exitCode": 5, "reason": "X"}'])
def test_what_is_no_verdict(text: str) -> None:
    assert parse_verdict(text) is None


@pytest.mark.parametrize(
    "line",
    [
        LogLine(time=NOW, level="info", message="hello"),
        ProgressLine(time=NOW, progress=Progress(percent=5)),
        ReportLine(
            time=NOW,
            report=Report(verdict=Verdict(exit_code=ExitCode.DONE, reason="Completed", message="")),
        ),
    ],
)
def test_lines_survive_the_round_trip(line: LogLine | ProgressLine | ReportLine) -> None:
    assert parse_line(line.model_dump_json(by_alias=True)) == line


@pytest.mark.parametrize("text", ["", "Traceback (most recent call last):", "{", '{"type":"x"}'])
def test_what_is_no_line_is_passed_over(text: str) -> None:
    assert parse_line(text) is None


def test_a_newer_engine_may_say_more() -> None:
    line = json.loads(LogLine(time=NOW, level="info", message="x").model_dump_json(by_alias=True))
    assert isinstance(parse_line(json.dumps({**line, "colour": "red"})), LogLine)

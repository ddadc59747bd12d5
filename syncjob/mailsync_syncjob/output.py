"""Where the engine's words go: JSON lines for programs, or a terminal for people."""

from __future__ import annotations

import sys
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, Protocol, TextIO, TypeAlias

from mailsync_api.report import LogLine, ProgressLine, ReportLine, SessionLine

if TYPE_CHECKING:
    from mailsync_api.base import ApiModel
    from mailsync_api.endpoint import Side
    from mailsync_api.report import Report
    from mailsync_api.status import Progress, TLSFacts
    from mailsync_syncjob.deadline import Clock

__all__ = ["JsonLines", "Level", "OneAtATime", "Output", "Tee"]

Level: TypeAlias = Literal["debug", "info", "warning", "error"]


class Output(Protocol):
    """What a run says while it goes on. Nothing of it holds mail or secrets."""

    def log(self, level: Level, message: str) -> None:
        """Say something."""

    def session(self, side: Side, facts: TLSFacts) -> None:
        """Say that a server was logged in to, and how safely."""

    def progress(self, progress: Progress) -> None:
        """Say how far the run is."""

    def report(self, report: Report) -> None:
        """Say how it ended; the last call."""


class JsonLines:
    """One JSON object a line (``mailsync_api.report``)."""

    def __init__(self, clock: Clock, *, stream: TextIO | None = None) -> None:
        self._clock = clock
        self._stream = stream or sys.stdout

    def log(self, level: Level, message: str) -> None:
        """Write a log line."""
        self._write(LogLine(time=self._now(), level=level, message=message[:32768]))

    def session(self, side: Side, facts: TLSFacts) -> None:
        """Write a session line."""
        self._write(SessionLine(time=self._now(), side=side, tls=facts))

    def progress(self, progress: Progress) -> None:
        """Write a progress line."""
        self._write(ProgressLine(time=self._now(), progress=progress))

    def report(self, report: Report) -> None:
        """Write the report line."""
        self._write(ReportLine(time=self._now(), report=report))

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.time(), tz=UTC)

    def _write(self, line: ApiModel) -> None:
        self._stream.write(line.model_dump_json(by_alias=True, exclude_none=True) + "\n")
        self._stream.flush()


class Tee:
    """Says everything to several outputs."""

    def __init__(self, *outputs: Output) -> None:
        self._outputs = outputs

    def log(self, level: Level, message: str) -> None:
        """Pass it on."""
        for output in self._outputs:
            output.log(level, message)

    def session(self, side: Side, facts: TLSFacts) -> None:
        """Pass it on."""
        for output in self._outputs:
            output.session(side, facts)

    def progress(self, progress: Progress) -> None:
        """Pass it on."""
        for output in self._outputs:
            output.progress(progress)

    def report(self, report: Report) -> None:
        """Pass it on."""
        for output in self._outputs:
            output.report(report)


class OneAtATime:
    """Passes everything on, for several threads, which do not interrupt each other."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._lock = threading.Lock()

    def log(self, level: Level, message: str) -> None:
        """Pass it on."""
        with self._lock:
            self._output.log(level, message)

    def session(self, side: Side, facts: TLSFacts) -> None:
        """Pass it on."""
        with self._lock:
            self._output.session(side, facts)

    def progress(self, progress: Progress) -> None:
        """Pass it on."""
        with self._lock:
            self._output.progress(progress)

    def report(self, report: Report) -> None:
        """Pass it on."""
        with self._lock:
            self._output.report(report)

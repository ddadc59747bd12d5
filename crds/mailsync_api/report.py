"""What the engine says: JSON lines on stdout, and the verdict in the termination message.

Every line is one object with ``type`` and ``time``. ``progress`` and ``session`` lines come while
it runs, one ``report`` line is the last. The verdict, at most 3 KiB, is what a lost log still
leaves. No line holds passwords, subjects or bodies.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from mailsync_api.base import Bytes, Count, MessageText, OpenApiModel, Time
from mailsync_api.endpoint import Compression, Side
from mailsync_api.exitcodes import ExitCode
from mailsync_api.names import TERMINATION_MESSAGE_BYTES
from mailsync_api.status import Progress, TLSFacts, TLSStatus

__all__ = [
    "FolderReport",
    "LimitReport",
    "Line",
    "LogLine",
    "ProgressLine",
    "Report",
    "ReportLine",
    "SessionLine",
    "SkippedMessage",
    "Strategy",
    "Totals",
    "Verdict",
    "WaitReport",
    "parse_line",
    "parse_verdict",
]


class Totals(OpenApiModel):
    """What a run found and did, in all."""

    folders: Count = 0
    """Selected folders at the source."""
    folders_created: Count = 0
    """Folders made at the destination; with DryRun, those that would be."""
    messages: Count = 0
    """Messages at the source in the selected folders."""
    copied: Count = 0
    """Messages copied; with DryRun, those that would be."""
    already_present: Count = 0
    """Messages found at the destination."""
    skipped: Count = 0
    """Messages that could not be copied."""
    flags_updated: Count = 0
    """Messages at the destination that got flags or keywords in addition."""
    bytes_total: Bytes = 0
    """Bytes of all messages at the source."""
    bytes_copied: Bytes = 0
    """Bytes of the copied messages."""
    bytes_read: Bytes = 0
    """Bytes of messages that were read from the source to copy them, some of them twice."""


class Strategy(OpenApiModel):
    """How the work was done: what was chosen, and what the servers made of it."""

    source_connections: Count = 0
    """Connections to the source at the same time, at most."""
    destination_connections: Count = 0
    """Connections to the destination at the same time, at most."""
    fewer_connections_reason: Annotated[str, Field(max_length=512)] = ""
    """Why there were no more of them although they were wanted; empty where nobody said no."""
    storing: Annotated[str, Field(max_length=64)] = ""
    """How messages were stored; empty where none was."""
    batch_messages: Count = 0
    """How many messages were stored with one command, at most."""
    batch_bytes: Bytes = 0
    """How many bytes were stored with one command, at most but for the last message."""
    literals: Annotated[str, Field(max_length=64)] = ""
    """How messages were sent: unasked by an extension that it names, or each one asked for."""
    canary: Annotated[str, Field(max_length=64)] = ""
    """What the trial found out whether the destination keeps messages and commands apart; empty
    where none was due."""
    source_compression: Compression = Compression.NONE
    """How what was said with the source was compressed."""
    destination_compression: Compression = Compression.NONE
    """How what was said with the destination was compressed."""


class Verdict(OpenApiModel):
    """How a run ended, in short: the termination message."""

    exit_code: ExitCode
    """The exit code."""
    reason: Annotated[str, Field(max_length=128, pattern=r"^[A-Za-z]+$")]
    """The reason, at least as fine as the exit code."""
    message: Annotated[str, Field(max_length=1024)]
    """What happened and what to do about it, for people."""
    side: Side | None = None
    """Which server it was about."""
    retry_after_seconds: Count | None = None
    """How long the server asked to wait, in seconds (exit code 75)."""
    totals: Totals = Totals()
    """What was found and done until then."""
    tls: TLSStatus = TLSStatus()
    """What was negotiated."""
    duration_seconds: Count = 0
    """How long it took."""
    dry_run: bool = False
    """Whether nothing was to be changed."""
    strategy: Strategy | None = None
    """How the work was done; absent where it did not begin."""

    def to_termination_message(self) -> str:
        """Return the verdict as JSON of at most 3 KiB; the message is cut first."""
        wire = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        text = json.dumps(wire, separators=(",", ":"))
        while len(text) > TERMINATION_MESSAGE_BYTES and wire["message"]:
            # Escapes may take six characters each, so the cut is by steps, not computed.
            wire["message"] = wire["message"][: len(wire["message"]) * 3 // 4]
            text = json.dumps(wire, separators=(",", ":"))
        for part in ("strategy", "tls"):
            if len(text) > TERMINATION_MESSAGE_BYTES:
                wire.pop(part, None)
                text = json.dumps(wire, separators=(",", ":"))
        return text


class SkippedMessage(OpenApiModel):
    """A message that was not copied."""

    folder: str
    """The source folder's name."""
    uid: Count
    """The message's UID there."""
    message_id: str | None = None
    """Its Message-ID, if it has one."""
    size: Bytes = 0
    """Its size in bytes."""
    reason: str
    """Why, as the server said it."""


class FolderReport(OpenApiModel):
    """One folder's figures."""

    source: str
    """Name at the source."""
    destination: str
    """Name at the destination."""
    messages: Count = 0
    """Messages at the source."""
    copied: Count = 0
    """Messages copied."""
    already_present: Count = 0
    """Messages found at the destination."""
    skipped: Count = 0
    """Messages not copied."""
    extra_at_destination: Count = 0
    """Messages at the destination that the source does not have."""
    flags_updated: Count = 0
    """Messages that got flags or keywords in addition."""
    keywords_refused: list[str] = []
    """Keywords that the destination does not keep."""


class LimitReport(OpenApiModel):
    """A limit that held for the run."""

    name: str
    """Its field in limits."""
    value: Count
    """How much it allows."""
    origin: str
    """Whose it is."""
    waited_seconds: Count = 0
    """How long reading waited for it; with several connections, all of their waits."""
    reached: bool = False
    """Whether the run was as fast, or copied as much, as it allows."""


class WaitReport(OpenApiModel):
    """A server's request to wait."""

    side: Side | None = None
    """Which server's."""
    message: Annotated[str, Field(max_length=1024)] = ""
    """Its words."""
    asked_seconds: Count | None = None
    """How long it wants to be left alone; absent where it did not say."""
    waited_seconds: Count = 0
    """How long the run waited; 0 where it ended instead."""


class Report(OpenApiModel):
    """The whole report of a run."""

    verdict: Verdict
    """How it ended."""
    folders: list[FolderReport] = []
    """Each folder."""
    skipped: list[SkippedMessage] = []
    """Each message that was not copied."""
    state: str | None = None
    """The resume state (``mailsync_api.state``) to give to the next run, as it is."""
    limits: list[LimitReport] = []
    """Each limit that held: the strictest of its kind."""
    waits: list[WaitReport] = []
    """What the servers asked for besides; the list is cut at 50."""


class LogLine(OpenApiModel):
    """Something worth saying."""

    type: Literal["log"] = "log"
    time: Time
    level: Literal["debug", "info", "warning", "error"]
    message: MessageText


class SessionLine(OpenApiModel):
    """A server was logged in to."""

    type: Literal["session"] = "session"
    time: Time
    side: Side
    tls: TLSFacts


class ProgressLine(OpenApiModel):
    """How far the run is."""

    type: Literal["progress"] = "progress"
    time: Time
    progress: Progress


class ReportLine(OpenApiModel):
    """The last line."""

    type: Literal["report"] = "report"
    time: Time
    report: Report


Line = Annotated[LogLine | SessionLine | ProgressLine | ReportLine, Field(discriminator="type")]
"""Any line of the engine's output."""

_LINE: TypeAdapter[LogLine | SessionLine | ProgressLine | ReportLine] = TypeAdapter(Line)


def parse_line(text: str) -> LogLine | SessionLine | ProgressLine | ReportLine | None:
    """Return one line of the engine's output, None for anything else (a library's stray words)."""
    try:
        return _LINE.validate_json(text)
    except ValidationError:
        return None


def parse_verdict(text: str) -> Verdict | None:
    """Return the verdict of a termination message, None if it is not one."""
    try:
        data: Any = json.loads(text)
        return Verdict.model_validate(data)
    except ValueError:  # pydantic's ValidationError is one too
        return None

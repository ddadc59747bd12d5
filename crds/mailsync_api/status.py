"""The status of a MailSync: what users and programs see of it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from mailsync_api.base import ApiModel, Bytes, Count, MessageText, Time
from mailsync_api.conditions import Condition
from mailsync_api.endpoint import TLSMode, TLSVerify
from mailsync_api.network import TunnelType
from mailsync_api.schema import list_map

__all__ = [
    "CopiedBytes",
    "MailSyncStatus",
    "Progress",
    "RunRecord",
    "RunResult",
    "RunType",
    "TLSFacts",
    "TLSStatus",
    "Tally",
]

_Text = Annotated[str, Field(max_length=1024)]


class Tally(ApiModel):
    """How much of something is done."""

    total: Count = 0
    """All there is at the source, in the selected folders, as far as it is known yet."""
    completed: Count = 0
    """What is dealt with: found at the destination, or copied."""


class Progress(ApiModel):
    """How far the current run is, or how the last one ended."""

    folders: Tally = Tally()
    """Folders."""
    messages: Tally = Tally()
    """Messages."""
    bytes: Tally = Tally()
    """Bytes of messages, as the source counts them (RFC822.SIZE)."""
    copied_messages: Count = 0
    """Messages that this run copied."""
    skipped: Count = 0
    """Messages that this run could not copy; the report names each."""
    percent: Annotated[int, Field(ge=0, le=100)] = 0
    """Done, of a hundred: by bytes where they are known, else by messages."""
    messages_per_second: Count = 0
    """Messages dealt with per second, lately."""
    bytes_per_second: Bytes = 0
    """Bytes dealt with per second, lately."""
    estimated_completion_time: Time | None = None
    """When the run will be done if it goes on as lately."""
    update_time: Time | None = None
    """When these figures were taken."""


class TLSFacts(ApiModel):
    """What was negotiated with one server."""

    mode: TLSMode
    """How TLS was started, as it came about: Implicit or StartTLS also where the policy says Auto;
    Opportunistic, or None, is a connection in clear text."""
    secured: bool
    """Whether the connection is encrypted."""
    verified: TLSVerify
    """What was verified of the certificate: Full, ChainOnly or None."""
    protocol: _Text | None = None
    """The protocol version, for example TLSv1.3."""
    cipher: _Text | None = None
    """The cipher suite."""
    server_name: _Text | None = None
    """The name that was verified, or sent as SNI."""
    subject: _Text | None = None
    """The certificate's subject; known where the chain was verified."""
    issuer: _Text | None = None
    """The certificate's issuer; known where the chain was verified."""
    not_after_time: Time | None = None
    """When the certificate ends; known where the chain was verified."""
    sha256: Annotated[str, Field(max_length=64, pattern=r"^[0-9a-f]{64}$")] | None = None
    """The certificate's SHA-256 fingerprint, in hexadecimal digits."""
    spki_sha256: Annotated[str, Field(max_length=64)] | None = None
    """The SHA-256 hash of the certificate's public key in base64, as pinnedSpkiSha256 takes it."""
    pinned: bool = False
    """Whether that public key is one of the policy's pinnedSpkiSha256."""
    # A set of one value is a constant to pydantic, which the CRD's schema would lose.
    tunnel: Annotated[TunnelType, Field(json_schema_extra={"enum": ["Stunnel"]})] | None = None
    """Which tunnel did the TLS in the engine's place; the certificate's end and hashes are not
    known then."""


class TLSStatus(ApiModel):
    """What was negotiated with both servers."""

    source: TLSFacts | None = None
    """With the source."""
    destination: TLSFacts | None = None
    """With the destination."""


class RunType(StrEnum):
    """Which pass a run is."""

    INITIAL = "Initial"
    DELTA = "Delta"


class RunResult(StrEnum):
    """How a run ended."""

    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class CurrentRun(ApiModel):
    """The run that is under way."""

    number: Annotated[int, Field(ge=1, le=2**31 - 1)]
    """Counted from 1."""
    type: RunType
    """Initial until one pass succeeded, then Delta."""
    job_name: Annotated[str, Field(max_length=63)]
    """The Job of this run."""
    start_time: Time
    """When the Job was created."""
    attempts: Count = 0
    """How many pods were started for it so far."""
    manual: Annotated[str, Field(max_length=253)] | None = None
    """The value of trigger.manual that the run answers."""
    secrets_version: Count | None = None
    """Up to which change of Secrets (a resourceVersion) the operator knew of them when the run
    started; absent where it may not watch them."""


class RunRecord(ApiModel):
    """A run that is over."""

    number: Annotated[int, Field(ge=1, le=2**31 - 1)]
    """Counted from 1."""
    type: RunType
    """Initial until one pass succeeded, then Delta."""
    job_name: Annotated[str, Field(max_length=63)]
    """The Job of this run; it is gone after ttlSecondsAfterFinished."""
    start_time: Time
    """When the Job was created."""
    completion_time: Time
    """When it ended."""
    duration_seconds: Count
    """From start to end, in seconds."""
    attempts: Count = 0
    """How many pods were started for it."""
    result: RunResult
    """Succeeded or Failed."""
    reason: Annotated[str, Field(max_length=128)]
    """Completed, or why it failed."""
    message: MessageText = ""
    """The same, for people."""
    exit_code: Annotated[int, Field(ge=0, le=255)] | None = None
    """The engine's exit code; absent when its pod was lost."""
    retry_after_seconds: Count | None = None
    """How long the server asked to wait, in seconds."""
    dry_run: bool = False
    """Whether the run only compared."""
    spec_hash: Annotated[str, Field(max_length=64)] | None = None
    """A hash of those parts of the spec that the run went by."""
    servers_hash: Annotated[str, Field(max_length=64)] | None = None
    """A hash of the servers that it went to, with what MailEndpoints stood for at the time."""
    manual: Annotated[str, Field(max_length=253)] | None = None
    """The value of trigger.manual that the run answered."""
    secrets_version: Count | None = None
    """Up to which change of Secrets (a resourceVersion) the operator knew of them when the run
    started; absent where it may not watch them."""
    messages_total: Count = 0
    """Messages at the source in the selected folders."""
    messages_copied: Count = 0
    """Messages copied; with DryRun, those that would be."""
    messages_already_present: Count = 0
    """Messages found at the destination."""
    messages_skipped: Count = 0
    """Messages that could not be copied."""
    flags_updated: Count = 0
    """Messages whose flags were added to at the destination."""
    bytes_copied: Bytes = 0
    """Bytes of the copied messages."""
    bytes_read: Bytes = 0
    """Bytes of messages that were read from the source to copy them, some of them twice."""


class CopiedBytes(ApiModel):
    """What was copied within some time."""

    time: Time
    """The end of that time."""
    bytes: Bytes
    """Bytes of messages that were read to copy them."""


class MailSyncStatus(ApiModel):
    """What is known of a MailSync."""

    observed_generation: Count | None = None
    """The generation of the spec that this status answers."""
    conditions: Annotated[
        list[Condition], Field(max_length=16, json_schema_extra=list_map("type"))
    ] = []
    """Succeeded (its reason is the state in one word; True when finished, False when given up),
    Ready, Stalled (only a person can help), Synced and TLSSecured."""
    progress: Progress | None = None
    """How far the current run is, or how the last one ended."""
    current_run: CurrentRun | None = None
    """The run that is under way; absent between runs."""
    last_run: RunRecord | None = None
    """The run that ended last."""
    runs: Annotated[
        list[RunRecord], Field(max_length=10, json_schema_extra=list_map("number"))
    ] = []
    """The runs that ended, the newest first."""
    tls: TLSStatus | None = None
    """What was negotiated with both servers in the newest run."""
    last_sync_start_time: Time | None = None
    """When the last successful run started: what came to the source before then is copied."""
    last_sync_time: Time | None = None
    """When the last successful run ended."""
    last_sync_duration_seconds: Count | None = None
    """How long the last successful run took, in seconds."""
    last_manual_sync: Annotated[str, Field(max_length=253)] | None = None
    """The value of trigger.manual that was answered last."""
    next_sync_time: Time | None = None
    """When the next run starts, as far as it is known."""
    consecutive_failures: Count = 0
    """How many runs failed since the last success; throttled ones do not count, nor do further
    refusals of the same credentials."""
    consecutive_refusals: Count = 0
    """How many runs in a row were refused their credentials since somebody asked for one."""
    retry_after_time: Time | None = None
    """When a failed run is tried again."""
    copied_lately: Annotated[list[CopiedBytes], Field(max_length=48)] = []
    """What runs of the last 24 hours copied, by the hour in which they ended: it counts against
    limits.maxBytesPerDay."""
    report_name: Annotated[str, Field(max_length=253)] | None = None
    """The ConfigMap with the last run's full report."""

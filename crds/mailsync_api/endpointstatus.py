"""The status of a MailEndpoint: what its probes found out."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mailsync_api.base import ApiModel, Count, MessageText, Time
from mailsync_api.conditions import Condition
from mailsync_api.probe import CertificateFacts, Offer
from mailsync_api.schema import list_map
from mailsync_api.status import RunResult, TLSFacts

__all__ = ["ActiveSyncs", "CurrentProbe", "MailEndpointStatus", "ProbeRecord"]

_Number = Annotated[int, Field(ge=1, le=2**31 - 1)]
_JobName = Annotated[str, Field(max_length=63)]
_Token = Annotated[str, Field(max_length=253)]
_Word = Annotated[str, Field(max_length=128)]


class CurrentProbe(ApiModel):
    """The probe that is under way."""

    number: _Number
    """Counted from 1."""
    job_name: _JobName
    """The Job of this probe."""
    start_time: Time
    """When the Job was created."""
    generation: Count
    """The generation of the spec that it goes by."""
    manual: _Token | None = None
    """The value of probe.manual that it answers."""
    message: MessageText = ""
    """What its pod waits for, where it does not start."""


class ProbeRecord(CurrentProbe):
    """A probe that is over."""

    completion_time: Time
    """When it ended."""
    result: RunResult
    """Succeeded when the policy is met, else Failed."""
    reason: _Word
    """Completed, or why it failed."""
    message: MessageText = ""
    """The same, for people."""
    exit_code: Annotated[int, Field(ge=0, le=255)] | None = None
    """The engine's exit code; absent when its pod was lost."""
    server_hash: Annotated[str, Field(max_length=64)] | None = None
    """A hash of the server and the policy that it went by."""


class ActiveSyncs(ApiModel):
    """MailSyncs that run at the moment."""

    initial: Count = 0
    """For the first time."""
    delta: Count = 0
    """Again."""


class MailEndpointStatus(ApiModel):
    """What is known of a MailEndpoint."""

    observed_generation: Count | None = None
    """The generation of the spec that this status answers."""
    conditions: Annotated[
        list[Condition], Field(max_length=16, json_schema_extra=list_map("type"))
    ] = []
    """Ready (the last probe met the policy), Reachable (the server answered), TLSSecured and
    CertificateExpiring."""
    address: Annotated[str, Field(max_length=300)] | None = None
    """Host and port, first if there are two, with the preset's where the spec gives none."""
    tls: TLSFacts | None = None
    """What was negotiated by the last probe that reached the server; absent if its TLS did not meet
    the policy."""
    certificate_names: Annotated[
        list[Annotated[str, Field(max_length=255)]], Field(max_length=20)
    ] = []
    """The DNS names and IP addresses that the certificate is for."""
    certificate: CertificateFacts | None = None
    """The certificate as the server shows it, also where it was refused."""
    capabilities: Annotated[list[_Word], Field(max_length=100)] = []
    """The server's capabilities under the final protection, before any login."""
    auth_mechanisms: Annotated[list[_Word], Field(max_length=40)] = []
    """The ways to log in that the server offers: SASL mechanisms, and LOGIN for the command."""
    server_id: Annotated[str, Field(max_length=256)] | None = None
    """The server's name and version as it gives them, or its greeting."""
    latency_milliseconds: Count | None = None
    """The round-trip time of one command, in milliseconds."""
    alternatives: Annotated[list[Offer], Field(max_length=8)] = []
    """What the server offers besides: ports and ways to start TLS."""
    facts_time: Time | None = None
    """When these facts were found out: by the last probe that met the policy."""
    current_probe: CurrentProbe | None = None
    """The probe that is under way; absent between probes."""
    last_probe: ProbeRecord | None = None
    """The probe that ended last."""
    last_probe_time: Time | None = None
    """When a probe ended last."""
    next_probe_time: Time | None = None
    """When the next probe starts."""
    last_manual_probe: _Token | None = None
    """The value of probe.manual that was answered last."""
    active: ActiveSyncs | None = None
    """How many MailSyncs that refer to it run at the moment."""
    consecutive_failures: Count = 0
    """How many probes failed since the last one that met the policy."""

"""What a probe is told and what it finds: the contract between operator, engine and command."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mailsync_api.base import ApiModel, Count, MessageText, Time
from mailsync_api.endpoint import Server, TLSMode
from mailsync_api.exitcodes import ExitCode
from mailsync_api.status import TLSFacts

__all__ = ["EndpointFacts", "Offer", "ProbeInput", "ProbeVerdict"]

_Word = Annotated[str, Field(max_length=128)]


class ProbeInput(ApiModel):
    """The input of a probe Job: the server, by the policy that runs would go by. No login."""

    namespace: Annotated[str, Field(max_length=63)]
    """The MailEndpoint's namespace."""
    name: Annotated[str, Field(max_length=253)]
    """The MailEndpoint's name."""
    server: Server
    """The server."""


class Offer(ApiModel):
    """What one port offers in one mode, also where the policy would not choose it."""

    port: Annotated[int, Field(ge=1, le=65535)]
    """The TCP port."""
    mode: TLSMode
    """Implicit, StartTLS or None (clear text)."""
    offered: bool
    """Whether a session could be opened in that way."""
    protocol: _Word | None = None
    """The TLS version that was agreed on."""
    message: MessageText = ""
    """Why not, or what is to be known of it."""


class EndpointFacts(ApiModel):
    """What a probe learned of a server."""

    tls: TLSFacts | None = None
    """What was negotiated by the policy; absent where the policy was not met."""
    names: Annotated[list[Annotated[str, Field(max_length=255)]], Field(max_length=20)] = []
    """The DNS names and IP addresses that the certificate is for."""
    capabilities: Annotated[list[_Word], Field(max_length=100)] = []
    """The server's capabilities under the final protection, before any login."""
    auth_mechanisms: Annotated[list[_Word], Field(max_length=40)] = []
    """The SASL mechanisms among them, without AUTH=, and LOGIN for the command where it is not
    disabled."""
    server_id: Annotated[str, Field(max_length=256)] = ""
    """The server's name and version as it gives them in ID (RFC 2971), or its greeting."""
    latency_milliseconds: Count | None = None
    """The round-trip time of one command, in milliseconds: the median of several."""
    alternatives: Annotated[list[Offer], Field(max_length=8)] = []
    """What the server offers besides."""
    probe_time: Time | None = None
    """When this was found out."""


class ProbeVerdict(ApiModel):
    """How a probe ended: the termination message of its pod, at most 3 KiB as JSON."""

    exit_code: ExitCode
    """0: the policy is met; else as for runs: 69 unreachable, 76 TLS, 81 protocol and so on."""
    reason: Annotated[str, Field(max_length=128)]
    """One CamelCase word: Completed, or why it failed."""
    message: MessageText = ""
    """The same, for people."""
    facts: EndpointFacts = EndpointFacts()
    """What was found; lists are shortened until the whole fits."""

"""What a probe is told and what it finds: the contract between operator, engine and command."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import Field

from mailsync_api.base import ApiModel, Count, MessageText, OpenApiModel, Time
from mailsync_api.endpoint import Server, TLSMode
from mailsync_api.exitcodes import ExitCode
from mailsync_api.names import TERMINATION_MESSAGE_BYTES
from mailsync_api.status import TLSFacts

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "CertificateFacts",
    "EndpointFacts",
    "Offer",
    "ProbeInput",
    "ProbeVerdict",
    "parse_probe_verdict",
]

_Word = Annotated[str, Field(max_length=128)]
_Text = Annotated[str, Field(max_length=1024)]


class ProbeInput(ApiModel):
    """The input of a probe Job: the server, by the policy that runs would go by. No login."""

    namespace: Annotated[str, Field(max_length=63)]
    """The MailEndpoint's namespace."""
    name: Annotated[str, Field(max_length=253)]
    """The MailEndpoint's name."""
    server: Server
    """The server."""


class Offer(OpenApiModel):
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


class CertificateFacts(OpenApiModel):
    """A certificate as the server shows it, whether it is trusted or not."""

    subject: _Text = ""
    """Whose it is."""
    issuer: _Text = ""
    """Who signed it."""
    not_before_time: Time | None = None
    """From when on it is valid."""
    not_after_time: Time | None = None
    """Until when it is valid."""
    sha256: Annotated[str, Field(max_length=64, pattern=r"^[0-9a-f]{64}$")] | None = None
    """Its SHA-256 fingerprint, in hexadecimal digits."""
    spki_sha256: Annotated[str, Field(max_length=64)] | None = None
    """The SHA-256 hash of its public key in base64, as pinnedSpkiSha256 takes it."""
    self_signed: bool = False
    """Whether it is signed by its own key."""
    key: _Word = ""
    """Kind and size of its public key, for example RSA 2048."""


class EndpointFacts(OpenApiModel):
    """What a probe learned of a server."""

    tls: TLSFacts | None = None
    """What was negotiated by the policy; absent where the policy was not met."""
    certificate: CertificateFacts | None = None
    """The certificate that the server shows, also where it was refused."""
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


class ProbeVerdict(OpenApiModel):
    """How a probe ended: the termination message of its pod, at most 3 KiB as JSON."""

    exit_code: ExitCode
    """0: the policy is met; else as for runs: 69 unreachable, 76 TLS, 81 protocol and so on."""
    reason: Annotated[str, Field(max_length=128)]
    """One CamelCase word: Completed, or why it failed."""
    message: MessageText = ""
    """The same, for people."""
    facts: EndpointFacts = EndpointFacts()
    """What was found; lists are shortened until the whole fits."""

    def to_termination_message(self) -> str:
        """Return the verdict as JSON of at most 3 KiB; what matters least is cut first.

        The exit code and its reason are always there.
        """
        wire = self.to_wire()
        wire["message"] = self.message[:1024]
        text = _json(wire)
        for cut in _CUTS:
            while len(text) > TERMINATION_MESSAGE_BYTES and cut(wire):
                text = _json(wire)
        return text


def _json(wire: dict[str, Any]) -> str:
    # Escaped to ASCII, so that characters are bytes.
    return json.dumps(wire, separators=(",", ":"))


def _halve(name: str, *, down_to: int) -> Callable[[dict[str, Any]], bool]:
    """Return a cut that halves one list of the facts, and is true if it did."""

    def cut(wire: dict[str, Any]) -> bool:
        values = wire["facts"].get(name) or []
        if len(values) <= down_to:
            return False
        wire["facts"][name] = values[: max(len(values) // 2, down_to)]
        return True

    return cut


def _shorten_offers(wire: dict[str, Any]) -> bool:
    shown = 100
    long = [o for o in wire["facts"].get("alternatives", []) if len(o.get("message", "")) > shown]
    for offer in long:
        offer["message"] = offer["message"][: shown - 1] + "…"
    return bool(long)


def _shorten_message(wire: dict[str, Any]) -> bool:
    # Escapes may take six characters each, so the cut is by steps, not computed.
    wire["message"] = wire["message"][: len(wire["message"]) * 3 // 4]
    return bool(wire["message"])


def _drop(name: str) -> Callable[[dict[str, Any]], bool]:
    return lambda wire: wire["facts"].pop(name, None) is not None


_CUTS: Final[tuple[Callable[[dict[str, Any]], bool], ...]] = (
    _shorten_offers,
    _halve("capabilities", down_to=10),
    _halve("names", down_to=5),
    _halve("authMechanisms", down_to=5),
    _halve("alternatives", down_to=3),
    _halve("capabilities", down_to=0),
    _shorten_message,
    _halve("names", down_to=0),
    *map(_drop, ("serverId", "certificate", "authMechanisms", "alternatives", "tls")),
)


def parse_probe_verdict(text: str) -> ProbeVerdict | None:
    """Return the verdict of a termination message, None if it is not one."""
    try:
        return ProbeVerdict.model_validate_json(text)
    except ValueError:  # pydantic's ValidationError is one too
        return None

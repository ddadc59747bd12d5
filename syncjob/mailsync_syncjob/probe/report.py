"""All that a probe found, as one object: what ``mailsync probe -o json`` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from mailsync_api.base import Count, OpenApiModel
from mailsync_api.endpoint import TLSMode, TLSVersion
from mailsync_api.exitcodes import ExitCode
from mailsync_api.probe import CertificateFacts, EndpointFacts
from mailsync_syncjob.probe.findings import verdict

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from mailsync_syncjob.probe.advice import Advice
    from mailsync_syncjob.probe.certificates import Shown
    from mailsync_syncjob.probe.findings import Findings, LoginFindings

__all__ = ["ChainLink", "Login", "ProbeReport", "VersionOffer", "make_report"]


class VersionOffer(OpenApiModel):
    """Whether the server has one TLS version."""

    version: TLSVersion
    """The version."""
    offered: bool | None = None
    """Whether a handshake with it came about; absent where that could not be found out."""


class ChainLink(OpenApiModel):
    """One certificate that the server sends."""

    certificate: CertificateFacts
    """The certificate."""
    signed_by: str
    """Itself, the next one, not the next one, or one that the server does not send."""


class Login(OpenApiModel):
    """How a login went."""

    user: str
    """Who logged in."""
    succeeded: bool
    """Whether it was accepted."""
    mechanism: str | None = None
    """A SASL mechanism, or LOGIN for the command; absent where nothing was sent."""
    capabilities: list[str] = []
    """The server's capabilities after it."""


class ProbeReport(OpenApiModel):
    """All that a probe found; fields are only ever added."""

    host: str
    """The server."""
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """The port that was asked for, if one was."""
    mode: TLSMode
    """The tls.mode that was asked for."""
    exit_code: ExitCode
    """The exit code of the command."""
    reason: str
    """Completed, or why it failed: one of the reasons of runs."""
    message: str
    """The same, for people."""
    facts: EndpointFacts
    """What a MailEndpoint's probe finds too."""
    tcp_milliseconds: Count | None = None
    """How long the TCP connection took, in milliseconds."""
    handshake_milliseconds: Count | None = None
    """How long the TLS handshake took, in milliseconds."""
    versions: list[VersionOffer] = []
    """TLS versions, each tried by itself."""
    chain: list[ChainLink] = []
    """The certificates that the server sends, its own first."""
    capabilities_before_tls: list[str] = []
    """What the server announces in clear text, before STARTTLS."""
    login: Login | None = None
    """The login, if one was asked for and the policy was met."""
    manifest: str | None = None
    """YAML for a MailSync's side or a MailEndpoint's spec: the safest policy that was met."""
    cautions: list[str] = []
    """What to know before writing it."""


def make_report(
    findings: Findings,
    *,
    now: datetime,
    versions: Mapping[TLSVersion, bool | None],
    advice: Advice | None,
) -> ProbeReport:
    """Return everything as one object."""
    told, session, server = verdict(findings, now=now), findings.session, findings.target.account
    clear = findings.clear
    before = clear.capabilities if clear is not None else frozenset()
    if session is not None:
        before = session.capabilities_before or before
    return ProbeReport(
        host=server.host,
        port=server.port,
        mode=server.tls.mode,
        exit_code=told.exit_code,
        reason=told.reason,
        message=told.message,
        facts=told.facts,
        tcp_milliseconds=session.tcp_milliseconds if session else None,
        handshake_milliseconds=session.handshake_milliseconds if session else None,
        versions=[VersionOffer(version=v, offered=has) for v, has in versions.items()],
        chain=_chain(findings.shown),
        capabilities_before_tls=_words(before),
        login=_login(session.login) if session and session.login else None,
        manifest=advice.manifest if advice else None,
        cautions=list(advice.cautions) if advice else [],
    )


def _chain(shown: Shown | None) -> list[ChainLink]:
    links = shown.links if shown else ()
    return [ChainLink(certificate=link.facts, signed_by=link.signed_by) for link in links]


def _login(login: LoginFindings) -> Login:
    return Login(
        user=login.user,
        succeeded=login.succeeded,
        mechanism=login.mechanism,
        capabilities=_words(login.capabilities),
    )


def _words(capabilities: frozenset[str]) -> list[str]:
    return [word[:128] for word in sorted(capabilities)[:200]]

"""What a probe found, and what of it goes into its verdict. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mailsync_api.conditions import Reason
from mailsync_api.endpoint import TLSMode
from mailsync_api.exitcodes import ExitCode
from mailsync_api.probe import EndpointFacts, Offer, ProbeVerdict
from mailsync_syncjob.errors import ProtocolError, TLSPolicyError, UnreachableError

if TYPE_CHECKING:
    from datetime import datetime

    from mailsync_api.status import TLSFacts
    from mailsync_syncjob.credentials import Target
    from mailsync_syncjob.errors import EngineError
    from mailsync_syncjob.imap.greeting import Spoken
    from mailsync_syncjob.imap.ways import Way
    from mailsync_syncjob.probe.certificates import Shown

__all__ = [
    "Findings",
    "LoginFindings",
    "SessionFindings",
    "Tried",
    "decide",
    "mechanisms",
    "verdict",
]


@dataclass(frozen=True, slots=True)
class LoginFindings:
    """How a login went."""

    user: str
    succeeded: bool = False
    mechanism: str | None = None
    """A SASL mechanism, or LOGIN for the command; None where nothing was sent."""
    capabilities: frozenset[str] = frozenset()
    """As announced after it."""


@dataclass(frozen=True, slots=True)
class SessionFindings:
    """What a connection that meets the policy showed."""

    way: Way
    facts: TLSFacts
    capabilities: frozenset[str]
    server_id: str = ""
    latency_milliseconds: int | None = None
    tcp_milliseconds: int | None = None
    handshake_milliseconds: int | None = None
    capabilities_before: frozenset[str] = frozenset()
    """As announced before STARTTLS; anybody on the way may have written them."""
    login: LoginFindings | None = None


@dataclass(frozen=True, slots=True)
class Tried:
    """How one way went, by a policy that refuses nothing."""

    way: Way
    error: EngineError | None = None
    reached: bool = True
    """Whether TCP was connected."""
    protocol: str | None = None
    cipher: str | None = None
    shown: Shown | None = None
    capabilities: frozenset[str] = frozenset()
    """In clear text; nothing is asked on a connection of which nothing was verified."""
    spoken: Spoken | None = None
    """What is spoken there instead of IMAP."""

    @property
    def offered(self) -> bool:
        """Whether a session can be opened so."""
        return self.error is None

    @property
    def login_disabled(self) -> bool:
        """Whether the server says that it takes no password so."""
        return "LOGINDISABLED" in self.capabilities


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything that a probe found."""

    target: Target
    session: SessionFindings | None
    """By the policy; None if it was not met."""
    error: EngineError | None
    """Why not, or why the login did not succeed."""
    tried: tuple[Tried, ...]
    """Each way that was tried besides, as far as there was time."""
    spoken: Spoken | None = None
    """What is spoken instead of IMAP."""

    @property
    def shown(self) -> Shown | None:
        """The certificate of the way that the policy takes, else of any."""
        way = self.session.way if self.session is not None else None
        with_one = [each for each in self.tried if each.shown is not None]
        with_one.sort(key=lambda each: each.way != way)
        return with_one[0].shown if with_one else None

    @property
    def clear(self) -> Tried | None:
        """Clear text, where it was spoken."""
        return next((t for t in self.tried if t.way.mode is TLSMode.NONE and t.offered), None)


def decide(findings: Findings) -> EngineError | None:
    """Return why the policy is not met: what a run would say, or what is known better."""
    error, target = findings.error, findings.target
    where = f"{target.side} {target.address}"
    if error is None or findings.session is not None:
        return error
    if findings.spoken is not None:
        return ProtocolError(
            f"{where} speaks {findings.spoken}, not IMAP: correct the port, or the host. "
            "No credentials were sent",
            side=target.side,
        )
    mode = target.account.tls.mode
    implicit = _offered(findings, TLSMode.IMPLICIT, ports=target.account.ports)
    if mode in {TLSMode.START_TLS, TLSMode.NONE} and implicit is not None:
        return TLSPolicyError(
            f"{where} speaks TLS from the start, so tls.mode {mode} finds no greeting: choose "
            "tls.mode Implicit. No credentials were sent",
            side=target.side,
            reason=Reason.TLS_POLICY_NOT_MET,
        )
    if isinstance(error, UnreachableError) and implicit is not None:
        return UnreachableError(
            f"{error.message.rstrip('.')}. TLS came about, but no IMAP server greeted after it: "
            "is it the right port?",
            side=target.side,
        )
    return error


def _offered(findings: Findings, mode: TLSMode, *, ports: tuple[int, ...]) -> Tried | None:
    return next(
        (
            each
            for each in findings.tried
            if each.way.mode is mode and each.way.port in ports and each.offered
        ),
        None,
    )


def verdict(findings: Findings, *, now: datetime) -> ProbeVerdict:
    """Return what is told of it."""
    error, session, shown = decide(findings), findings.session, findings.shown
    facts = EndpointFacts(
        tls=session.facts if session else None,
        certificate=shown.own if shown else None,
        names=list(shown.names) if shown else [],
        capabilities=_words(session.capabilities)[:100] if session else [],
        auth_mechanisms=mechanisms(session.capabilities)[:40] if session else [],
        server_id=session.server_id if session else "",
        latency_milliseconds=session.latency_milliseconds if session else None,
        alternatives=[_offer(each) for each in findings.tried[:8]],
        probe_time=now,
    )
    if error is not None:
        return ProbeVerdict(
            exit_code=error.exit_code,
            reason=error.reason,
            message=error.message[:4096],
            facts=facts,
        )
    return ProbeVerdict(
        exit_code=ExitCode.DONE, reason=Reason.COMPLETED, message=_met(findings), facts=facts
    )


def _met(findings: Findings) -> str:
    target, session = findings.target, findings.session
    if session is None:
        return ""
    where = f"{target.side} {target.account.host}, port {session.way.port}"
    if not session.facts.secured:
        said = f"{where}: reached in clear text, as tls.mode {session.facts.mode} allows"
        disabled = "LOGINDISABLED" in session.capabilities
        return f"{said}; it takes no password so (LOGINDISABLED)" if disabled else said
    how = "from the start" if session.way.mode is TLSMode.IMPLICIT else "by STARTTLS"
    return f"{where}: meets the policy with {session.facts.protocol} {how}"


def mechanisms(capabilities: frozenset[str]) -> list[str]:
    """Return the mechanisms of a login: those of SASL, and LOGIN where the command is allowed."""
    found = {word.removeprefix("AUTH=")[:128] for word in capabilities if word.startswith("AUTH=")}
    if "LOGINDISABLED" not in capabilities:
        found.add("LOGIN")
    return sorted(found)


def _words(capabilities: frozenset[str]) -> list[str]:
    return sorted(word[:128] for word in capabilities)


def _remark(tried: Tried) -> str:
    if tried.error is not None and tried.error.reason == Reason.TLS_NOT_SPOKEN:
        return "does not speak TLS"  # its cure is for policies
    if tried.error is not None:
        return tried.error.message
    return "takes no password in clear text (LOGINDISABLED)" if tried.login_disabled else ""


def _offer(tried: Tried) -> Offer:
    return Offer(
        port=tried.way.port,
        mode=tried.way.mode,
        offered=tried.offered,
        protocol=tried.protocol,
        message=_remark(tried)[:4096],
    )

"""A probe's report for people."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.markup import escape

from mailsync_api.base import format_time
from mailsync_api.endpoint import TLSMode
from mailsync_api.exitcodes import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime
    from typing import TextIO

    from mailsync_api.probe import CertificateFacts, Offer
    from mailsync_syncjob.probe.report import ProbeReport

__all__ = ["show"]

_WIDTH: Final = 16
_LINE: Final = 100
_WHERE: Final = re.compile(r"^\w+ \S+:\d+:? ")
_NOTHING_SENT: Final = re.compile(r"[;.] no credentials were sent\.?$", re.IGNORECASE)
_HOW: Final = {
    TLSMode.IMPLICIT: "TLS from the start (Implicit)",
    TLSMode.START_TLS: "TLS by STARTTLS (StartTLS)",
    TLSMode.NONE: "clear text (None)",
}


def show(report: ProbeReport, *, now: datetime, stream: TextIO | None = None) -> None:
    """Print a report; in colours on a terminal only."""
    console = Console(file=stream, soft_wrap=True, highlight=False)
    sections = (
        ("Reachability", _reachability(report)),
        ("TLS", _tls(report)),
        ("Certificate", _certificate(report, now=now)),
        ("Capabilities", _capabilities(report)),
        ("Login", _login(report)),
    )
    for title, rows in sections:
        lines = list(rows)
        if not lines:
            continue
        console.print(f"[bold]{title}[/]")
        for name, text in lines:
            console.print(f"  {name:<{_WIDTH}}{escape(text)}")
    _verdict(report, console)


def _reachability(report: ProbeReport) -> Iterable[tuple[str, str]]:
    for offer in report.facts.alternatives:
        yield f"port {offer.port}", _offer(offer)
    if report.tcp_milliseconds is not None:
        yield "TCP", f"connected in {report.tcp_milliseconds} ms"
    if report.facts.latency_milliseconds is not None:
        time = report.facts.latency_milliseconds
        yield "latency", f"{time or 'under 1'} ms for a command"
    if report.facts.server_id:
        yield "server", report.facts.server_id


def _offer(offer: Offer) -> str:
    how = _HOW.get(offer.mode, str(offer.mode))
    if offer.offered:
        more = [word for word in (offer.protocol, offer.message) if word]
        return ", ".join((f"yes  {how}", *more))
    return f"no   {how}: {_short(offer.message)}"


def _short(message: str) -> str:
    """Return an error without what stands beside it anyway."""
    text = _WHERE.sub("", message)
    return _NOTHING_SENT.sub("", text)


def _tls(report: ProbeReport) -> Iterable[tuple[str, str]]:
    tls = report.facts.tls
    if tls is not None and tls.secured:
        time = report.handshake_milliseconds
        took = f", handshake in {time} ms" if time is not None else ""
        yield "by the policy", f"{tls.mode}, {tls.protocol}, {tls.cipher}{took}"
        pinned = ", and the key is pinned" if tls.pinned else ""
        yield "verified", f"{tls.verified}{pinned}"
    if report.versions:
        words = {True: "yes", False: "no", None: "?"}
        each = (f"{v.version.removeprefix('TLSv')} {words[v.offered]}" for v in report.versions)
        yield "versions", ", ".join(each)


def _certificate(report: ProbeReport, *, now: datetime) -> Iterable[tuple[str, str]]:
    own = report.facts.certificate
    if own is None:
        return
    yield "subject", own.subject or "(empty)"
    yield "issuer", own.issuer + (" (itself: self-signed)" if own.self_signed else "")
    yield "names", ", ".join(report.facts.names) or "none"
    yield "valid", _validity(own, now=now)
    yield "key", own.key
    yield "SHA-256", own.sha256 or ""
    yield "public key", f"{own.spki_sha256} (as pinnedSpkiSha256 takes it)"
    for link in report.chain:
        yield "chain", f"{link.certificate.subject}, signed by {link.signed_by}"


def _validity(certificate: CertificateFacts, *, now: datetime) -> str:
    begin, end = certificate.not_before_time, certificate.not_after_time
    if begin is None or end is None:
        return "unknown"
    span = f"from {format_time(begin)} until {format_time(end)}"
    if now > end:
        return f"{span}: EXPIRED {(now - end).days} days ago"
    if now < begin:
        return f"{span}: NOT YET VALID"
    return f"{span} ({(end - now).days} days left)"


def _capabilities(report: ProbeReport) -> Iterable[tuple[str, str]]:
    tls = report.facts.tls
    has_tls = any(o.offered and o.mode is not TLSMode.NONE for o in report.facts.alternatives)
    if report.capabilities_before_tls and (has_tls or tls is None):
        name = "before TLS" if has_tls else "in clear text"
        yield name, _wrapped(report.capabilities_before_tls)
    if report.facts.capabilities:
        secured = tls is not None and tls.secured
        name = "under TLS" if secured else "in clear text"
        yield name, _wrapped(report.facts.capabilities)
        yield "logins", ", ".join(report.facts.auth_mechanisms) or "none (LOGINDISABLED)"


def _login(report: ProbeReport) -> Iterable[tuple[str, str]]:
    login = report.login
    if login is None:
        return
    result = "accepted" if login.succeeded else "NOT accepted"
    yield login.user, f"{result}, mechanism {login.mechanism or 'none: nothing was sent'}"
    if login.capabilities:
        yield "afterwards", _wrapped(login.capabilities)


def _wrapped(words: Sequence[str]) -> str:
    """Return words in lines that stand under each other."""
    lines, line = [], ""
    for word in words:
        if line and len(line) + len(word) + 1 > _LINE - _WIDTH - 2:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".lstrip()
    return f"\n{' ' * (_WIDTH + 2)}".join([*lines, line])


def _verdict(report: ProbeReport, console: Console) -> None:
    met = report.exit_code is ExitCode.DONE
    style = "bold green" if met else "bold red"
    console.print("[bold]Verdict[/]")
    console.print(f"  [{style}]{report.exit_code.value} {report.reason}[/]")
    console.print(f"  {escape(report.message)}")
    if report.manifest is None:
        return
    console.print("[bold]What to write into the manifest[/] (the safest policy that was met)")
    for line in report.manifest.splitlines():
        console.print(f"  {escape(line)}")
    for caution in report.cautions:
        console.print(f"  [yellow]#[/] {escape(caution)}")

"""Pieces to run the engine inside a test: an output that remembers, endpoints, short patience."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from mailsync_api.endpoint import MailAccount, Side
from mailsync_api.job import JobInput
from mailsync_syncjob.credentials import Endpoint, Password
from mailsync_syncjob.deadline import Clock, Patience, Stop
from mailsync_syncjob.imap.connect import Connector
from mailsync_syncjob.runner import Endpoints, Run
from tests.support.builders import merged
from tests.support.secrecy import WATCH

if TYPE_CHECKING:
    from mailsync_api.report import Report
    from mailsync_api.status import Progress, TLSFacts
    from mailsync_syncjob.clientcert import ClientCertificate
    from mailsync_syncjob.output import Level
    from mailsync_syncjob.sharing import Shares

__all__ = [
    "PASSWORD",
    "FastClock",
    "HastyClock",
    "Recorded",
    "connector",
    "endpoint",
    "patience",
    "run_between",
]

PASSWORD = "the-secret-word"
_HASTE = 10.0


class FastClock(Clock):
    """Real time, but waits between attempts pass at once."""

    def __init__(self) -> None:
        self._skipped = 0.0

    @override
    def monotonic(self) -> float:
        return super().monotonic() + self._skipped

    @override
    def sleep(self, seconds: float) -> None:
        self._skipped += seconds


class HastyClock(Clock):
    """Real time, but waits between attempts take a tenth of theirs."""

    def __init__(self) -> None:
        self._skipped = 0.0

    @override
    def monotonic(self) -> float:
        return super().monotonic() + self._skipped

    @override
    def sleep(self, seconds: float) -> None:
        time.sleep(seconds / _HASTE)
        self._skipped += seconds - seconds / _HASTE


@dataclass
class Recorded:
    """An output that keeps everything."""

    logs: list[tuple[str, str]] = field(default_factory=list)
    sessions: list[tuple[Side, TLSFacts]] = field(default_factory=list)
    figures: list[Progress] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)

    def log(self, level: Level, message: str) -> None:
        self.logs.append((level, message))

    def session(self, side: Side, facts: TLSFacts) -> None:
        self.sessions.append((side, facts))

    def progress(self, progress: Progress) -> None:
        self.figures.append(progress)

    def report(self, report: Report) -> None:
        self.reports.append(report)

    @property
    def everything(self) -> str:
        return repr(self)


def patience(**changes: float) -> Patience:
    """Return a patience that lets a test fail soon."""
    values: dict[str, Any] = {"connect": 5.0, "greeting": 5.0, "command": 5.0, "window": 5.0}
    return Patience(**{**values, **changes})


def endpoint(
    port: int | None,
    *,
    side: Side = Side.SOURCE,
    ca_pem: str | None = None,
    password: bytes | None = PASSWORD.encode(),
    client: ClientCertificate | None = None,
    **account: Any,
) -> Endpoint:
    """Return an account on loopback; clear text unless ``tls`` says something else."""
    base: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": port,
        "username": "alice",
        "tls": {"mode": "None"},
        "authentication": {"secretRef": {"name": "x"}},
    }
    if password is not None:
        WATCH.secret(password)
    secret = None if password is None else Password(password)
    return Endpoint(
        side,
        MailAccount.model_validate(merged(base, account)),
        secret,
        ca_pem=ca_pem,
        client_certificate=client,
    )


def connector(clock: Clock | None = None, **changes: float) -> Connector:
    """Return a connector for one test."""
    clock = clock or Clock()
    return Connector(patience(**changes), clock, Stop(clock))


def run_between(
    source: Endpoint,
    destination: Endpoint,
    *,
    clock: Clock | None = None,
    patient: Patience | None = None,
    shares: Shares | None = None,
    **job: Any,
) -> tuple[Report, Recorded]:
    """Run the engine in this process."""
    clock = clock or Clock()
    output = Recorded()
    job_input = JobInput.model_validate(
        {
            "namespace": "test",
            "name": "mailbox",
            "source": source.account.to_wire(),
            "destination": destination.account.to_wire(),
            **job,
        }
    )
    run = Run(
        job_input,
        Endpoints(source, destination),
        output=output,
        clock=clock,
        stop=Stop(clock),
        patience=patient or patience(),
        shares=shares,
    )
    report = run.execute()
    WATCH.keep("a run's logs and report", output.everything + report.model_dump_json())
    return report, output

"""Running the engine as its pod does: a process, an environment, files, an exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mailsync_api import names
from mailsync_api.report import ReportLine, Verdict, parse_line, parse_verdict
from tests.support.builders import merged
from tests.support.secrecy import WATCH

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mailsync_api.report import Report
    from tests.support.dovecot import Dovecot

__all__ = ["Account", "Engine", "Result"]


@dataclass(frozen=True, slots=True)
class Account:
    """One side as the engine gets it."""

    host: str
    port: int
    user: str
    password: str
    """As it is written to the file; bytes that are no UTF-8 as surrogates (PEP 383)."""
    ca_pem: str = ""
    tls: dict[str, Any] = field(default_factory=lambda: {"mode": "Implicit"})
    authentication: dict[str, Any] = field(default_factory=dict)
    """Laid over what the account has of it anyway."""
    files: dict[str, str] = field(default_factory=dict)
    """More files of its Secrets, by what follows the side in their paths: ``/token``, say."""
    server: dict[str, Any] = field(default_factory=dict)
    """More fields of the server: its proxy, its tunnel."""

    @classmethod
    def at(cls, server: Dovecot, user: str, password: str, **tls: Any) -> Account:
        """Return an account of a Dovecot; the mode decides the port."""
        tls = {"mode": "Implicit", **tls}
        port = server.tls_port if tls["mode"] == "Implicit" else server.port
        return cls(server.host, port, user, password, server.ca_pem, tls)

    def wire(self, side: str) -> dict[str, Any]:
        """Return the account as a manifest has it."""
        with_ca = bool(self.ca_pem) and self.tls.get("verify") != "None"
        has_ca = with_ca and self.tls["mode"] != "None"
        ca = {"caRef": {"kind": "ConfigMap", "name": f"{side}-ca"}} if has_ca else {}
        return {
            "host": self.host,
            "port": self.port,
            "username": self.user,
            "tls": {**self.tls, **ca},
            "authentication": {"secretRef": {"name": f"{side}-password"}, **self.authentication},
            **self.server,
        }


@dataclass(frozen=True, slots=True)
class Result:
    """How a run ended."""

    exit_code: int
    stdout: str
    stderr: str
    verdict: Verdict | None
    report: Report | None

    @property
    def said(self) -> str:
        """Everything it wrote, for finding what must not be there."""
        return self.stdout + self.stderr + (self.verdict.model_dump_json() if self.verdict else "")


class Engine:
    """Starts ``mailsync-job`` for one pair of accounts.

    Parameters
    ----------
    directory
        An empty folder for its secrets and verdict.
    job
        Laid over the input.
    """

    def __init__(self, directory: Path, source: Account, destination: Account, **job: Any) -> None:
        self._verdict = directory / "verdict"
        for side, account in (("source", source), ("destination", destination)):
            for folder, name, text in (
                (side, names.PASSWORD_FILE_NAME, account.password),
                (f"{side}-ca", names.CA_FILE_NAME, account.ca_pem),
            ):
                (directory / folder).mkdir(exist_ok=True)
                if name == names.PASSWORD_FILE_NAME:
                    WATCH.secret(text)
                (directory / folder / name).write_bytes(text.encode("utf-8", "surrogateescape"))
            for name, text in account.files.items():
                path = directory / f"{side}{name}"
                path.parent.mkdir(exist_ok=True)
                WATCH.secret(text)
                path.write_text(text)
        base = {
            "namespace": "test",
            "name": "mailbox",
            "source": source.wire("source"),
            "destination": destination.wire("destination"),
        }
        self.environment = {
            **os.environ,
            names.INPUT_ENV: json.dumps(merged(base, job)),
            "MAILSYNC_SECRETS_ROOT": str(directory),
            "MAILSYNC_TERMINATION_MESSAGE_PATH": str(self._verdict),
        }

    def run(self, *, timeout: float = 120) -> Result:
        """Run it to its end."""
        with self.started() as process:
            return self.finish(process, timeout=timeout)

    @contextmanager
    def started(self) -> Iterator[subprocess.Popen[str]]:
        """Start it; it does not outlive the block."""
        self._verdict.unlink(missing_ok=True)
        process = subprocess.Popen(
            [sys.executable, "-m", "mailsync_syncjob.job"],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            try:
                yield process
            finally:
                process.kill()

    def finish(self, process: subprocess.Popen[str], *, timeout: float = 120) -> Result:
        """Wait for its end and collect what it said."""
        stdout, stderr = process.communicate(timeout=timeout)
        WATCH.keep("the engine's output", stdout + stderr)
        lines = [parse_line(line) for line in stdout.splitlines()]
        reports = [line.report for line in lines if isinstance(line, ReportLine)]
        verdict = None
        if self._verdict.exists():
            text = self._verdict.read_text()
            WATCH.keep("a termination message", text)
            verdict = parse_verdict(text)
        return Result(process.returncode, stdout, stderr, verdict, reports[-1] if reports else None)

"""Probes in tests: of scripted servers in this process, and as a pod runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mailsync_api import names
from mailsync_api.endpoint import Server
from mailsync_api.probe import parse_probe_verdict
from mailsync_syncjob.credentials import Target
from mailsync_syncjob.deadline import Clock, Stop
from mailsync_syncjob.probe.survey import Survey
from tests.support.recorded import patience
from tests.support.secrecy import WATCH

if TYPE_CHECKING:
    from pathlib import Path

    from mailsync_api.probe import ProbeVerdict
    from mailsync_syncjob.imap.tap import Tap
    from mailsync_syncjob.probe.findings import Findings

__all__ = ["PodResult", "pod_probe", "probe", "target"]


def target(port: int | None, *, ca_pem: str | None = None, **tls: Any) -> Target:
    """Return a server on loopback."""
    wire = {"host": "127.0.0.1", "port": port, "tls": tls}
    return Target(names.PROBED_SERVER, Server.model_validate(wire), ca_pem=ca_pem)


def probe(of: Target, *, seconds: float = 20, tap: Tap | None = None, **waits: float) -> Findings:
    """Probe a server in this process, with short patience."""
    clock = Clock()
    waits = {"connect": 3.0, "greeting": 1.0, "command": 3.0, **waits}
    survey = Survey(
        of, clock=clock, stop=Stop(clock), patience=patience(**waits), seconds=seconds, tap=tap
    )
    return survey.run()


@dataclass(frozen=True, slots=True)
class PodResult:
    """How a probe in a pod ended."""

    exit_code: int
    stdout: str
    message: str
    """Its termination message."""
    verdict: ProbeVerdict | None


def pod_probe(directory: Path, server: dict[str, Any], *, ca_pem: str = "") -> PodResult:
    """Run ``mailsync-job`` as a probe's pod does."""
    folder = directory / f"{names.PROBED_SERVER}-ca"
    folder.mkdir(exist_ok=True)
    (folder / names.CA_FILE_NAME).write_text(ca_pem)
    path = directory / "verdict"
    path.unlink(missing_ok=True)
    environment = {
        **os.environ,
        names.PROBE_INPUT_ENV: json.dumps({"namespace": "a", "name": "b", "server": server}),
        "MAILSYNC_SECRETS_ROOT": str(directory),
        "MAILSYNC_TERMINATION_MESSAGE_PATH": str(path),
    }
    done = subprocess.run(
        [sys.executable, "-m", "mailsync_syncjob.job"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    WATCH.keep("a probe's output", done.stdout + done.stderr)
    assert not done.stderr, done.stderr
    message = path.read_text() if path.exists() else ""
    return PodResult(done.returncode, done.stdout, message, parse_probe_verdict(message))

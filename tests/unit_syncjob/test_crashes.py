"""The engine's own faults, with a password in reach: its words are never in what is shown."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.builders import manifest
from tests.support.engine import Account, Engine
from tests.support.scripted import Peer, TinyServer, serve
from tests.support.secrecy import WATCH
from tests.support.secret_forms import forms

_PASSWORD = 'Wort "im\\Absturz" \u00fc'
_PLACES = (
    "mailsync_syncjob.job:read_input",
    "mailsync_syncjob.job:_read",
    "mailsync_syncjob.job:Endpoints",
    "mailsync_syncjob.runner:Run._plan",
    "mailsync_syncjob.imap.connect:open_tcp",
    "mailsync_syncjob.imap.connect:ask_capabilities",
    "mailsync_syncjob.imap.auth:_identity",
    "mailsync_syncjob.imap.auth:authenticate",
    "mailsync_syncjob.imap.session:read_survey",
    "mailsync_syncjob.imap.session:read_opened",
    "mailsync_syncjob.imap.fetch:Reader.brief",
    "mailsync_syncjob.imap.stream:Stream.send",
)
_MAIL = b"Message-ID: <1@x>\r\n\r\nbody\r\n"


def _run(
    entry: str, place: str, tmp_path: Path, *arguments: str, environment: dict[str, str] | None
) -> subprocess.CompletedProcess[str]:
    held = tmp_path / "held"
    held.write_text(_PASSWORD, encoding="utf-8")
    WATCH.secret(_PASSWORD)
    command = [sys.executable, "-m", "tests.support.crashing", entry, place, str(held), *arguments]
    done = subprocess.run(
        command,
        env=environment,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    WATCH.keep(f"{entry} that fails in {place}", done.stdout + done.stderr)
    return done


def _assert_silent(said: str) -> None:
    assert "Traceback" not in said
    for form in forms(_PASSWORD.encode()):
        assert form.decode() not in said


def _account(port: int, user: str) -> Account:
    return Account("127.0.0.1", port, user, _PASSWORD, "", {"mode": "None"})


@pytest.mark.parametrize("place", ["none", *_PLACES])
def test_a_fault_of_the_job_shows_its_place_only(place: str, tmp_path: Path) -> None:
    with serve(TinyServer({1: _MAIL})) as a, serve(TinyServer()) as b:
        engine = Engine(tmp_path, _account(a.port, "alice"), _account(b.port, "bob"))
        done = _run("mailsync_syncjob.job", place, tmp_path, environment=engine.environment)
    message = (tmp_path / "verdict").read_text()
    _assert_silent(done.stdout + done.stderr + message)
    assert done.returncode == (0 if place == "none" else 70), done.stdout + done.stderr
    if place != "none":
        assert "RuntimeError at crashing.py:" in message


@pytest.mark.parametrize(
    "place",
    [
        "none",
        "mailsync_syncjob.cli:load",
        "mailsync_syncjob.manifests:Manifests.endpoints",
        "mailsync_syncjob.cli:_run_one",
        *_PLACES[3:],
    ],
)
@pytest.mark.parametrize("output", ["json", "progress"])
def test_a_fault_of_the_command_shows_its_place_only(
    place: str, output: str, tmp_path: Path
) -> None:
    with serve(TinyServer({1: _MAIL})) as a, serve(TinyServer()) as b:
        ends: dict[str, Any] = {
            side: {"host": "127.0.0.1", "port": port, "tls": {"mode": "None"}}
            for side, port in (("source", a.port), ("destination", b.port))
        }
        secrets = [
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": f"{side}-password"},
                "stringData": {"password": _PASSWORD},
            }
            for side in ends
        ]
        path = tmp_path / "manifest.yaml"
        path.write_text(yaml.safe_dump_all([manifest(**ends), *secrets]))
        arguments = ("run", "-f", str(path), "-o", output)
        done = _run("mailsync_syncjob.cli", place, tmp_path, *arguments, environment=None)
    _assert_silent(done.stdout + done.stderr)
    assert done.returncode == (0 if place == "none" else 70), done.stdout + done.stderr


def test_the_running_engine_may_write_no_core(tmp_path: Path) -> None:
    found: dict[str, str] = {}

    def look(peer: Peer, _: bytes, __: bytes) -> None:
        folder = Path("/proc") / str(process.pid)
        (found["limit"],) = (
            line
            for line in (folder / "limits").read_text().splitlines()
            if line.startswith("Max core file size")
        )
        peer.close()

    # It is asked amid the run, when it holds the password.
    source = TinyServer({1: _MAIL}, answers={b"LIST": look})
    with serve(source) as a, serve(TinyServer()) as b:
        engine = Engine(tmp_path, _account(a.port, "alice"), _account(b.port, "bob"))
        with engine.started() as process:
            source_ended = process.stdout
            assert source_ended is not None
            while not found:
                assert source_ended.readline(), "it ended before it was looked at"
    assert found["limit"].split()[4:6] == ["0", "0"]

"""``mailsync run`` between two real servers, from one file."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.support.checker import compare_mailboxes
from tests.support.mailbox import Message, generate, load, plain_message
from tests.support.secrecy import WATCH

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.conftest import Pair

pytestmark = pytest.mark.servers


def _manifest(pair: Pair) -> str:
    """Return one MailSync, its two Secrets and its two ConfigMaps as one text."""
    sides = {"source": pair.source_account(), "destination": pair.destination_account()}
    documents: list[dict[str, Any]] = [
        {
            "apiVersion": "mailsync.dev/v1alpha1",
            "kind": "MailSync",
            "metadata": {"name": "alice"},
            "spec": {side: account.wire(side) for side, account in sides.items()},
        }
    ]
    for side, account in sides.items():
        documents += [
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": f"{side}-password"},
                "stringData": {"password": account.password},
            },
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": f"{side}-ca"},
                "data": {"ca.crt": account.ca_pem},
            },
        ]
    return yaml.safe_dump_all(documents)


def _run(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mailsync_syncjob.cli", "run", "-f", str(path), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    WATCH.keep("the command's output", done.stdout + done.stderr)
    return done


def test_one_file_is_all_it_takes(pair: Pair, tmp_path: Path) -> None:
    with pair.source() as session:
        load(session, generate(count=60, large_bytes=50_000))
    path = tmp_path / "alice.yaml"
    path.write_text(_manifest(pair))

    first = _run(path, "-o", "progress")
    assert first.returncode == 0, first.stdout + first.stderr
    assert "60 messages copied" in first.stdout
    with pair.source() as source, pair.destination() as destination:
        assert compare_mailboxes(source, destination) == []

    again = _run(path)
    verdict = json.loads(again.stdout.splitlines()[-1])["report"]["verdict"]
    assert (verdict["totals"]["copied"], verdict["totals"]["alreadyPresent"]) == (0, 60)
    for word in (pair.source_password, pair.destination_password):
        assert word not in first.stdout + first.stderr + again.stdout + again.stderr


def test_a_file_remembers_how_folders_stood(pair: Pair, tmp_path: Path) -> None:
    with pair.source() as session:
        load(session, [plain_message(number) for number in range(10)])
    path, state = tmp_path / "alice.yaml", tmp_path / "state.json"
    path.write_text(_manifest(pair))
    for copied, unchanged in ((10, 0), (0, 1)):
        result = _run(path, "--state", str(state), "-o", "json")
        assert result.returncode == 0, result.stdout + result.stderr
        assert f"resume state: {unchanged} folders unchanged" in result.stdout
        report = json.loads(result.stdout.splitlines()[-1])["report"]
        assert report["verdict"]["totals"]["copied"] == copied
        # It is in the file, not in what people read.
        assert "state" not in report
    state.write_bytes(state.read_bytes()[:100])
    before = state.read_bytes()
    result = _run(path, "--state", str(state), "--dry-run", "-o", "json")
    assert f"the resume state in {state} is not used (it is not JSON)" in result.stdout
    assert state.read_bytes() == before
    folder = tmp_path / "states"
    folder.mkdir()
    assert _run(path, "--state", str(folder)).returncode == 0
    assert [file.name for file in folder.iterdir()] == ["default_alice.json"]


_MEASURED = """
import re, runpy, sys
try:
    runpy.run_module("mailsync_syncjob.cli", run_name="__main__")
finally:
    # Not getrusage: its peak is inherited from the process that started this one.
    status = open("/proc/self/status").read()
    print("PEAK", re.search(r"VmHWM:\\s+(\\d+)", status)[1], file=sys.stderr)
"""


def test_a_message_larger_than_what_is_held_is_passed_through(pair: Pair, tmp_path: Path) -> None:
    small = plain_message(1)
    line = b"0123456789" * 7 + b"\r\n"
    large = Message(small.path, small.body + line * 1_000_000, ("\\Seen",), small.date)
    with pair.source() as session:
        load(session, [small, large, plain_message(2)])
    path = tmp_path / "alice.yaml"
    path.write_text(_manifest(pair))
    command = [sys.executable, "-c", _MEASURED, "run", "-f", str(path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    with pair.source() as source, pair.destination() as destination:
        assert compare_mailboxes(source, destination) == []
    peak = int(result.stderr.split("PEAK ")[1]) * 1024
    # The message has 72 MB; the interpreter with all imports about 60.
    assert peak < 100_000_000

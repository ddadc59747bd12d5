"""The command as a user meets it: words, exit codes, never a traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.support.builders import manifest
from tests.support.recorded import PASSWORD
from tests.support.scripted import Script, TinyServer, serve
from tests.support.secrecy import WATCH

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def _mailsync(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mailsync_syncjob.cli", *arguments]
    result = subprocess.run(
        command, input=stdin, capture_output=True, text=True, timeout=60, check=False
    )
    WATCH.keep("the command's output", result.stdout + result.stderr)
    assert "Traceback" not in result.stdout + result.stderr
    return result


def _secrets() -> list[dict[str, Any]]:
    return [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": f"{side}-password"},
            "stringData": {"password": PASSWORD},
        }
        for side in ("source", "destination")
    ]


def _between(name: str, source: int, destination: int, **spec: Any) -> dict[str, Any]:
    return manifest(
        name,
        source={"host": "127.0.0.1", "port": source, "tls": {"mode": "None"}},
        destination={"host": "127.0.0.1", "port": destination, "tls": {"mode": "None"}},
        **spec,
    )


def _file(tmp_path: Path, documents: Sequence[dict[str, Any]]) -> str:
    path = tmp_path / "manifest.yaml"
    path.write_text(yaml.safe_dump_all(documents))
    return str(path)


_MAIL = b"Message-ID: <1@x>\r\n\r\nbody\r\n"


def test_version() -> None:
    result = _mailsync("version")
    assert result.returncode == 0
    assert result.stdout.startswith("mailsync ")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["run"], 64, "-f"),
        (["walk"], 64, "walk"),
        (["run", "-f", "x", "--nonsense"], 64, "--nonsense"),
        (["run", "-f", "/nowhere/x.yaml"], 64, "/nowhere/x.yaml: No such file"),
        (["run", "-f", "-", "-o", "xml"], 64, "xml"),
        (["run", "-f", "-"], 78, "no MailSync"),
    ],
)
def test_bad_usage_is_said_in_words(arguments: list[str], code: int, words: str) -> None:
    result = _mailsync(*arguments)
    assert result.returncode == code
    assert words in result.stderr


def test_a_bad_manifest_is_named(tmp_path: Path) -> None:
    path = _file(tmp_path, [manifest(source={"port": 0})])
    result = _mailsync("run", "-f", path)
    assert result.returncode == 78
    assert f"{path}, document 1: spec.source.port: 0: " in result.stderr


def test_json_lines_where_there_is_no_terminal(tmp_path: Path) -> None:
    destination = TinyServer()
    with serve(TinyServer({1: _MAIL})) as a, serve(destination) as b:
        path = _file(tmp_path, [_between("alice", a.port, b.port), *_secrets()])
        result = _mailsync("run", "-f", path, "--report", str(tmp_path / "report.json"))
    assert result.returncode == 0, result.stderr
    kinds = [json.loads(line)["type"] for line in result.stdout.splitlines()]
    assert kinds[-1] == "report"
    assert kinds.count("session") == 2
    assert len(destination.appended) == 1
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["runs"][0]["name"] == "alice"
    assert report["runs"][0]["report"]["verdict"]["totals"]["copied"] == 1
    assert PASSWORD not in result.stdout + result.stderr + json.dumps(report)


def test_standard_input_and_a_dry_run() -> None:
    destination = TinyServer()
    with serve(TinyServer({1: _MAIL})) as a, serve(destination) as b:
        text = yaml.safe_dump_all([_between("alice", a.port, b.port), *_secrets()])
        result = _mailsync("run", "-f", "-", "--dry-run", stdin=text)
    assert result.returncode == 0, result.stderr
    assert destination.appended == []
    assert json.loads(result.stdout.splitlines()[-1])["report"]["verdict"]["dryRun"] is True


def _three(tmp_path: Path, good: Script, other: Script) -> str:
    lost = _between("lost", good.port, other.port)
    lost["spec"]["source"]["authentication"]["secretRef"]["name"] = "nowhere"
    return _file(
        tmp_path,
        [
            _between("asleep", good.port, other.port, suspend=True),
            lost,
            _between("unreachable", 1, other.port),
            _between("fine", good.port, other.port),
            *_secrets(),
        ],
    )


def test_several_are_run_one_after_the_other_and_the_worst_counts(tmp_path: Path) -> None:
    destination = TinyServer()
    with serve(TinyServer({1: _MAIL})) as a, serve(destination) as b:
        result = _mailsync("run", "-f", _three(tmp_path, a, b))
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    codes = [line["report"]["verdict"]["exitCode"] for line in lines if line["type"] == "report"]
    assert codes == [78, 69, 0]
    assert result.returncode == 78
    assert len(destination.appended) == 1
    assert "asleep: spec.suspend is true" in result.stderr


def test_people_get_a_summary(tmp_path: Path) -> None:
    with serve(TinyServer({1: _MAIL})) as a, serve(TinyServer()) as b:
        result = _mailsync("run", "-o", "progress", "-f", _three(tmp_path, a, b))
    assert result.returncode == 78
    assert "Summary" in result.stdout
    assert "CLEAR TEXT" in result.stdout
    assert "1 messages copied" in result.stdout


def test_a_place_for_the_state_that_cannot_be_is_said_before_the_run(tmp_path: Path) -> None:
    path = _file(tmp_path, [_between("a", 1, 2), _between("b", 1, 2), *_secrets()])
    several = _mailsync("run", "-f", path, "--state", str(tmp_path / "state"))
    assert several.returncode == 64
    assert "a file is for one MailSync and there are 2" in several.stderr
    nowhere = _mailsync("run", "-f", path, "--state", str(tmp_path / "no" / "state"))
    assert nowhere.returncode == 64
    assert "there is no directory" in nowhere.stderr


def test_unknown_kinds_are_named(tmp_path: Path) -> None:
    other = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x"}}
    with serve(TinyServer()) as a, serve(TinyServer()) as b:
        path = _file(tmp_path, [other, _between("alice", a.port, b.port), *_secrets()])
        result = _mailsync("run", "-f", path)
    assert result.returncode == 0
    assert "document 1: kind 'Namespace'" in result.stderr

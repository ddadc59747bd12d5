"""The search at the end of a run: what is planted is found, and fails a run whose tests passed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
# The word is made of two, as a test's file may be read by anybody.
_HEAD = """
import base64, subprocess, sys, zlib
from tests.support.poll import wait_until
from tests.support.secrecy import WATCH
WORD = "Gepflanzt" + "-4711"
WATCH.secret(WORD)
def was_seen():
    return any(WORD.encode() in zlib.decompress(text) for text in list(WATCH.texts))
"""
_CHILD = """
def test_child():
    command = [sys.executable, "-c", "input()", *{arguments}]
    with subprocess.Popen(command, env={environment}, stdin=subprocess.PIPE) as child:
        wait_until(was_seen)
        child.communicate(b"end")
"""


def _pytest(tmp_path: Path, text: str) -> subprocess.CompletedProcess[str]:
    file = tmp_path / "test_planted.py"
    file.write_text(_HEAD + text)
    options = [
        "-q",
        "-c",
        "/dev/null",
        "-p",
        "tests.support.secrecy_plugin",
        "-p",
        "no:cacheprovider",
    ]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, f"--rootdir={tmp_path}", str(file)],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("def test_log(): WATCH.keep('a log', f'LOGIN alice {WORD}')", "a log"),
        (
            "def test_plain(): WATCH.keep('a report', "
            "base64.b64encode(f'\\0alice\\0{WORD}'.encode()))",
            "a report",
        ),
        ("def test_printed(): print('password', WORD)", "Captured stdout call"),
        (_CHILD.format(arguments="[WORD]", environment="None"), "arguments of"),
        (
            _CHILD.format(arguments="[]", environment="{'PASSWORD': WORD}"),
            "environment of",
        ),
    ],
    ids=["log", "base64 of PLAIN", "printed", "arguments", "environment"],
)
def test_what_is_planted_fails_the_run(tmp_path: Path, text: str, where: str) -> None:
    done = _pytest(tmp_path, text)
    assert "1 passed" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 1
    assert "SECRET FOUND" in done.stdout
    assert where in done.stdout


def test_a_clean_run_passes_and_says_what_was_searched(tmp_path: Path) -> None:
    done = _pytest(tmp_path, "def test_clean(): WATCH.keep('a log', 'LOGIN alice ***')")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 credentials in" in done.stdout
    assert "processes seen: 0 hits" in done.stdout

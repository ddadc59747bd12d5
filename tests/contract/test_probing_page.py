"""docs/probing.md: its sessions are recorded, its options exist, its object is the real one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer.main
import yaml

from mailsync_api.endpoint import Server
from mailsync_syncjob.cli import app
from mailsync_syncjob.probe.report import ProbeReport
from mailsync_syncjob.probecommand import probe
from tests.support.probe_sessions import PAGES, SESSIONS, Session, blocks

_PAGE = (Path(__file__).parents[2] / "docs" / "probing.md").read_text(encoding="utf-8")
_SHOWN = {
    name: text for page in PAGES for name, text in blocks(page.read_text(encoding="utf-8")).items()
}


def _options() -> set[str]:
    group = typer.main.get_command(app)
    command = group.commands["probe"]  # type: ignore[attr-defined]  # a group has commands
    return {option for parameter in command.params for option in parameter.opts}


@pytest.mark.parametrize("session", SESSIONS, ids=lambda session: session.name)
def test_a_session_is_recorded(session: Session) -> None:
    text = _SHOWN[session.name]
    assert text.startswith(f"$ {session.command}\n")
    assert text.endswith(f"$ echo $?\n{session.exit_code}\n")


@pytest.mark.parametrize("name", sorted(_SHOWN))
def test_a_recorded_manifest_is_valid(name: str) -> None:
    found = re.search(r"^What to write[^\n]*\n((?:  (?!#).*\n)+)", _SHOWN[name], re.MULTILINE)
    if found is not None:
        Server.model_validate(yaml.safe_load(found[1]))


def test_every_option_that_is_named_exists_and_the_other_way_round() -> None:
    rows = re.findall(r"^\|[^|]*\| `(mailsync probe [^`]*)`", _PAGE, re.MULTILINE)
    assert len(rows) == 10
    named = {word for row in rows for word in re.findall(r"(?<![\w-])--?[a-z][a-z-]*", row)}
    named |= {
        word
        for line in _PAGE.splitlines()
        if not line.startswith("|")
        for word in re.findall(r"`(--?[a-z][a-z-]*)", line)
    }
    known = _options()
    assert named <= known
    long = {option for option in known if option.startswith("--")} - {"--help"}
    assert long - named == {"--file", "--output"}  # -f and -o there


def test_every_field_is_explained() -> None:
    table = _PAGE[_PAGE.index("## For programs") : _PAGE.index("## Exit codes")]
    for name, field in ProbeReport.model_fields.items():
        assert f"`{field.alias or name}" in table, name


def test_the_exit_codes_are_those_of_the_help() -> None:
    help_text = probe.__doc__ or ""
    codes = re.findall(r"^\| (\d+) \|", _PAGE[_PAGE.index("## Exit codes") :], re.MULTILINE)
    assert codes == re.findall(r"\b\d+\b", help_text[help_text.index("The exit code") :])

"""docs/security.md: its commands that look at a server do what the page says, on real servers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.pages import commands, page, section
from tests.support.probe_sessions import PASSWORDS, Session, Stage, stage

pytestmark = pytest.mark.servers

_COMMANDS = commands(section(page("security.md"), "How do I test a connection and a login?"))


@pytest.fixture(scope="module")
def servers() -> Iterator[Stage]:
    with stage() as running:
        yield running


@pytest.mark.parametrize("command", _COMMANDS)
def test_a_look_at_a_server(servers: Stage, command: str) -> None:
    done = servers.run(Session("page", command, 0))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "What to write" in done.stdout
    assert ("accepted" in done.stdout) is ("--login" in command)
    assert not [word for word in PASSWORDS if word in done.stdout + done.stderr]


def test_both_are_there() -> None:
    assert len(_COMMANDS) == 2

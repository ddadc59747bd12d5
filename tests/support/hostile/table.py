"""All hostile cases; ``docs/hostile-servers.md`` shows the same table, a test keeps them equal."""

from __future__ import annotations

from typing import Final

from tests.support.hostile.case import Case, Phase
from tests.support.hostile.greetings import GREETINGS
from tests.support.hostile.handshakes import HANDSHAKES
from tests.support.hostile.logins import LOGINS
from tests.support.hostile.secured import SECURED
from tests.support.hostile.sessions import SESSIONS
from tests.support.hostile.stripping import STRIPPING

__all__ = ["CASES", "table"]

CASES: Final[tuple[Case, ...]] = (
    *GREETINGS,
    *STRIPPING,
    *HANDSHAKES,
    *SECURED,
    *LOGINS,
    *SESSIONS,
)


def table(phase: Phase) -> str:
    """Return a phase's cases as Markdown."""
    rows = ["| what the server does | `tls.mode` | exit code | reason |", "|---|---|---|---|"]
    for case in CASES:
        if case.phase is phase:
            side = "" if len(case.sides) == 2 else f" ({case.sides[0]})"
            name = f"{case.name}{side}"
            rows.append(f"| {name} | {case.shown_modes} | {int(case.code)} | `{case.reason}` |")
    return "\n".join(rows)

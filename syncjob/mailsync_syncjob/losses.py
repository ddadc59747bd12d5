"""What lost and refused connections mean for going on. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mailsync_syncjob.errors import ConnectionLostError, ThrottledError, UnreachableError

if TYPE_CHECKING:
    from mailsync_syncjob.errors import EngineError

__all__ = ["MOST_LOSSES", "Losses", "is_about_their_number", "may_pass"]

MOST_LOSSES: Final = 5
"""So often in a row a lost connection is made again."""
_FIRST_WAIT: Final = 1.0
_LONGEST_WAIT: Final = 30.0
_NUMBER_WORDS: Final = re.compile(
    r"too many (simultaneous |concurrent |open )?(connections|sessions|logins)"
    r"|(maximum number|limit) of (simultaneous |concurrent )?connections",
    re.IGNORECASE,
)


@dataclass(slots=True)
class Losses:
    """Counts lost connections in a row, with nothing achieved between them."""

    row: int = 0

    def lost(self, *, moved: bool) -> None:
        """Take note of one more.

        Parameters
        ----------
        moved
            Whether anything was achieved since the last one.
        """
        self.row = 1 if moved else self.row + 1

    def forget(self) -> None:
        """Take it that all is well."""
        self.row = 0

    @property
    def hopeless(self) -> bool:
        """Whether it was tried often enough."""
        return self.row > MOST_LOSSES

    @property
    def wait(self) -> float:
        """How many seconds to wait before the next attempt."""
        return min(_FIRST_WAIT * 2 ** (self.row - 1), _LONGEST_WAIT) if self.row else 0.0

    def given_up(self, error: EngineError) -> ConnectionLostError:
        """Return the error that a run ends with."""
        return ConnectionLostError(
            f"{error.message}; {MOST_LOSSES} attempts to go on did not help", side=error.side
        )


def is_about_their_number(error: EngineError) -> bool:
    """Whether a server ended a session because there are too many, not because of what it did."""
    return isinstance(error, ThrottledError) and bool(_NUMBER_WORDS.search(error.message))


def may_pass(error: EngineError) -> bool:
    """Whether a connection that does not come about now may do so in a moment."""
    return isinstance(error, UnreachableError | ConnectionLostError)

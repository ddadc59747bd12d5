"""What a server says of a folder that is opened."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mailsync_syncjob.errors import CommandRefusedError
from mailsync_syncjob.imap.parse import parse_values
from mailsync_syncjob.imap.survey import Standing

if TYPE_CHECKING:
    from mailsync_syncjob.imap.channel import Channel, Outcome

__all__ = ["OpenFolder", "read_opened"]

# Longer than other codes may be: there is room for as many keywords as a server has.
_PERMANENT: Final = re.compile(rb"OK \[PERMANENTFLAGS (\(.*\))\]", re.IGNORECASE)
_NUMBERS: Final = frozenset({"UIDVALIDITY", "UIDNEXT", "HIGHESTMODSEQ"})


@dataclass(frozen=True, slots=True)
class OpenFolder:
    """The selected folder."""

    exists: int
    uid_validity: int
    permanent_flags: tuple[bytes, ...] | None
    """None where the server does not say, which allows everything (RFC 9051 section 7.1)."""
    uid_next: int | None = None
    highest_mod_seq: int | None = None

    @property
    def standing(self) -> Standing:
        """How it stood when it was opened."""
        return Standing(
            messages=self.exists,
            uid_next=self.uid_next,
            uid_validity=self.uid_validity,
            highest_mod_seq=self.highest_mod_seq,
        )


def read_opened(channel: Channel, outcome: Outcome, *, read_only: bool) -> OpenFolder:
    """Take apart what SELECT or EXAMINE was answered.

    Raises
    ------
    CommandRefusedError
        The folder can only be read, but was to be written to.
    ProtocolError
        The answer is none, or lacks what it must have.
    """
    if outcome.status.code == "READ-ONLY" and not read_only:
        raise CommandRefusedError(
            "SELECT", side=channel.side, code="READ-ONLY", text="the folder is read-only"
        )
    exists: int | None = None
    numbers: dict[str, int] = {}
    permanent: tuple[bytes, ...] | None = None
    for response in outcome.untagged:
        first, _, rest = response.text.partition(b" ")
        if rest.upper() == b"EXISTS" and first.isdigit():
            exists = int(first[:20])
        elif (found := _PERMANENT.match(response.text)) is not None:
            permanent = _flags(channel, found[1])
        else:
            _, status = channel.status(response.text)
            if status.code in _NUMBERS and status.arguments.isdigit():
                numbers[status.code] = int(status.arguments[:20])
    if exists is None:
        # Taken for an empty folder, it would be filled a second time.
        raise channel.violation("no number of messages for a folder that it opened")
    return OpenFolder(
        exists,
        numbers.get("UIDVALIDITY", 0),
        permanent,
        numbers.get("UIDNEXT"),
        numbers.get("HIGHESTMODSEQ"),
    )


def _flags(channel: Channel, text: bytes) -> tuple[bytes, ...]:
    try:
        values = parse_values([text])
    except ValueError as error:
        raise channel.violation(f"flags that are none: {error}") from None
    flags = values[0] if values else None
    return tuple(f for f in flags if isinstance(f, bytes)) if isinstance(flags, list) else ()

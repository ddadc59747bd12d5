"""Literals of APPENDs: which may be sent unasked, what stands before them, what is confirmed."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mailsync_syncjob.errors import ConnectionLostError
from mailsync_syncjob.imap.syntax import count_of_set

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mailsync_syncjob.imap.channel import Channel
    from mailsync_syncjob.imap.fetch import Body

__all__ = [
    "NONE_FREE",
    "SMALL_LITERAL",
    "Literals",
    "append_count",
    "append_uid",
    "attributes",
    "hearing",
]

SMALL_LITERAL: Final = 4096
"""RFC 7888 section 4: what LITERAL- allows."""


@dataclass(frozen=True, slots=True)
class Literals:
    """What literals may be sent without waiting for the server's consent (RFC 7888)."""

    plus: bool
    """LITERAL+: all of them."""
    minus: bool
    """LITERAL-: those up to 4096 bytes."""

    @classmethod
    def of(cls, capabilities: frozenset[str]) -> Literals:
        """Return what these capabilities allow."""
        return cls("LITERAL+" in capabilities, "LITERAL-" in capabilities)

    @property
    def any(self) -> bool:
        """Whether there are any."""
        return self.plus or self.minus

    def free(self, size: int) -> bool:
        """Whether a literal of this size may be sent at once."""
        return self.plus or (self.minus and size <= SMALL_LITERAL)


NONE_FREE: Final = Literals(plus=False, minus=False)
"""Each literal is asked for; every server understands that."""


@contextmanager
def hearing(channel: Channel) -> Iterator[None]:
    """Look for a server's last words where writing to it fails."""
    try:
        yield
    except ConnectionLostError:
        channel.last_words()
        raise


def attributes(
    body: Body, flags: Sequence[bytes], date: bytes | None, *, free: bool
) -> Iterator[bytes]:
    """Yield what stands before a message's bytes."""
    if flags:
        yield b"(" + b" ".join(flags) + b")"
    if date:
        yield date
    yield b"{%d%s}" % (body.size, b"+" if free else b"")


def append_uid(code: str, arguments: bytes) -> int | None:
    """RFC 4315 section 3: ``[APPENDUID uidvalidity uid]``."""
    words = arguments.split()
    if code != "APPENDUID" or len(words) != 2 or not words[1].isdigit():
        return None
    return int(words[1])


def append_count(code: str, arguments: bytes) -> int | None:
    """RFC 4315 section 3: ``[APPENDUID uidvalidity uid-set]``; None without one."""
    words = arguments.split()
    return count_of_set(words[1]) if code == "APPENDUID" and len(words) == 2 else None

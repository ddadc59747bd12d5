"""What a server announces: when it is asked, in its greeting, and along with a login."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailsync_syncjob.errors import CommandRefusedError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mailsync_syncjob.imap.channel import Channel, Response
    from mailsync_syncjob.texts import StatusText

__all__ = ["announced_by", "ask_capabilities", "capabilities_among"]


def ask_capabilities(channel: Channel) -> frozenset[str]:
    """Ask for the server's capabilities and return them in upper case."""
    try:
        answers = channel.run(b"CAPABILITY", command="CAPABILITY").untagged
    except CommandRefusedError as error:
        raise channel.violation(f"no capabilities ({error.text})") from None
    return capabilities_among(answers)


def capabilities_among(answers: Iterable[Response]) -> frozenset[str]:
    """Return what these answers announce, in upper case."""
    words: set[str] = set()
    for answer in answers:
        name, _, rest = answer.text.partition(b" ")
        if name.upper() == b"CAPABILITY":
            words |= _words(rest)
    return frozenset(words)


def announced_by(status: StatusText) -> frozenset[str] | None:
    """Return what a status announces along with what it says (RFC 9051 section 7.1), or None."""
    return _words(status.arguments) if status.code == "CAPABILITY" else None


def _words(text: bytes) -> frozenset[str]:
    return frozenset(text.decode("ascii", "replace").upper().split())

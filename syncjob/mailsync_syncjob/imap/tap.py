"""What listens to a connection: nothing in a run, a stopwatch or a trace in a probe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from mailsync_syncjob.credentials import Target

__all__ = ["Tap"]


class Tap(Protocol):
    """Hears what happens on connections, in the order in which it happens.

    The bytes are as they are on the wire (inside TLS): whoever shows them masks them.
    """

    def trying(self, target: Target) -> None:
        """Hear that a connection is about to be made, by the port and mode of the target."""

    def connected(self) -> None:
        """Hear that TCP is connected."""

    def shaking_hands(self) -> None:
        """Hear that the TLS handshake begins."""

    def secured(self) -> None:
        """Hear that it is done."""

    def sent(self, data: bytes) -> None:
        """Hear what was sent."""

    def received(self, data: bytes) -> None:
        """Hear what was received and is about to be looked at."""

"""Counting the round trips that a connection waits for, as any link with latency shows them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mailsync_syncjob.credentials import Target

__all__ = ["Waits"]


@dataclass
class Waits:
    """A tap with a clock of its own, whose unit is the round trip.

    What is sent is answered one round trip later, so whoever looks at an answer has waited until
    then; what was sent in the meantime, on purpose, is answered at no extra cost. Nothing depends
    on how fast the machine is.
    """

    now: int = 0
    _greeted: bool = False
    _sent: dict[bytes, int] = field(default_factory=dict)
    _last: int = 0

    def trying(self, target: Target) -> None:
        """Take no interest."""

    def connected(self) -> None:
        """Count the TCP handshake; its last packet is what brings the greeting."""
        self.now += 1

    def shaking_hands(self) -> None:
        """Take no interest."""

    def secured(self) -> None:
        """Count TLS 1.3's handshake."""
        self.now += 1

    def sent(self, data: bytes) -> None:
        """Note when each command was sent."""
        self._last = self.now
        for line in data.split(b"\r\n"):
            tag, _, rest = line.partition(b" ")
            if rest:
                self._sent[tag] = self.now

    def received(self, data: bytes) -> None:
        """Move on to when this came."""
        if not self._greeted:
            self._greeted = True
            self.now += 1
        tag, _, _ = data.partition(b" ")
        if tag == b"+":
            self.now = max(self.now, self._last + 1)
        elif tag in self._sent:
            self.now = max(self.now, self._sent.pop(tag) + 1)

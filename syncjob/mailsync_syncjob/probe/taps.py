"""What a probe hears of its connections: times and the mechanism; several hear side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mailsync_syncjob.credentials import Target
    from mailsync_syncjob.deadline import Clock
    from mailsync_syncjob.imap.tap import Tap

__all__ = ["Chorus", "Observer"]


class Observer:
    """Notes of the latest connection how long its parts took (in milliseconds), and its login."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since = 0.0
        self._port = 0
        self.unreached: set[int] = set()
        """Ports that were tried, and TCP was not connected the last time."""
        self.tcp: int | None = None
        """The TCP connection, names and failed addresses included; None if none came about."""
        self.handshake: int | None = None
        """The TLS handshake; None if none came to its end."""
        self.mechanism: str | None = None
        """What the login was tried with: a SASL mechanism, or LOGIN for the command."""

    def reset(self) -> None:
        """Forget the latest connection."""
        self.tcp = self.handshake = self.mechanism = None

    def trying(self, target: Target) -> None:
        """Begin with a new connection."""
        self.reset()
        self._port = target.account.effective_port
        self.unreached.add(self._port)
        self._since = self._clock.monotonic()

    def connected(self) -> None:
        """Take the time of TCP."""
        self.unreached.discard(self._port)
        self.tcp = self._passed()

    def shaking_hands(self) -> None:
        """Begin with the handshake."""
        self._since = self._clock.monotonic()

    def secured(self) -> None:
        """Take the time of the handshake."""
        self.handshake = self._passed()

    def sent(self, data: bytes) -> None:
        """Note the mechanism; nothing that follows it."""
        words = data[:200].split(None, 3)
        if len(words) >= 3 and words[1] == b"AUTHENTICATE":
            self.mechanism = words[2].decode("ascii", "replace")
        elif len(words) >= 3 and words[1] == b"LOGIN":
            self.mechanism = "LOGIN"

    def received(self, _: bytes) -> None:
        """Nothing to note."""

    def _passed(self) -> int:
        return round((self._clock.monotonic() - self._since) * 1000)


class Chorus:
    """Lets several hear the same."""

    def __init__(self, *taps: Tap) -> None:
        self._taps = taps

    def trying(self, target: Target) -> None:
        """Pass it on."""
        for tap in self._taps:
            tap.trying(target)

    def connected(self) -> None:
        """Pass it on."""
        for tap in self._taps:
            tap.connected()

    def shaking_hands(self) -> None:
        """Pass it on."""
        for tap in self._taps:
            tap.shaking_hands()

    def secured(self) -> None:
        """Pass it on."""
        for tap in self._taps:
            tap.secured()

    def sent(self, data: bytes) -> None:
        """Pass it on."""
        for tap in self._taps:
            tap.sent(data)

    def received(self, data: bytes) -> None:
        """Pass it on."""
        for tap in self._taps:
            tap.received(data)

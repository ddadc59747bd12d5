"""The dialogue with a server for people: every line with its time, secrets masked.

Masking does not rely on knowing the secret: whatever the client says within a login is one, and so
is the server's half of the exchange.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

    from mailsync_syncjob.credentials import Target
    from mailsync_syncjob.deadline import Clock

__all__ = ["Trace"]

_MASK: Final = "***"
_MOST_LINES: Final = 1000
_MOST_CHARACTERS: Final = 500
_MASKED_COMMANDS: Final = frozenset({b"LOGIN", b"AUTHENTICATE", b"PROXYAUTH"})
# Everything but printable ASCII, so that a server cannot steer the terminal.
_HIDDEN: Final = re.compile(rb"[^\x20-\x7e]")
_ESCAPES: Final = {b"\r": "\\r", b"\n": "\\n", b"\t": "\\t"}


class Trace:
    """Writes what it hears; bounded, whatever a server sends.

    Parameters
    ----------
    secrets
        What must not be repeated outside logins either, as it is at that time.
    """

    def __init__(
        self, stream: TextIO, clock: Clock, *, secrets: Callable[[], tuple[str, ...]] = tuple
    ) -> None:
        self._stream = stream
        self._clock = clock
        self._secrets = secrets
        self._left = _MOST_LINES
        self._login: bytes | None = None
        """The tag of the login that is under way."""

    def trying(self, target: Target) -> None:
        """Say which connection begins."""
        self._login = None
        self._write("--", f"{target.address}, {target.account.tls.mode}")

    def connected(self) -> None:
        """Say so."""
        self._write("--", "TCP is connected")

    def shaking_hands(self) -> None:
        """Say so."""
        self._write("--", "TLS handshake")

    def secured(self) -> None:
        """Say so."""
        self._write("--", "TLS is established")

    def sent(self, data: bytes) -> None:
        """Show what was sent, a login without its arguments."""
        if self._login is not None:
            self._write("C:", _MASK)
            return
        words = data.split(b" ", 3)
        command = words[1].strip().upper() if len(words) > 1 else b""
        if command not in _MASKED_COMMANDS:
            self._show("C:", data)
            return
        self._login = words[0]
        shown = words[:3] if command == b"AUTHENTICATE" else words[:2]
        line = b" ".join(shown).rstrip(b"\r\n")
        more = len(words) > len(shown)
        self._write("C:", self._safe(line) + (f" {_MASK}" if more else ""))

    def received(self, data: bytes) -> None:
        """Show what was received; within a login only how the server answered."""
        tag, _, rest = data.partition(b" ")
        if self._login is None:
            self._show("S:", data)
            return
        if tag == self._login:
            self._login = None
            # Some servers repeat what they refuse.
            word, _, text = rest.partition(b" ")
            code = re.match(rb"\[[A-Z-]{1,30}\]", text)
            shown = b" ".join((tag, word[:20].strip(), *([code[0]] if code else [])))
            self._write("S:", f"{self._safe(shown)} {_MASK}")
        else:
            self._write("S:", f"{self._safe(tag[:20].strip())} {_MASK}")

    def _show(self, who: str, data: bytes) -> None:
        for line in data.split(b"\r\n")[:_MOST_LINES]:
            if line:
                self._write(who, self._safe(line))

    def _safe(self, data: bytes) -> str:
        # Masked before anything is cut or changed, so that no part of a secret is left.
        text = data[: 20 * _MOST_CHARACTERS].decode("latin-1")
        # Asked for anew each time: a token is known only once it was taken.
        for secret in sorted(filter(None, self._secrets()), key=len, reverse=True):
            text = text.replace(secret.encode().decode("latin-1"), _MASK)
        raw = text.encode("latin-1")
        shown = _HIDDEN.sub(_escape, raw).decode("ascii")
        return shown if len(shown) <= _MOST_CHARACTERS else f"{shown[:_MOST_CHARACTERS]}… (cut)"

    def _write(self, who: str, text: str) -> None:
        if self._left <= 0:
            return
        self._left -= 1
        now = datetime.fromtimestamp(self._clock.time(), tz=UTC)
        stamp = now.strftime("%H:%M:%S.%f")[:-3]
        self._stream.write(f"{stamp} {who} {text}\n")
        if not self._left:
            self._stream.write(f"{stamp} -- more than {_MOST_LINES} lines: the rest is left out\n")
        self._stream.flush()


def _escape(found: re.Match[bytes]) -> bytes:
    return (_ESCAPES.get(found[0]) or f"\\x{found[0][0]:02x}").encode("ascii")

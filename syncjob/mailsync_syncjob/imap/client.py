"""imapclient on a wire of ours, with its traps closed.

What is overridden, and why: imapclient would connect by itself, set socket time-outs (which make
the socket blocking again) and turn imaplib's debugging on (which formats every literal). imaplib
would read ahead into a buffer of its own; here both read from the same wire.
"""

from __future__ import annotations

import imaplib
import re
from typing import TYPE_CHECKING, Any

from imapclient import IMAPClient
from typing_extensions import override

if TYPE_CHECKING:
    from mailsync_syncjob.imap.wire import Wire

__all__ = ["make_client"]

# What imaplib waits for first; the server's own greeting was read before, and so was the login.
_GREETING = b"* PREAUTH [logged in already]\r\n"


_BARE_STATUS = re.compile(rb"^(\S+ (?:OK|NO|BAD))\r\n$")


class _WireIMAP4(imaplib.IMAP4):
    """imaplib without a socket of its own."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._greeting = _GREETING
        super().__init__()

    @override
    def open(self, host: str = "", port: int = 143, timeout: float | None = None) -> None:
        self.host = host
        self.port = port
        self.sock = self._wire.socket

    @override
    def read(self, size: int) -> bytes:
        return self._wire.read(size)

    @override
    def readline(self) -> bytes:
        if self._greeting:
            line, self._greeting = self._greeting, b""
            return line
        line = self._wire.readline()
        if not line.endswith(b"\r\n"):
            line = line.rstrip(b"\n") + b"\r\n"
        # imaplib insists on CRLF and on a text after the status, which RFC 9051 demands and some
        # servers forget.
        return _BARE_STATUS.sub(rb"\1 \r\n", line)

    @override
    def send(self, data: Any) -> None:
        self._wire.write(data)

    @override
    def shutdown(self) -> None:
        self._wire.close()


class _WireClient(IMAPClient):  # type: ignore[misc]  # imapclient has no type information
    """imapclient on a wire."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        super().__init__(host="", ssl=False)

    def _create_IMAP4(self) -> _WireIMAP4:  # noqa: N802  imapclient's name
        return _WireIMAP4(self._wire)

    def _set_read_timeout(self) -> None:
        """Leave the socket as it is: the wire has deadlines."""


def make_client(wire: Wire) -> Any:  # noqa: ANN401  imapclient has no types
    """Return an imapclient in the authenticated state; it asks for the capabilities itself.

    Mailbox names are bytes as the server writes them.
    """
    client = _WireClient(wire)
    # imapclient sets 5, which keeps and formats every line and literal.
    client._imap.debug = 0  # noqa: SLF001  there is no public way
    client.folder_encode = False
    return client

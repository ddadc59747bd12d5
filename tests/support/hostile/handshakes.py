"""Anything but a handshake where it is due; bad certificates have a table of their own."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, Final

from mailsync_api.conditions import Reason
from mailsync_api.exitcodes import ExitCode
from tests.support.hostile.case import BOTH, WORD, Case, Phase, Scene

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.hostile.case import Make
    from tests.support.scripted import Dialogue, Peer

__all__ = ["HANDSHAKES"]

_CHUNK: Final = 1 << 14
_FATAL: Final = b"\x15\x03\x03\x00\x02\x02"
_HANDSHAKE_FAILURE, _INTERNAL_ERROR = b"\x28", b"\x50"
_WARNING: Final = b"\x15\x03\x03\x00\x02\x01\x5a"
_CHANGE_CIPHER: Final = b"\x14\x03\x03\x00\x01\x01"


def _heard(peer: Peer) -> None:
    """Wait for the ClientHello."""
    peer.heard(peer.socket.recv(1 << 14))


def _says(text: bytes, then: Callable[[Peer], None] | None = None) -> Make:
    def make(_: Scene) -> Dialogue:
        def dialogue(peer: Peer) -> None:
            _heard(peer)
            peer.send(text.replace(b"%W", WORD))
            if then is None:
                peer.wait_for_hang_up()
            else:
                then(peer)

        return dialogue

    return make


def _for_ever(text: bytes) -> Callable[[Peer], None]:
    def repeat(peer: Peer) -> None:
        while True:
            peer.send(text * max(_CHUNK // len(text), 1))

    return repeat


def _close(peer: Peer) -> None:
    peer.close()


def _reset(peer: Peer) -> None:
    linger = struct.pack("ii", 1, 0)
    peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    peer.close()


def _broken(name: str, make: Make, finer: Reason, *, endless: bool = False) -> Case:
    code = ExitCode.TLS_POLICY
    return Case(name, make, code, finer, phase=Phase.HANDSHAKE, modes=BOTH, endless=endless)


def _away(name: str, make: Make, *, slow: bool = False) -> Case:
    code = ExitCode.UNREACHABLE
    return Case(name, make, code, phase=Phase.HANDSHAKE, modes=BOTH, slow=slow)


# A record that announces a ServerHello of 90 bytes, and its beginning.
_HALF: Final = b"\x16\x03\x03\x00\x5a\x02\x00\x00\x56\x03\x03" + b"r" * 20

HANDSHAKES: Final = (
    _away("silence", _says(b""), slow=True),
    _away("a hang-up", _says(b"", _close)),
    _away("a reset connection", _says(b"", _reset)),
    _away("half a ServerHello, then silence", _says(_HALF), slow=True),
    _away("half a ServerHello, then a hang-up", _says(_HALF, _close)),
    _broken(
        "an alert: handshake failure",
        _says(_FATAL + _HANDSHAKE_FAILURE),
        Reason.TLS_HANDSHAKE_FAILED,
    ),
    _broken(
        "an alert: internal error", _says(_FATAL + _INTERNAL_ERROR), Reason.TLS_HANDSHAKE_FAILED
    ),
    _broken(
        "endless warnings",
        _says(b"", _for_ever(_WARNING)),
        Reason.TLS_HANDSHAKE_FAILED,
        endless=True,
    ),
    _broken(
        "endless changes of the cipher",
        _says(b"", _for_ever(_CHANGE_CIPHER)),
        Reason.TLS_NOT_SPOKEN,
        endless=True,
    ),
    _broken(
        "a ServerHello of garbage",
        _says(b"\x16\x03\x03\x00\x08\x02\x00\x00\x04\xff\xff\xff\xff"),
        Reason.TLS_HANDSHAKE_FAILED,
    ),
    _broken(
        "a handshake message of 16 MB",
        _says(
            b"\x16\x03\x03\x40\x00\x02\xff\xff\xff" + b"\0" * 16380,
            _for_ever(b"\x16\x03\x03\x40\x00" + b"\0" * 16384),
        ),
        Reason.TLS_HANDSHAKE_FAILED,
        endless=True,
    ),
    _broken("the greeting of an IMAP server", _says(b"* OK %W\r\n"), Reason.TLS_NOT_SPOKEN),
    _broken(
        "capabilities and BYE in clear text",
        _says(b"* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n* BYE %W\r\n"),
        Reason.TLS_NOT_SPOKEN,
    ),
    _broken("PREAUTH in clear text", _says(b"* PREAUTH %W\r\n"), Reason.TLS_NOT_SPOKEN),
    _broken("an SMTP server", _says(b"220 mail.example.org ESMTP %W\r\n"), Reason.TLS_NOT_SPOKEN),
    _broken(
        "an HTTP server",
        _says(b"HTTP/1.1 400 Bad Request\r\nServer: %W\r\n\r\n"),
        Reason.TLS_NOT_SPOKEN,
    ),
    _broken("NUL bytes", _says(b"\0" * 64), Reason.TLS_NOT_SPOKEN),
    _broken(
        "endless clear text",
        _says(b"", _for_ever(b"* OK %s\r\n" % WORD)),
        Reason.TLS_NOT_SPOKEN,
        endless=True,
    ),
)

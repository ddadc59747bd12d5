"""What a server may say before anything was asked of it."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Final

from mailsync_api.conditions import Reason
from mailsync_api.exitcodes import ExitCode
from tests.support.hostile.case import Case, Scene, clear, endless, inside, mute

if TYPE_CHECKING:
    from tests.support.scripted import Peer

__all__ = ["GREETINGS"]

_STRICT: Final = ("StartTLS",)


def _hang_up(_: Scene, peer: Peer) -> None:
    peer.close()


def _drip(_: Scene, peer: Peer) -> None:
    """Send a byte, and another whenever the client shows its patience."""
    peer.socket.settimeout(0.02)
    while True:
        peer.send(b"*")
        try:
            # Nothing comes but the end of the connection; this only keeps the bytes apart.
            if not peer.socket.recv(1):
                return
        except TimeoutError:
            continue


def _half(_: Scene, peer: Peer) -> None:
    peer.send(b"* OK ")
    peer.wait_for_hang_up()


def _tls_listener(_: Scene, peer: Peer) -> None:
    """Wait for a handshake, as a server of implicit TLS does."""
    peer.socket.recv(1, socket.MSG_PEEK)
    peer.start_tls()


def _refused(name: str, greeting: bytes) -> Case:
    return Case(name, clear(greeting=greeting), ExitCode.PROTOCOL)


def _preauth(name: str, greeting: bytes) -> Case:
    make = clear(greeting=greeting)
    return Case(name, make, ExitCode.TLS_POLICY, Reason.ALREADY_AUTHENTICATED)


GREETINGS: Final = (
    Case("no greeting", clear(greeting=mute), ExitCode.UNREACHABLE, modes=_STRICT, slow=True),
    Case("a closed connection", clear(greeting=_hang_up), ExitCode.UNREACHABLE),
    Case(
        "a greeting byte by byte, without end",
        clear(greeting=_drip),
        ExitCode.UNREACHABLE,
        modes=_STRICT,
        slow=True,
    ),
    Case(
        "half a greeting, then nothing",
        clear(greeting=_half),
        ExitCode.UNREACHABLE,
        modes=_STRICT,
        slow=True,
    ),
    Case(
        "a greeting of one endless line",
        clear(greeting=endless(b"%W", before=b"* OK ")),
        ExitCode.PROTOCOL,
        endless=True,
    ),
    Case(
        "a greeting with a literal of 100 GB",
        clear(greeting=b"* OK {99999999999}\r\n"),
        ExitCode.PROTOCOL,
    ),
    Case(
        "a greeting with an endless row of literals",
        clear(greeting=endless(b"{9}\r\n%W", before=b"* OK ")),
        ExitCode.PROTOCOL,
        endless=True,
    ),
    Case(
        "a greeting with a literal of 4 MB",
        clear(greeting=endless(b"%W", before=b"* OK {4000000}\r\n")),
        ExitCode.PROTOCOL,
        endless=True,
    ),
    Case(
        "endless untagged lines after the greeting",
        clear(greeting=endless(b"* 1\r\n", before=b"* OK %W\r\n")),
        ExitCode.PROTOCOL,
        endless=True,
    ),
    Case(
        "endless untagged lines instead of a greeting",
        clear(greeting=endless(b"* LIST () NIL %W\r\n")),
        ExitCode.PROTOCOL,
        endless=True,
    ),
    Case(
        "endless empty lines",
        clear(greeting=endless(b"\r\n")),
        ExitCode.PROTOCOL,
        endless=True,
    ),
    Case("endless NUL bytes", clear(greeting=endless(b"\0")), ExitCode.PROTOCOL, endless=True),
    _refused("NUL bytes", b"\0\0\0\0\0\0\0\0\r\n"),
    _refused("a NUL byte before the greeting", b"\0* OK %W\r\n"),
    _refused("an empty line before the greeting", b"\r\n* OK %W\r\n"),
    _refused("a tagged greeting", b"a1 OK %W\r\n"),
    _refused("a continuation for a greeting", b"+ %W\r\n"),
    _refused("a greeting without a status", b"* %W\r\n"),
    _refused("NO for a greeting", b"* NO [ALERT] %W\r\n"),
    _refused("BAD for a greeting", b"* BAD %W\r\n"),
    _refused("mailbox data for a greeting", b'* LIST () "/" %W\r\n'),
    _refused("an SMTP server", b"220 mail.example.org ESMTP %W\r\n"),
    _refused("a POP3 server", b"+OK POP3 %W <1896.6971@example.org>\r\n"),
    _refused("an HTTP server that does not wait", b"HTTP/1.1 400 Bad Request\r\nServer: %W\r\n"),
    _refused("an SSH server", b"SSH-2.0-OpenSSH_9.2 %W\r\n"),
    Case(
        "a port with implicit TLS",
        clear(greeting=_tls_listener),
        ExitCode.UNREACHABLE,
        modes=_STRICT,
        slow=True,
    ),
    Case(
        "a TLS alert for a greeting",
        clear(greeting=b"\x15\x03\x01\x00\x02\x02\x28"),
        ExitCode.UNREACHABLE,
        modes=_STRICT,
        slow=True,
    ),
    Case("BYE for a greeting", clear(greeting=b"* BYE %W\r\n"), ExitCode.UNREACHABLE),
    Case(
        "BYE with an alert",
        clear(greeting=b"* BYE [ALERT] call +1 900 555 %W\r\n"),
        ExitCode.UNREACHABLE,
    ),
    Case(
        "BYE with a referral",
        clear(greeting=b"* BYE [REFERRAL imap://127.0.0.1:%B/] %W\r\n"),
        ExitCode.UNREACHABLE,
    ),
    _preauth("PREAUTH", b"* PREAUTH %W\r\n"),
    _preauth("PREAUTH without a text", b"* PREAUTH\r\n"),
    _preauth("PREAUTH in small letters", b"* preauth %W\r\n"),
    _preauth("PREAUTH that offers STARTTLS", b"* PREAUTH [CAPABILITY IMAP4rev1 STARTTLS] %W\r\n"),
    _preauth(
        "PREAUTH and mailbox data in one segment",
        b'* PREAUTH %W\r\n* LIST () "/" %W\r\n* 3 EXISTS\r\nm1 OK %W\r\n',
    ),
    _preauth("PREAUTH with a referral", b"* PREAUTH [REFERRAL imap://127.0.0.1:%B/] %W\r\n"),
    Case(
        "a referral in the greeting",
        clear(greeting=b"* OK [REFERRAL imap://127.0.0.1:%B/] %W\r\n", then=inside()),
        ExitCode.DONE,
        logins=1,
    ),
    Case(
        "an untagged referral after the greeting",
        clear(
            greeting=b"* OK %W\r\n* OK [REFERRAL imap://127.0.0.1:%B/] %W\r\n",
            then=inside(),
        ),
        ExitCode.DONE,
        logins=1,
    ),
    Case(
        "an alert in the greeting",
        clear(greeting=b"* OK [ALERT] call +1 900 555 %W\r\n", then=inside()),
        ExitCode.DONE,
        logins=1,
    ),
    Case(
        "line ends without CR",
        clear(
            greeting=b"* OK %W\n",
            capability=b"* CAPABILITY IMAP4rev1 STARTTLS\n%T OK %W\n",
            starttls=b"%T OK %W\n",
            then=inside(),
        ),
        ExitCode.DONE,
        logins=1,
    ),
)

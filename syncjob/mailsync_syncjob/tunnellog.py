"""What a tunnel's log says of one connection: the facts of its TLS, or why there is none.

stunnel has no other way to say it. Its lines name the thread, and a thread's first line the port
that the engine connected from.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mailsync_api.conditions import Reason
from mailsync_api.endpoint import TLSVerify
from mailsync_api.status import TLSFacts
from mailsync_syncjob.errors import (
    ConfigurationError,
    ProtocolError,
    TLSPolicyError,
    UnreachableError,
)
from mailsync_syncjob.texts import sanitise
from mailsync_syncjob.tls import certificate_error, handshake_error, server_name

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from mailsync_syncjob.credentials import Target
    from mailsync_syncjob.deadline import Clock, Stop
    from mailsync_syncjob.errors import EngineError

__all__ = ["TunnelLog", "check_started", "facts_in", "failure_in", "lines_of"]

_TAIL_BYTES: Final = 1 << 18
_WAIT_SECONDS: Final = 3.0
_PAUSE_SECONDS: Final = 0.05

_LINE: Final = re.compile(r"^[0-9.]+ [0-9:]+ LOG[0-7]\[(?P<thread>\w+)\]: (?P<text>.*)$")
_ACCEPTED: Final = re.compile(r"Service \[\w+\] accepted connection from 127\.0\.0\.1:(\d+)")
_OVER: Final = re.compile(r"Connection (closed|reset)")
_CIPHER: Final = re.compile(r"(?:Negotiated )?(TLSv1(?:\.[0-3])?) ciphersuite:? (\S+)")
_CERTIFICATE: Final = re.compile(r"Certificate accepted at depth=([0-9]+): (.*)")
_NAME: Final = re.compile(r'CERT: (?:Host name|IP address) "([^"]*)" matched')
_PREVERIFY: Final = re.compile(r"CERT: Pre-verification error: (.*)")
_MISMATCH: Final = re.compile(
    r"CERT: (?:Subject checks failed|No matching (?:host name|IP address) found)"
)
_OPENSSL: Final = re.compile(r"SSL_\w+: .*error:[0-9A-F]+:SSL routines:[^:]*:(.*)")
_NETWORK: Final = re.compile(
    r"Error resolving \"[^\"]*\": (.*)|s_connect: connect \S+: (.*) \(\d+\)"
    r"|.*(TIMEOUT(?:connect|busy) exceeded)"
)
# OpenSSL's words (x509_txt.c) for what has a reason of its own.
_VERIFY_REASONS: Final = (
    ("not yet valid", Reason.CERTIFICATE_NOT_YET_VALID),
    ("has expired", Reason.CERTIFICATE_EXPIRED),
    ("too weak", Reason.CERTIFICATE_TOO_WEAK),
)


@dataclass(frozen=True, slots=True)
class TunnelLog:
    """The part of a tunnel's log that is about one connection."""

    endpoint: Target
    path: Path
    port: int
    """The connection's own port."""
    clock: Clock
    stop: Stop

    @classmethod
    def of(cls, sock: socket.socket, endpoint: Target, *, clock: Clock, stop: Stop) -> TunnelLog:
        """Return that of a connection to the endpoint's tunnel."""
        if endpoint.tunnel is None:
            raise ValueError("an endpoint without a tunnel")
        return cls(endpoint, endpoint.tunnel.log, sock.getsockname()[1], clock, stop)

    def facts(self, *, seconds: float) -> TLSFacts:
        """Return what the tunnel negotiated, as soon as it says so.

        Raises
        ------
        EngineError
            It says why it did not.
        TLSPolicyError
            It says that it connected, but not that it verified what it should.
        UnreachableError
            It says nothing within so many seconds.
        """
        where = f"{self.endpoint.side} {self.endpoint.address}"
        end = self.clock.monotonic() + seconds
        while self.clock.monotonic() < end:
            lines = self._lines()
            if (found := facts_in(lines, endpoint=self.endpoint)) is not None:
                return found
            if any(_CIPHER.match(line) for line in lines):
                raise TLSPolicyError(
                    f"{where}: the tunnel does not say that it verified what tls.verify demands; "
                    "no credentials were sent",
                    side=self.endpoint.side,
                )
            if any(_OVER.match(line) for line in lines):
                break
            self.stop.pause(_PAUSE_SECONDS)
        raise failure_in(self._lines(), endpoint=self.endpoint) or UnreachableError(
            f"{where}: no TLS handshake of the tunnel came to an end. No credentials were sent",
            side=self.endpoint.side,
        )

    def failure(self) -> EngineError | None:
        """Return why the tunnel ended the connection; None if it does not say so."""
        end = self.clock.monotonic() + _WAIT_SECONDS
        lines = self._lines()
        while not any(_OVER.match(line) for line in lines) and self.clock.monotonic() < end:
            self.stop.pause(_PAUSE_SECONDS)
            lines = self._lines()
        return failure_in(lines, endpoint=self.endpoint)

    def _lines(self) -> list[str]:
        return lines_of(_tail(self.path), port=self.port)


def check_started(endpoint: Target) -> None:
    """Look whether the endpoint's tunnel, if it has one, could start.

    Raises
    ------
    ConfigurationError
        It could not, and why.
    """
    if endpoint.tunnel is None:
        return
    try:
        text = endpoint.tunnel.failure.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return
    raise ConfigurationError(f"the tunnel could not start: {text.strip()}", side=endpoint.side)


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(file.seek(0, 2) - _TAIL_BYTES, 0))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def lines_of(text: str, *, port: int) -> list[str]:
    """Return what a log says of the newest connection from this port, without the prefixes."""
    found: list[str] = []
    thread = None
    for line in text.split("\n"):
        part = _LINE.match(line)
        if part is None:
            continue
        accepted = _ACCEPTED.match(part["text"])
        if accepted is not None and int(accepted[1]) == port:
            thread, found = part["thread"], []
        elif accepted is not None and part["thread"] == thread:
            thread = None  # another connection's thread from here on
        elif part["thread"] == thread:
            found.append(part["text"])
    return found


def facts_in(lines: Iterable[str], *, endpoint: Target) -> TLSFacts | None:
    """Return the facts in one connection's lines; None if they do not show that all was met."""
    account, policy = endpoint.account, endpoint.account.tls
    cipher = name = None
    subjects: dict[int, str] = {}
    for line in lines:
        if (found := _CIPHER.match(line)) is not None:
            cipher = found
        elif (found := _NAME.match(line)) is not None:
            name = found[1]
        elif (found := _CERTIFICATE.match(line)) is not None:
            subjects[int(found[1])] = sanitise(found[2])
    verified = policy.verify is TLSVerify.NONE or 0 in subjects
    matched = policy.verify is not TLSVerify.FULL or name == server_name(endpoint)
    if cipher is None or not verified or not matched or account.tunnel is None:
        return None
    return TLSFacts(
        mode=policy.mode,
        secured=True,
        verified=policy.verify,
        protocol=cipher[1],
        cipher=cipher[2],
        server_name=server_name(endpoint)[:1024],
        subject=subjects.get(0),
        issuer=subjects.get(1),
        tunnel=account.tunnel.type,
    )


def failure_in(lines: Sequence[str], *, endpoint: Target) -> EngineError | None:
    """Return what one connection's lines mean; None if nothing in them is a failure."""
    meanings = (_meaning(line, endpoint=endpoint) for line in lines)
    return next((error for error in meanings if error is not None), None) or _left_at_once(
        lines, endpoint=endpoint
    )


def _left_at_once(lines: Iterable[str], *, endpoint: Target) -> EngineError | None:
    """Return what it means that a server said nothing after asking for a client certificate.

    In TLS 1.3 it judges the certificate after the handshake, and its alert is lost where the
    connection is reset because something was sent in the meantime.
    """
    asked = any(line.startswith("Received trusted client CA list") for line in lines)
    silent = any(_OVER.match(line) and line.endswith(" 0 byte(s) sent to socket") for line in lines)
    connected = any(_CIPHER.match(line) for line in lines)
    if not (asked and silent and connected):
        return None
    said = "it ended the connection after the handshake"
    return handshake_error("TLSV13_ALERT_CERTIFICATE_REQUIRED", said, endpoint=endpoint)


def _meaning(  # noqa: PLR0911  one for each thing that a line may say
    line: str, *, endpoint: Target
) -> EngineError | None:
    side, where = endpoint.side, f"{endpoint.side} {endpoint.address}"
    if (found := _PREVERIFY.match(line)) is not None:
        said = sanitise(found[1])
        hits = (reason for words, reason in _VERIFY_REASONS if words in said)
        reason = next(hits, Reason.CERTIFICATE_NOT_TRUSTED)
        return certificate_error(reason, said, endpoint=endpoint)
    if _MISMATCH.match(line):
        return certificate_error(Reason.CERTIFICATE_NAME_MISMATCH, "", endpoint=endpoint)
    if (found := _OPENSSL.match(line)) is not None:
        return _openssl(sanitise(found[1]), endpoint=endpoint)
    if line == "Server does not support TLS":
        return TLSPolicyError(
            f"{where} does not offer STARTTLS or refused it, and tls.mode StartTLS demands it: "
            "choose tls.mode Implicit (usually port 993), or have STARTTLS enabled. "
            "No credentials were sent",
            side=side,
            reason=Reason.STARTTLS_NOT_OFFERED,
        )
    if line == "Unknown server welcome":
        return ProtocolError(
            f"{where} does not greet as an IMAP server that waits for STARTTLS: is it the right "
            "port?",
            side=side,
        )
    if (found := _NETWORK.match(line)) is not None:
        why = sanitise(found[1] or found[2] or found[3])
        return UnreachableError(f"{where} could not be reached by the tunnel: {why}", side=side)
    return None


def _openssl(said: str, *, endpoint: Target) -> EngineError:
    word = said.upper().replace(" ", "_")
    if word == "CERTIFICATE_VERIFY_FAILED":
        return certificate_error(Reason.CERTIFICATE_NOT_TRUSTED, said, endpoint=endpoint)
    if word == "UNEXPECTED_EOF_WHILE_READING":
        return UnreachableError(
            f"{endpoint.side} {endpoint.address}: the TLS handshake did not come to an end: "
            f"{said}. No credentials were sent",
            side=endpoint.side,
        )
    return handshake_error(word, said, endpoint=endpoint)

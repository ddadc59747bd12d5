"""From a name and a policy to a connection that meets it: TCP, greeting, STARTTLS, handshake.

Nothing learned in clear text survives the handshake: the channel and its buffer are made anew
(RFC 9051 section 11.1, and the attacks of "Why TLS is better without STARTTLS", USENIX 2021).
"""

from __future__ import annotations

import select
import ssl
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mailsync_api.conditions import Reason
from mailsync_api.endpoint import TLSMode
from mailsync_syncjob.deadline import Deadline
from mailsync_syncjob.errors import (
    CommandRefusedError,
    ConnectionLostError,
    EngineError,
    ProtocolError,
    TLSPolicyError,
    UnreachableError,
)
from mailsync_syncjob.imap.channel import Channel
from mailsync_syncjob.imap.tcp import open_tcp
from mailsync_syncjob.imap.ways import all_failed, along, leads_on, ways
from mailsync_syncjob.imap.wire import Wire
from mailsync_syncjob.tls import (
    check_pin,
    clear_text_facts,
    client_certificate_error,
    make_context,
    policy_error,
    server_name,
    tls_facts,
)

if TYPE_CHECKING:
    import socket

    from mailsync_api.endpoint import Side
    from mailsync_api.status import TLSFacts
    from mailsync_syncjob.credentials import Endpoint
    from mailsync_syncjob.deadline import Clock, Patience, Stop
    from mailsync_syncjob.imap.ways import Way

__all__ = ["Connected", "Connector", "capabilities"]


@dataclass(frozen=True, slots=True)
class Connected:
    """A connection that meets the policy, not yet logged in."""

    channel: Channel
    facts: TLSFacts
    capabilities: frozenset[str]
    """As announced under the final protection, in upper case."""
    endpoint: Endpoint
    """The endpoint with the port and the TLS mode that were used."""


@dataclass(frozen=True, slots=True)
class Connector:
    """Makes connections of one run."""

    patience: Patience
    clock: Clock
    stop: Stop

    _found: dict[tuple[Side, str], Way] = field(default_factory=dict)
    """The way that led to each side. A run keeps to it: no later connection is less protected."""

    def connect(self, endpoint: Endpoint) -> Connected:
        """Return a connection that meets the endpoint's policy.

        Each way that the TLS mode allows has its own deadlines (``Patience``), and nothing but
        CAPABILITY and STARTTLS is said on one that fails.

        Raises
        ------
        UnreachableError
            No address answered in time, or the connection ended before it was secured.
        TLSPolicyError
            The server does not offer what the policy demands.
        ProtocolError
            The server does not speak IMAP, or somebody interferes.
        """
        key = (endpoint.side, endpoint.address)
        known = self._found.get(key)
        wanted = (known,) if known is not None else ways(endpoint.account)
        tried: list[tuple[Way, EngineError]] = []
        for way in wanted:
            if tried and not leads_on(tried[-1][1], to=way):
                break
            try:
                connected = self._connect(
                    along(endpoint, way), policy_mode=endpoint.account.tls.mode
                )
            except EngineError as error:
                tried.append((way, error))
            else:
                self._found[key] = way
                return connected
        raise all_failed(endpoint, tried)

    def _connect(self, endpoint: Endpoint, *, policy_mode: TLSMode) -> Connected:
        with ExitStack() as opened:
            sock = open_tcp(endpoint, seconds=self.patience.connect, stop=self.stop)
            opened.callback(sock.close)
            try:
                connected = self._secure(sock, endpoint, opened, policy_mode=policy_mode)
            except ConnectionLostError as error:
                cause = error.__cause__
                if isinstance(cause, ssl.SSLError):
                    # In TLS 1.3 a server judges our certificate after the handshake.
                    refused = client_certificate_error(cause, endpoint=endpoint)
                    if refused is not None:
                        raise refused from None
                raise UnreachableError(
                    f"{endpoint.side} {endpoint.address}: no session came about: {error.message}",
                    side=endpoint.side,
                ) from None
            opened.pop_all()
            return connected

    def _secure(
        self,
        sock: socket.socket,
        endpoint: Endpoint,
        opened: ExitStack,
        *,
        policy_mode: TLSMode,
    ) -> Connected:
        mode = endpoint.account.tls.mode
        if mode is TLSMode.NONE:
            channel = self._greeted(sock, endpoint, trusted=True)
            facts = clear_text_facts(policy_mode)
        else:
            if mode is TLSMode.START_TLS:
                self._start_tls(self._greeted(sock, endpoint, trusted=False), endpoint)
            tls_socket = self._handshake(sock, endpoint)
            # The TLS socket has taken the descriptor over; the plain one no longer closes it.
            opened.callback(tls_socket.close)
            check_pin(tls_socket, endpoint=endpoint)
            facts = tls_facts(tls_socket, endpoint=endpoint)
            channel = (
                self._greeted(tls_socket, endpoint, trusted=True)
                if mode is TLSMode.IMPLICIT
                else self._channel(tls_socket, endpoint, trusted=True)
            )
        with channel.wire.within(self.patience.greeting):
            return Connected(channel, facts, capabilities(channel), endpoint)

    def _channel(self, sock: socket.socket, endpoint: Endpoint, *, trusted: bool) -> Channel:
        wire = Wire(sock, side=endpoint.side, clock=self.clock, stop=self.stop)
        return Channel(
            wire, side=endpoint.side, trusted=trusted, masked_words=endpoint.masked_words
        )

    def _greeted(self, sock: socket.socket, endpoint: Endpoint, *, trusted: bool) -> Channel:
        channel = self._channel(sock, endpoint, trusted=trusted)
        where = f"{endpoint.side} {endpoint.address}"
        with channel.wire.within(self.patience.greeting):
            greeting = channel.read_response()
        word, _ = channel.status(greeting.text)
        if greeting.kind != "untagged" or word not in {"OK", "PREAUTH"}:
            raise ProtocolError(
                f"{where} does not greet as an IMAP server: is it the right port?",
                side=endpoint.side,
            )
        if word == "OK":
            return channel
        if trusted:
            raise ProtocolError(
                f"{where} says that the session is already logged in (PREAUTH), as whom is unknown",
                side=endpoint.side,
            )
        # RFC 9051 section 6.2.1: STARTTLS is no longer allowed then, so TLS cannot come about.
        raise TLSPolicyError(
            f"{where} says that the session is already logged in (PREAUTH), which rules STARTTLS "
            "out; somebody may be interfering. No credentials were sent",
            side=endpoint.side,
            reason=Reason.ALREADY_AUTHENTICATED,
        )

    def _start_tls(self, channel: Channel, endpoint: Endpoint) -> None:
        where = f"{endpoint.side} {endpoint.address}"
        with channel.wire.within(self.patience.greeting):
            if "STARTTLS" not in capabilities(channel):
                raise TLSPolicyError(
                    f"{where} does not offer STARTTLS, which tls.mode StartTLS demands: choose "
                    "tls.mode Implicit (usually port 993), or have STARTTLS enabled. "
                    "No credentials were sent",
                    side=endpoint.side,
                    reason=Reason.STARTTLS_NOT_OFFERED,
                )
            if channel.wire.buffered:
                raise self._injection(endpoint)
            try:
                channel.run(b"STARTTLS", command="STARTTLS")
            except CommandRefusedError:
                raise TLSPolicyError(
                    f"{where} offers STARTTLS but refused it. No credentials were sent",
                    side=endpoint.side,
                    reason=Reason.STARTTLS_REFUSED,
                ) from None
        if channel.wire.buffered:
            raise self._injection(endpoint)

    def _injection(self, endpoint: Endpoint) -> ProtocolError:
        # CVE-2011-0411 turned round: bytes put between STARTTLS and the handshake would be taken
        # for words said under TLS.
        return ProtocolError(
            f"{endpoint.side} {endpoint.address}: bytes in clear text came where the TLS handshake "
            "was due: somebody is interfering. No credentials were sent",
            side=endpoint.side,
        )

    def _handshake(self, sock: socket.socket, endpoint: Endpoint) -> ssl.SSLSocket:
        context = make_context(
            endpoint.account.tls,
            ca_pem=endpoint.ca_pem,
            side=endpoint.side,
            client=endpoint.client_certificate,
        )
        sock.setblocking(False)
        tls_socket = context.wrap_socket(
            sock, server_hostname=server_name(endpoint), do_handshake_on_connect=False
        )
        deadline = Deadline(self.patience.connect, now=self.clock.monotonic)
        try:
            while not self._handshake_step(tls_socket, deadline):
                self.stop.check()
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError, TimeoutError) as error:
            raise self._broken_handshake(tls_socket, endpoint, error) from None
        except ssl.SSLError as error:
            tls_socket.close()
            raise policy_error(error, endpoint=endpoint) from None
        except OSError as error:
            raise self._broken_handshake(tls_socket, endpoint, error) from None
        except BaseException:
            tls_socket.close()
            raise
        return tls_socket

    def _handshake_step(self, tls_socket: ssl.SSLSocket, deadline: Deadline) -> bool:
        """Go on with the handshake; true when it is done."""
        left = deadline.left()
        if left <= 0:
            raise TimeoutError(f"not complete within {deadline.seconds:.0f} s")
        try:
            tls_socket.do_handshake()
        except ssl.SSLWantReadError:
            select.select([tls_socket], [], [], min(left, 0.5))
        except ssl.SSLWantWriteError:
            select.select([], [tls_socket], [], min(left, 0.5))
        else:
            return True
        return False

    def _broken_handshake(
        self, tls_socket: ssl.SSLSocket, endpoint: Endpoint, error: OSError
    ) -> UnreachableError:
        tls_socket.close()
        return UnreachableError(
            f"{endpoint.side} {endpoint.address}: the TLS handshake did not come to an end: "
            f"{error}. No credentials were sent",
            side=endpoint.side,
        )


def capabilities(channel: Channel) -> frozenset[str]:
    """Ask for the server's capabilities and return them in upper case."""
    try:
        answers = channel.run(b"CAPABILITY", command="CAPABILITY").untagged
    except CommandRefusedError as error:
        raise channel.violation(f"no capabilities ({error.text})") from None
    words: set[str] = set()
    for answer in answers:
        name, _, rest = answer.text.partition(b" ")
        if name.upper() == b"CAPABILITY":
            words.update(rest.decode("ascii", "replace").upper().split())
    return frozenset(words)

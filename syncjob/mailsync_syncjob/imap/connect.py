"""From a name and a policy to a connection that meets it: TCP, greeting, STARTTLS, handshake.

Nothing learned in clear text survives the handshake: the channel and its buffer are made anew
(RFC 9051 section 11.1, and the attacks of "Why TLS is better without STARTTLS", USENIX 2021).
"""

from __future__ import annotations

import select
import ssl
from contextlib import ExitStack, contextmanager
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
from mailsync_syncjob.imap.capabilities import announced_by, ask_capabilities
from mailsync_syncjob.imap.channel import MAX_SMALL_TALK, Channel
from mailsync_syncjob.imap.greeting import spoken
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
from mailsync_syncjob.tunnellog import TunnelLog

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from mailsync_api.status import TLSFacts
    from mailsync_syncjob.credentials import Target
    from mailsync_syncjob.deadline import Clock, Patience, Stop
    from mailsync_syncjob.imap.tap import Tap
    from mailsync_syncjob.imap.ways import Way
    from mailsync_syncjob.party import Party
    from mailsync_syncjob.texts import StatusText

__all__ = ["Connected", "Connector"]


@dataclass(frozen=True, slots=True)
class Connected:
    """A connection that meets the policy, not yet logged in."""

    channel: Channel
    facts: TLSFacts
    capabilities: frozenset[str]
    """As announced under the final protection, in upper case."""
    way: Way
    """The port and the TLS mode that were used."""
    greeting: str = ""
    """The server's greeting, safe to show; none where it came before TLS."""
    capabilities_before: frozenset[str] = frozenset()
    """As announced before STARTTLS; anybody on the way may have written them."""


@dataclass(frozen=True, slots=True)
class Connector:
    """Makes connections of one run."""

    patience: Patience
    clock: Clock
    stop: Stop
    tap: Tap | None = None
    """Hears everything that is said."""

    _found: dict[tuple[Party, str], Way] = field(default_factory=dict)
    """The way that led to each side. A run keeps to it: no later connection is less protected."""

    def connect(self, endpoint: Target) -> Connected:
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
                    along(endpoint, way), way, policy_mode=endpoint.account.tls.mode
                )
            except EngineError as error:
                tried.append((way, error))
            else:
                self._found[key] = way
                return connected
        raise all_failed(endpoint, tried)

    def shake_hands(self, endpoint: Target) -> ssl.SSLSocket:
        """Return a connection after the handshake of the endpoint's mode, and say nothing on it.

        Its mode is one that begins with TLS or STARTTLS; its pins are not looked at.

        Raises
        ------
        UnreachableError, TLSPolicyError, ProtocolError
            As ``connect``.
        """
        with self._opened(endpoint) as (sock, opened):
            if endpoint.account.tls.mode is TLSMode.START_TLS:
                channel, _ = self._greeted(sock, endpoint, trusted=False)
                self._start_tls(channel, endpoint)
            tls_socket = self._handshake(sock, endpoint)
            opened.pop_all()
            return tls_socket

    def _connect(self, endpoint: Target, way: Way, *, policy_mode: TLSMode) -> Connected:
        with self._opened(endpoint) as (sock, opened):
            connected = self._secure(sock, endpoint, way, opened, policy_mode=policy_mode)
            opened.pop_all()
            return connected

    @contextmanager
    def _opened(self, endpoint: Target) -> Iterator[tuple[socket.socket, ExitStack]]:
        """Connect, and say of a connection that ends within the block what that means.

        What is in the stack at the end of the block is closed.
        """
        with ExitStack() as opened:
            if self.tap is not None:
                self.tap.trying(endpoint)
            sock = open_tcp(endpoint, seconds=self.patience.connect, stop=self.stop)
            opened.callback(sock.close)
            if self.tap is not None:
                self.tap.connected()
            try:
                yield sock, opened
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

    def _secure(
        self,
        sock: socket.socket,
        endpoint: Target,
        way: Way,
        opened: ExitStack,
        *,
        policy_mode: TLSMode,
    ) -> Connected:
        if endpoint.tunnel is not None:
            return self._tunnelled(sock, endpoint, way)
        mode = endpoint.account.tls.mode
        greeting: StatusText | None = None
        before = frozenset[str]()
        if mode is TLSMode.NONE:
            channel, greeting = self._greeted(sock, endpoint, trusted=True)
            facts = clear_text_facts(policy_mode)
        else:
            if mode is TLSMode.START_TLS:
                clear, _ = self._greeted(sock, endpoint, trusted=False)
                before = self._start_tls(clear, endpoint)
            tls_socket = self._handshake(sock, endpoint)
            # The TLS socket has taken the descriptor over; the plain one no longer closes it.
            opened.callback(tls_socket.close)
            check_pin(tls_socket, endpoint=endpoint)
            facts = tls_facts(tls_socket, endpoint=endpoint)
            if mode is TLSMode.IMPLICIT:
                channel, greeting = self._greeted(tls_socket, endpoint, trusted=True)
            else:
                channel = self._channel(tls_socket, endpoint, trusted=True)
        found = self._capabilities(channel, greeting)
        words = greeting.text if greeting is not None else ""
        return Connected(channel, facts, found, way, words, before)

    def _tunnelled(self, sock: socket.socket, endpoint: Target, way: Way) -> Connected:
        """Greet through a tunnel; not a word is said before its log shows that TLS came about."""
        log = TunnelLog.of(sock, endpoint, clock=self.clock, stop=self.stop)
        try:
            channel, greeting = self._greeted(sock, endpoint, trusted=True)
            facts = log.facts(seconds=self.patience.greeting)
            found = self._capabilities(channel, greeting)
        except ConnectionLostError as error:
            raise log.failure() or error from None
        return Connected(channel, facts, found, way, greeting.text)

    def _capabilities(self, channel: Channel, greeting: StatusText | None) -> frozenset[str]:
        """Return what is announced under the final protection; asked for if nothing was yet.

        Parameters
        ----------
        greeting
            None where it came before TLS.
        """
        announced = announced_by(greeting) if greeting is not None else None
        if announced:
            return announced
        with channel.wire.within(self.patience.greeting, at_most=MAX_SMALL_TALK):
            return ask_capabilities(channel)

    def _channel(self, sock: socket.socket, endpoint: Target, *, trusted: bool) -> Channel:
        wire = Wire(
            sock,
            side=endpoint.side,
            clock=self.clock,
            stop=self.stop,
            tap=self.tap,
            silence=self.patience.silence,
        )
        return Channel(
            wire, side=endpoint.side, trusted=trusted, masked_words=endpoint.masked_words
        )

    def _greeted(
        self, sock: socket.socket, endpoint: Target, *, trusted: bool
    ) -> tuple[Channel, StatusText]:
        """Return a channel after the server's greeting, and the greeting."""
        channel = self._channel(sock, endpoint, trusted=trusted)
        where = f"{endpoint.side} {endpoint.address}"
        with channel.wire.within(self.patience.greeting, at_most=MAX_SMALL_TALK):
            first = channel.read_text()
            if (found := spoken(first[0])) is not None:
                raise ProtocolError(
                    f"{where} speaks {found}, not IMAP: correct the port, or the host",
                    side=endpoint.side,
                )
            greeting = channel.read_response(first=first)
        word, status = channel.status(greeting.text)
        if greeting.kind != "untagged" or word not in {"OK", "PREAUTH"}:
            raise ProtocolError(
                f"{where} does not greet as an IMAP server: is it the right port?",
                side=endpoint.side,
            )
        if word == "OK":
            return channel, status
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

    def _start_tls(self, channel: Channel, endpoint: Target) -> frozenset[str]:
        """Bring the server to where the handshake is due; return what it announced before."""
        where = f"{endpoint.side} {endpoint.address}"
        with channel.wire.within(self.patience.greeting, at_most=MAX_SMALL_TALK):
            announced = ask_capabilities(channel)
            if "STARTTLS" not in announced:
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
        return announced

    def _injection(self, endpoint: Target) -> ProtocolError:
        # CVE-2011-0411 turned round: bytes put between STARTTLS and the handshake would be taken
        # for words said under TLS.
        return ProtocolError(
            f"{endpoint.side} {endpoint.address}: bytes in clear text came where the TLS handshake "
            "was due: somebody is interfering. No credentials were sent",
            side=endpoint.side,
        )

    def _handshake(self, sock: socket.socket, endpoint: Target) -> ssl.SSLSocket:
        context = make_context(
            endpoint.account.tls,
            ca_pem=endpoint.ca_pem,
            side=endpoint.side,
            client=endpoint.client_certificate,
        )
        sock.setblocking(False)
        if self.tap is not None:
            self.tap.shaking_hands()
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
        if self.tap is not None:
            self.tap.secured()
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
        self, tls_socket: ssl.SSLSocket, endpoint: Target, error: OSError
    ) -> UnreachableError:
        tls_socket.close()
        return UnreachableError(
            f"{endpoint.side} {endpoint.address}: the TLS handshake did not come to an end: "
            f"{error}. No credentials were sent",
            side=endpoint.side,
        )

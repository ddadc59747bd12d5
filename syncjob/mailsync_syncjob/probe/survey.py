"""Asking a server: by the policy first, as a run does, and then in every other way.

The other ways refuse nothing, so that people see the certificate that was refused, and for that
reason nothing is said in them: the connection ends with the handshake.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from statistics import median
from typing import TYPE_CHECKING, Final

from mailsync_api.conditions import Reason
from mailsync_api.endpoint import IMAP_PORT, IMAPS_PORT, TLSMode, TLSVerify, TLSVersion
from mailsync_syncjob.credentials import Endpoint
from mailsync_syncjob.deadline import Deadline, Patience
from mailsync_syncjob.errors import (
    CommandRefusedError,
    EngineError,
    InterruptedRunError,
    ProtocolError,
    TLSPolicyError,
    UnreachableError,
)
from mailsync_syncjob.imap.auth import log_in
from mailsync_syncjob.imap.capabilities import ask_capabilities
from mailsync_syncjob.imap.channel import MAX_SHORT_ANSWER
from mailsync_syncjob.imap.connect import Connector
from mailsync_syncjob.imap.greeting import spoken
from mailsync_syncjob.imap.parse import parse_values
from mailsync_syncjob.imap.tcp import open_tcp
from mailsync_syncjob.imap.ways import Way, along
from mailsync_syncjob.probe.certificates import peer_chain, read_chain
from mailsync_syncjob.probe.findings import Findings, LoginFindings, SessionFindings, Tried, verdict
from mailsync_syncjob.probe.taps import Chorus, Observer
from mailsync_syncjob.texts import sanitise

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mailsync_api.probe import ProbeVerdict
    from mailsync_syncjob.credentials import Target
    from mailsync_syncjob.deadline import Clock, Stop
    from mailsync_syncjob.imap.channel import Channel
    from mailsync_syncjob.imap.connect import Connected
    from mailsync_syncjob.imap.greeting import Spoken
    from mailsync_syncjob.imap.tap import Tap

__all__ = ["Survey", "survey", "unrefusing"]

_SECONDS: Final = 60.0
_PATIENCE: Final = Patience(connect=10.0, greeting=10.0, command=10.0)
_ROUNDS: Final = 5
"""How often the time of a command is taken."""
_SHORTEST: Final = 0.5
"""With less time left than this, in seconds, nothing new is begun."""
_FIRST_BYTES: Final = 512
_LISTENING: Final = 2.0
"""How long a server may keep silent until it is asked what it speaks, in seconds."""


def unrefusing(target: Target) -> Target:
    """Return the target by a policy that refuses nothing; for connections on which nothing is said.

    The client certificate stays: without it some servers end the handshake. A tunnel has one policy
    only, so it is left aside.
    """
    tls = target.account.tls.model_copy(
        update={
            "verify": TLSVerify.NONE,
            "ca_ref": None,
            "min_version": TLSVersion.TLS_1_0,
            "max_version": None,
            "ciphers": None,
            "security_level": 0,
            "pinned_spki_sha256": [],
        }
    )
    account = target.account.model_copy(update={"tls": tls, "tunnel": None})
    return replace(target, account=account, ca_pem=None, tunnel=None)


def survey(target: Target, *, clock: Clock, stop: Stop) -> ProbeVerdict:
    """Probe a server within a minute, and return what is told of it.

    Raises
    ------
    InterruptedRunError
        The probe was told to stop.
    """
    found = Survey(target, clock=clock, stop=stop).run()
    return verdict(found, now=datetime.fromtimestamp(clock.time(), tz=UTC))


class Survey:
    """One probe of one server.

    Parameters
    ----------
    patience
        For one connection; no part of a probe outlasts the deadline.
    seconds
        The overall deadline.
    """

    def __init__(  # noqa: PLR0913  a connector's parts, and a deadline
        self,
        target: Target,
        *,
        clock: Clock,
        stop: Stop,
        patience: Patience = _PATIENCE,
        seconds: float = _SECONDS,
        tap: Tap | None = None,
    ) -> None:
        self.target = target
        self.clock = clock
        self.stop = stop
        self.patience = patience
        self.seconds = seconds
        self._deadline = Deadline(seconds, now=clock.monotonic)
        self._watch = Observer(clock)
        self._tap: Tap = Chorus(self._watch, tap) if tap is not None else self._watch

    def run(self) -> Findings:
        """Ask what the policy and every other way show; log in where the target has an account."""
        session, error = self._by_policy()
        tried = tuple(self._other_ways(met=session is not None))
        imap = session is not None or any(each.offered for each in tried)
        others = [each.spoken for each in tried if each.spoken is not None]
        spoken = others[0] if others and not imap else None
        return Findings(self.target, session, error, tried, spoken)

    # --- by the policy

    def _by_policy(self) -> tuple[SessionFindings | None, EngineError | None]:
        try:
            connected = self.connector().connect(self.target)
        except InterruptedRunError:
            raise
        except EngineError as error:
            return None, error
        try:
            session = self._ask(connected)
            if not isinstance(self.target, Endpoint):
                return session, None
            login, refusal = self._log_in(connected, self.target)
            return replace(session, login=login), refusal
        finally:
            self._take_leave(connected.channel)

    def _ask(self, connected: Connected) -> SessionFindings:
        found = SessionFindings(
            way=connected.way,
            facts=connected.facts,
            capabilities=connected.capabilities,
            server_id=connected.greeting[:256],
            capabilities_before=connected.capabilities_before,
            tcp_milliseconds=self._watch.tcp,
            handshake_milliseconds=self._watch.handshake,
        )
        channel = connected.channel
        try:
            with channel.wire.within(self._left(self.patience.command), at_most=MAX_SHORT_ANSWER):
                if "ID" in connected.capabilities:
                    found = replace(found, server_id=server_id(channel) or found.server_id)
                times = [self._time_of_noop(channel) for _ in range(_ROUNDS)]
                found = replace(found, latency_milliseconds=round(median(times) * 1000))
        except InterruptedRunError:
            raise
        except EngineError:
            pass  # the policy is met whatever follows
        return found

    def _log_in(
        self, connected: Connected, endpoint: Endpoint
    ) -> tuple[LoginFindings, EngineError | None]:
        login = LoginFindings(user=endpoint.account.username)
        found = along(endpoint, connected.way)
        try:
            seconds = self._left(self.patience.greeting)
            log_in(connected, endpoint=found, seconds=seconds)
            with connected.channel.wire.within(
                self._left(self.patience.command), at_most=MAX_SHORT_ANSWER
            ):
                after = ask_capabilities(connected.channel)
        except InterruptedRunError:
            raise
        except EngineError as error:
            return replace(login, mechanism=self._watch.mechanism), error
        done = replace(login, succeeded=True, mechanism=self._watch.mechanism, capabilities=after)
        return done, None

    def _take_leave(self, channel: Channel) -> None:
        try:
            with channel.wire.within(_SHORTEST, at_most=MAX_SHORT_ANSWER):
                channel.run(b"LOGOUT", command="LOGOUT")
        except EngineError:
            pass  # the BYE that it is answered with, or whatever else
        finally:
            channel.wire.close()

    def _time_of_noop(self, channel: Channel) -> float:
        began = self.clock.monotonic()
        channel.run(b"NOOP", command="NOOP")
        return self.clock.monotonic() - began

    # --- in other ways

    def _other_ways(self, *, met: bool) -> Iterator[Tried]:
        port = self.target.account.port
        for each in (port,) if port is not None else (IMAPS_PORT, IMAP_PORT):
            yield from self._ways_of(each, met=met)

    def _ways_of(self, port: int, *, met: bool) -> Iterator[Tried]:
        """Try the ways of one port; which of both ends speaks first leaves few of them."""
        if port in self._watch.unreached:
            # A firewall that drops connections costs as long as the patience lasts, each time.
            mode = TLSMode.NONE if port == IMAP_PORT else TLSMode.IMPLICIT
            where = f"{self.target.side} {along(self.target, Way(port, mode)).address}"
            error = UnreachableError(f"{where} could not be reached", side=self.target.side)
            yield Tried(Way(port, mode), error, reached=False)
            return
        if port == IMAP_PORT:
            clear = self._clear(port, met=met)
            yield clear
            if clear.offered:
                yield self._starttls(clear)
            elif clear.reached and clear.spoken is None:
                yield self._handshake(Way(port, TLSMode.IMPLICIT))
            return
        implicit = self._handshake(Way(port, TLSMode.IMPLICIT))
        yield implicit
        if implicit.error is not None and implicit.error.reason == Reason.TLS_NOT_SPOKEN:
            clear = self._clear(port, met=met)
            yield clear
            if clear.offered:
                yield self._starttls(clear)

    def _handshake(self, way: Way) -> Tried:
        try:
            tls_socket = self.connector().shake_hands(along(unrefusing(self.target), way))
        except InterruptedRunError:
            raise
        except EngineError as error:
            return Tried(way, error, reached=self.reached)
        with tls_socket:
            cipher = tls_socket.cipher()
            return Tried(
                way,
                protocol=tls_socket.version(),
                cipher=cipher[0] if cipher else None,
                shown=read_chain(peer_chain(tls_socket)),
            )

    def _starttls(self, clear: Tried) -> Tried:
        way = Way(clear.way.port, TLSMode.START_TLS)
        if "STARTTLS" in clear.capabilities:
            return self._handshake(way)
        where = f"{self.target.side} {along(self.target, way).address}"
        error = TLSPolicyError(
            f"{where} does not offer STARTTLS",
            side=self.target.side,
            reason=Reason.STARTTLS_NOT_OFFERED,
        )
        return Tried(way, error)

    def _clear(self, port: int, *, met: bool) -> Tried:
        """Look at a server in clear text; only its capabilities are asked for.

        Where the policy was not met, it is first looked at whether it is another protocol: some
        wait to be spoken to, and IMAP's greeting would be waited for in vain.
        """
        way = Way(port, TLSMode.NONE)
        target = along(unrefusing(self.target), way)
        found = None if met else self._listen(target)
        if found is not None:
            error: EngineError = ProtocolError(
                f"{target.side} {target.address} speaks {found}, not IMAP", side=target.side
            )
            return Tried(way, error, spoken=found)
        try:
            connected = self.connector().connect(target)
        except InterruptedRunError:
            raise
        except EngineError as error:
            return Tried(way, error, reached=self.reached)
        connected.channel.wire.close()
        return Tried(way, capabilities=connected.capabilities)

    def _listen(self, target: Target) -> Spoken | None:
        """Read a server's first words; one that waits to be spoken to is asked as IMAP asks."""
        try:
            sock = open_tcp(target, seconds=self._left(self.patience.connect), stop=self.stop)
        except InterruptedRunError:
            raise
        except EngineError:
            return None
        with sock:
            sock.settimeout(min(_LISTENING, self._left(self.patience.greeting)))
            for said in (b"", b"a CAPABILITY\r\n\r\n"):
                try:
                    sock.sendall(said)
                    found = spoken(sock.recv(_FIRST_BYTES))
                except OSError:
                    continue
                return found
        return None

    # --- time

    @property
    def reached(self) -> bool:
        """Whether TCP was connected the last time."""
        return self._watch.tcp is not None

    def connector(self) -> Connector:
        """Return a connector for one more connection.

        Raises
        ------
        UnreachableError
            There is no time left.
        """
        self._watch.reset()
        left = self._deadline.left()
        if left < _SHORTEST:
            raise UnreachableError(
                f"{self.target.side} {self.target.address}: not tried, because the "
                f"{self.seconds:.0f} s for all of it were over",
                side=self.target.side,
            )
        patience = replace(
            self.patience,
            connect=min(self.patience.connect, left),
            greeting=min(self.patience.greeting, left),
        )
        return Connector(patience, self.clock, self.stop, self._tap)

    def _left(self, seconds: float) -> float:
        return max(min(seconds, self._deadline.left()), _SHORTEST)


def server_id(channel: Channel) -> str:
    """Return name and version as the server gives them (RFC 2971); empty if it does not."""
    try:
        answers = channel.run(b"ID", b"NIL", command="ID").untagged
    except CommandRefusedError:
        return ""
    for answer in answers:
        if answer.text[:3].upper() != b"ID ":
            continue
        try:
            values = parse_values(answer.parts)
        except ValueError:
            return ""
        pairs = values[1] if len(values) > 1 and isinstance(values[1], list) else []
        given = {
            key.lower(): value
            for key, value in zip(pairs[::2], pairs[1::2], strict=False)
            if isinstance(key, bytes) and isinstance(value, bytes)
        }
        words = b" ".join(given[key] for key in (b"name", b"version") if given.get(key))
        return sanitise(words)[:256] if words else ""
    return ""

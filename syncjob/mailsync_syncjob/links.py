"""Pairs of sessions: one on each side, made at the same time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mailsync_api.status import TLSStatus
from mailsync_syncjob.errors import CredentialsError
from mailsync_syncjob.imap.session import Session, open_session
from mailsync_syncjob.party import side_of

if TYPE_CHECKING:
    from mailsync_syncjob.credentials import Endpoint
    from mailsync_syncjob.deadline import Stop
    from mailsync_syncjob.imap.connect import Connector
    from mailsync_syncjob.manner import Manner
    from mailsync_syncjob.output import Output
    from mailsync_syncjob.party import Party

__all__ = ["Endpoints", "Links", "Pair"]


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Both sides, with their secrets."""

    source: Endpoint
    destination: Endpoint

    @property
    def both(self) -> tuple[Endpoint, Endpoint]:
        """The source and the destination."""
        return self.source, self.destination


@dataclass(frozen=True, slots=True)
class Pair:
    """A session on each side; they belong to one worker."""

    source: Session
    destination: Session

    def close(self) -> None:
        """Log out of both."""
        with ThreadPoolExecutor(max_workers=2) as pool:
            pool.submit(self.source.close)
            pool.submit(self.destination.close)

    def abandon(self) -> None:
        """Close both without a word."""
        self.source.abandon()
        self.destination.abandon()


class Links:
    """Makes the pairs of one run; safe to use from several threads.

    Attributes
    ----------
    tls
        What was negotiated last.
    """

    def __init__(
        self, endpoints: Endpoints, connector: Connector, output: Output, manner: Manner
    ) -> None:
        self._endpoints = endpoints
        self._manner = manner
        self._connector = connector
        self._output = output
        self.tls = TLSStatus()

    def open(self, stop: Stop | None = None) -> Pair:
        """Connect to both sides at once and log in.

        Parameters
        ----------
        stop
            Ends the attempt, and later what is waited for on the pair; by default that of the run.

        Raises
        ------
        EngineError
            One of both failed; nothing is left open.
        """
        connector = self._connector if stop is None else replace(self._connector, stop=stop)
        ends = self._endpoints.both
        with ThreadPoolExecutor(max_workers=2) as pool:
            futures = [pool.submit(open_session, end, connector=connector) for end in ends]
        errors = [future.exception() for future in futures]
        for notice in (n for end in ends if end.tokens for n in end.tokens.notices()):
            self._output.log("info", notice)
        opened = [f.result() for f, error in zip(futures, errors, strict=True) if error is None]
        for session in opened:
            self._say(session)
        failed = [error for error in errors if error is not None]
        if failed:
            for session in opened:
                session.close()
            # A refused login must never hide behind a server that cannot be reached: the run would
            # be tried again within seconds, and the login with it.
            raise min(failed, key=lambda error: not isinstance(error, CredentialsError))
        return Pair(*opened)

    def token_is_over(self, side: Party | None) -> bool:
        """Whether the time of a side's access token is over, so that it may end sessions."""
        return any(
            end.side is side and end.tokens is not None and end.tokens.over
            for end in self._endpoints.both
        )

    def _say(self, session: Session) -> None:
        """Say how a server was logged in to, where it is news."""
        self._manner.connected(session)
        side, facts = side_of(session.side), session.facts
        # A probe's session has no side, and no run has one.
        if side is None or getattr(self.tls, side.value) == facts:
            return
        self.tls = self.tls.model_copy(update={str(side): facts})
        self._output.session(side, facts)

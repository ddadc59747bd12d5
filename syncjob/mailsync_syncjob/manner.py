"""How messages are stored: chosen from what the destination announces, adjusted by what it does.

One for a run: what one connection finds out, all others know.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from mailsync_api.endpoint import Compression
from mailsync_syncjob.batching import BatchSize, Window
from mailsync_syncjob.deadline import Clock
from mailsync_syncjob.errors import CommandRefusedError, ConnectionLostError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mailsync_api.report import Strategy
    from mailsync_syncjob.imap.append import Writer
    from mailsync_syncjob.imap.literals import Literals
    from mailsync_syncjob.imap.session import Session
    from mailsync_syncjob.imap.stream import Refusal
    from mailsync_syncjob.output import Level
    from mailsync_syncjob.party import Party

__all__ = ["Canary", "Manner", "Way"]

_PROVEN: Final = 2
"""So many messages stored with others under way show that a server can do that."""
_MOST_FAULTS: Final = 2
_TRIAL_SECONDS: Final = 30.0


class Canary(StrEnum):
    """What the canary found out about literals that come unasked."""

    NOT_NEEDED = "NotNeeded"
    KEPT = "Kept"
    LOST = "Lost"


class Way(StrEnum):
    """How messages are stored."""

    MULTIAPPEND = "MultiAppend"
    PIPELINED = "Pipelined"
    CHAINED = "Chained"
    SINGLE = "Single"


_WORDS: Final = {
    Way.MULTIAPPEND: "many messages in one command (MULTIAPPEND)",
    Way.PIPELINED: "a command for each message, several under way",
    Way.CHAINED: "a command for each message, sent with the end of the one before",
    Way.SINGLE: "one message at a time",
}


class Manner:
    """What is known of the destination, and what follows from it.

    Attributes
    ----------
    size
        How large a batch may be.
    window
        How many single messages may be under way.
    canary
        What it found out; None as long as no literal had to be trusted.
    """

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        log: Callable[[Level, str], None] | None = None,
        size: BatchSize | None = None,
    ) -> None:
        self.size = size or BatchSize()
        self.window = Window()
        self.canary: Canary | None = None
        self._clock = clock or Clock()
        self._log = log or _say_nothing
        self._lock = threading.Lock()
        self._compression: dict[Party, Compression] = {}
        self._batches = False
        self._literals: Literals | None = None
        self._streams = True
        self._stored = 0
        self._faults = 0
        self._hung_up = 0

    # --- literals

    def settle(self, writer: Writer, *, side: Party) -> None:
        """Let a connection send literals unasked where that is announced and safe.

        The first connection that comes tries it with the canary; the others wait for the result.

        Raises
        ------
        ConnectionLostError
            Framing is lost on this connection: make another one.
        """
        if writer.trusted.any:
            return
        with self._lock:
            first = self.canary is None
            if first:
                self._batches, self._literals = writer.batches, writer.announced
                self.canary = self._try(writer)
            if self.canary is Canary.KEPT:
                writer.trust()
        if first:
            self._say(side)
        if first and self.canary is Canary.LOST and self._hung_up < _MOST_FAULTS:
            raise ConnectionLostError(
                f"{side}: the server announces {self._announced} and took the bytes of a harmless "
                "test message for commands; this connection is given up",
                side=side,
            )

    def _try(self, writer: Writer) -> Canary:
        if not writer.announced.any:
            return Canary.NOT_NEEDED
        if self._hung_up >= _MOST_FAULTS:
            return Canary.LOST
        try:
            return Canary.KEPT if writer.keeps_framing() else Canary.LOST
        except ConnectionLostError:
            # Once it is the network; a server that always hangs up on it is not tried for ever.
            self._hung_up += 1
            raise

    # --- several APPENDs under way

    @property
    def streams(self) -> bool:
        """Whether a command may be sent before the one before it is answered."""
        return self._streams and self.canary is not Canary.LOST

    @property
    def trial_seconds(self) -> float | None:
        """How long an answer may take as long as it is not known whether the server can do that."""
        return None if self._stored >= _PROVEN else _TRIAL_SECONDS

    @contextmanager
    def streaming(self, side: Party) -> Iterator[None]:
        """Watch connections that break while several APPENDs are under way."""
        try:
            yield
        except ConnectionLostError as error:
            if self._stored < _PROVEN:
                self._faults += 1
                if self._faults >= _MOST_FAULTS:
                    self._stop_streaming(side, error.message)
            raise

    def answered(self, messages: int, *, since: float | None) -> float | None:
        """Take note of so many answers; return when they came.

        Parameters
        ----------
        since
            When the last ones came; None where there were none on the way yet.
        """
        if not messages:
            return since
        now = self.now()
        if since is not None:
            self.window.answered(messages, now - since)
        return now

    def stored(self) -> None:
        """Take note of a message that was stored with others under way."""
        self._stored += 1
        if self.size.messages == 1:
            self.size.taken()  # so that batches are tried again, some time

    def refused(self, refusal: Refusal, side: Party) -> None:
        """Take note of a message that was refused with others under way."""
        if isinstance(refusal, CommandRefusedError) and refusal.bad and self._stored < _PROVEN:
            self._stop_streaming(side, refusal.text)

    def _stop_streaming(self, side: Party, why: str) -> None:
        self._streams = False
        self._log("warning", f"{side}: storing {_WORDS[self.way]} from now on: {why}")

    def now(self) -> float:
        """Return the time by which batches and answers are measured."""
        return self._clock.monotonic()

    # --- telling

    def connected(self, session: Session) -> None:
        """Take note of a new session, and say what came about of the compression asked for."""
        if session.compression is None or session.side in self._compression:
            return
        self._compression[session.side] = session.compression
        if session.compression is Compression.NONE:
            text = "going on without compression: the server does not offer COMPRESS=DEFLATE"
        else:
            text = "what is said is compressed (COMPRESS=DEFLATE)"
        self._log("info", f"{session.side}: {text}")

    def into(self, strategy: Strategy) -> Strategy:
        """Return a run's strategy with what is known of how messages are stored."""
        compression = {f"{side}_compression": found for side, found in self._compression.items()}
        if self.canary is None:
            return strategy.model_copy(update=compression)
        batches = self._batches and self.way is Way.MULTIAPPEND
        return strategy.model_copy(
            update={
                "storing": self.way.value,
                "batch_messages": self.size.messages if batches else 1,
                "batch_bytes": self.size.bytes if batches else 0,
                "literals": self._announced if self.canary is Canary.KEPT else "AskedFor",
                "canary": "" if self.canary is Canary.NOT_NEEDED else self.canary.value,
                **compression,
            }
        )

    @property
    def way(self) -> Way:
        """How messages are stored that nothing speaks against."""
        if self._batches and self.size.messages > 1:
            return Way.MULTIAPPEND
        if not self.streams:
            return Way.SINGLE
        return Way.PIPELINED if self.canary is Canary.KEPT else Way.CHAINED

    @property
    def _announced(self) -> str:
        return "LITERAL+" if self._literals and self._literals.plus else "LITERAL-"

    def _say(self, side: Party) -> None:
        words = _WORDS[self.way]
        match self.canary:
            case Canary.KEPT:
                self._log("info", f"{side}: storing {words}; {self._announced} was tried and holds")
            case Canary.LOST:
                self._log(
                    "warning",
                    f"{side}: the server announces {self._announced} and takes what is sent that "
                    f"way for commands, or hangs up on it: storing {words}, and each literal is "
                    "asked for",
                )
            case _:
                self._log("info", f"{side}: storing {words}; each literal is asked for")


def _say_nothing(_: Level, __: str) -> None:
    """Nobody listens."""

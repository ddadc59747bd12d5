"""The workers of a run: each has a pair of connections and a thread of its own.

The first pair does the plan and begins. Further ones are made in the background when there is
enough to copy to pay for them. A server that does not want them is not asked again.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from mailsync_api.report import Strategy
from mailsync_syncjob.conveyor import BUFFER_BYTES
from mailsync_syncjob.errors import (
    ConnectionLostError,
    EngineError,
    InterruptedRunError,
    ThrottledError,
)
from mailsync_syncjob.foldersteps import Means
from mailsync_syncjob.losses import Losses, is_about_their_number, may_pass

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mailsync_syncjob.board import Board, Call, FolderWork
    from mailsync_syncjob.deadline import Stop
    from mailsync_syncjob.foldersteps import FolderSteps
    from mailsync_syncjob.links import Links, Pair
    from mailsync_syncjob.output import Output
    from mailsync_syncjob.sharing import Shares
    from mailsync_syncjob.throttle import BackOff

__all__ = ["Crew"]

_NAP_SECONDS: Final = 0.2


@dataclass(slots=True, eq=False)
class _Worker:
    """One of the crew.

    Attributes
    ----------
    at
        The folder that is open on its connections.
    fresh
        Whether it never had connections.
    """

    pair: Pair | None = None
    at: FolderWork | None = None
    fresh: bool = True
    losses: Losses = field(default_factory=Losses)


class Crew:
    """Does what is on the board with up to so many pairs of connections.

    Parameters
    ----------
    most
        Pairs of connections at the same time.
    """

    def __init__(  # noqa: PLR0913  all that workers need
        self,
        board: Board,
        steps: FolderSteps,
        *,
        links: Links,
        shares: Shares,
        back_off: BackOff,
        most: int,
        output: Output,
        stop: Stop,
    ) -> None:
        self._board = board
        self._steps = steps
        self._links = links
        self._shares = shares
        self._back_off = back_off
        self._most = most
        self._output = output
        self._stop = stop
        self._lock = threading.RLock()
        self._threads: list[threading.Thread] = []
        self._attempts: list[Stop] = []
        self._errors: list[Exception] = []
        self._connected = 0
        self._peak = 0
        self._refusal = ""

    def run(self, first: Pair) -> None:
        """Do all of it; the first pair's work is done in this thread.

        Raises
        ------
        EngineError
            The first cause that it was ended for.
        """
        worker = _Worker(first, fresh=False)
        self._count(1)
        self._grow()
        self._work(worker)
        for thread in self._threads:  # no more are added: all is done, or shall stop
            thread.join()
        if self._errors:
            raise self._errors[0]
        if not self._board.done:
            raise RuntimeError("the workers have left before all was done")

    def strategy(self) -> Strategy:
        """Return what connections there were."""
        return Strategy(
            source_connections=self._peak,
            destination_connections=self._peak,
            fewer_connections_reason=self._refusal[:512],
        )

    def _grow(self) -> None:
        """Let further workers begin if there is enough to do for them."""
        with self._lock:
            messages, size = self._board.to_copy()
            wanted = self._shares.pairs(messages, size, most=self._most)
            while len(self._threads) + 1 < wanted and not self._refusal:
                number = len(self._threads) + 2
                thread = threading.Thread(
                    target=self._work, args=(_Worker(),), name=f"worker {number}", daemon=True
                )
                self._threads.append(thread)
                thread.start()

    def _work(self, worker: _Worker) -> None:
        try:
            self._serve(worker)
        except Exception as error:  # noqa: BLE001  raised again where all of them are awaited
            self._errors.append(error)
            self._stop.request()
            self._drop(worker)
        else:
            self._dismiss(worker)

    def _serve(self, worker: _Worker) -> None:
        call: Call | None = None
        while self._connects(worker) and (call := self._board.take(call)) is not None:
            try:
                self._do(worker, call)
            except ConnectionLostError as error:
                self._lost(worker, call, error)
                call = None
            except ThrottledError as error:
                if self._retires(worker, error):
                    self._board.lost(call, closed=False, forgiven=False)
                    return
                rest = self._back_off.wait(error, who=worker)
                self._drop(worker)
                # The folder is compared anew, as after a lost connection; it is not to blame.
                self._board.lost(call, closed=False, forgiven=True)
                call = None
                self._rest(error, rest)

    def _do(self, worker: _Worker, call: Call) -> None:
        pair = worker.pair
        if pair is None:
            raise RuntimeError("a worker without connections")
        there = worker.at is call.work
        worker.at = call.work
        means = Means(
            pair,
            there=there,
            limit=BUFFER_BYTES // (len(self._threads) + 1),
            hands=lambda: self._connected,
        )
        self._steps.do(call, means, shared=self._grow)

    def _lost(self, worker: _Worker, call: Call, error: ConnectionLostError) -> None:
        """Make the best of a lost connection: the folder is compared anew, by whoever comes."""
        self._drop(worker)
        over = error.expired or self._links.token_is_over(error.side)
        folder = self._steps.lost(call, error, forgiven=over)
        if folder.hopeless:
            raise folder.given_up(error) from None
        if not folder.row:
            # Servers end a session with its token: no failure, and nothing to wait for.
            worker.losses.forget()
            self._output.log("info", f"{error.message}; its token's time is over")
            return
        worker.losses.row = folder.row
        self._output.log("warning", f"{error.message}; connecting again in {folder.wait:.0f} s")
        self._pause(folder.wait)

    def _rest(self, error: ThrottledError, seconds: int) -> None:
        """Leave a server alone for as long as it asks."""
        self._output.log("warning", f"{error.message}; going on in {seconds} s, slower")
        self._pause(seconds)

    # --- connections

    def _connects(self, worker: _Worker) -> bool:
        """Make the worker's connections if it has none; false if it must do without."""
        while worker.pair is None and not self._board.done:
            try:
                with self._attempt() as stop:
                    worker.pair = self._links.open(stop)
            except InterruptedRunError:
                self._stop.check()
                return False  # all is done meanwhile
            except EngineError as error:
                if not self._tries_again(worker, error):
                    return False
            else:
                worker.fresh = False
                self._count(1)
        return worker.pair is not None

    def _tries_again(self, worker: _Worker, error: EngineError) -> bool:
        """Wait before another attempt; false if the others go on without this worker."""
        others = self._others(worker)
        if isinstance(error, ThrottledError) and not worker.fresh and not others:
            self._rest(error, self._back_off.wait(error, who=worker))
            return True
        if others and (worker.fresh or not may_pass(error)):
            self._retire(error)
            return False
        if not may_pass(error):
            raise error
        worker.losses.lost(moved=False)
        if worker.losses.hopeless:
            if others:
                self._retire(error)
                return False
            raise worker.losses.given_up(error) from None
        wait = worker.losses.wait
        self._output.log("warning", f"{error.message}; connecting again in {wait:.0f} s")
        self._pause(wait)
        return True

    @contextmanager
    def _attempt(self) -> Iterator[Stop]:
        """Yield what ends an attempt to connect: also that all is done without it."""
        stop = self._stop.child()
        with self._lock:
            self._attempts.append(stop)
            if self._board.done:
                stop.request()
        try:
            yield stop
        finally:
            with self._lock:
                self._attempts.remove(stop)

    def _retire(self, error: EngineError) -> None:
        """Go on with fewer workers, and say so once."""
        with self._lock:
            said, self._refusal = self._refusal, self._refusal or error.message
        if not said:
            self._output.log(
                "warning", f"{error.message}; going on with fewer connections than could be used"
            )

    def _retires(self, worker: _Worker, error: ThrottledError) -> bool:
        """Let a worker go if there are others and a server wants fewer connections."""
        with self._lock:
            if not (is_about_their_number(error) and self._others(worker)):
                return False
            self._drop(worker)
        self._retire(error)
        return True

    def _others(self, worker: _Worker) -> bool:
        """Whether others of the crew are connected."""
        return self._connected > (worker.pair is not None)

    def _dismiss(self, worker: _Worker) -> None:
        """Let a worker go whose work is done."""
        with self._lock:
            if self._board.done:
                for stop in self._attempts:
                    stop.request()
        if worker.pair is not None:
            worker.pair.close()
            self._count(-1)

    def _drop(self, worker: _Worker) -> None:
        """Close a worker's connections without a word."""
        if worker.pair is not None:
            worker.pair.abandon()
            worker.pair = worker.at = None
            self._count(-1)

    def _count(self, step: int) -> None:
        with self._lock:
            self._connected += step
            self._peak = max(self._peak, self._connected)

    def _pause(self, seconds: float) -> None:
        """Wait so long, but not longer than until all is done."""
        while seconds > 0 and not self._board.done:
            self._stop.pause(min(seconds, _NAP_SECONDS))
            seconds -= _NAP_SECONDS

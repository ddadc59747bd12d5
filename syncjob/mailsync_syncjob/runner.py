"""A whole run: connect, plan, let the crew work, report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailsync_api.report import Report
from mailsync_api.spec import Mode
from mailsync_syncjob.board import Board, FolderWork
from mailsync_syncjob.conclusion import crashed, done, failed
from mailsync_syncjob.crew import Crew
from mailsync_syncjob.deadline import Patience
from mailsync_syncjob.destinationfolders import DestinationFolders
from mailsync_syncjob.errors import (
    ConnectionLostError,
    EngineError,
    ThrottledError,
    UnreachableError,
)
from mailsync_syncjob.foldersteps import FolderSteps
from mailsync_syncjob.imap.connect import Connector
from mailsync_syncjob.links import Endpoints, Links
from mailsync_syncjob.losses import Losses
from mailsync_syncjob.manner import Manner
from mailsync_syncjob.output import OneAtATime
from mailsync_syncjob.pace import Pacer
from mailsync_syncjob.plan import make_plan
from mailsync_syncjob.resuming import Resuming
from mailsync_syncjob.sharing import Shares
from mailsync_syncjob.throttle import BackOff
from mailsync_syncjob.tracker import FolderFigures, Tracker

if TYPE_CHECKING:
    from mailsync_api.job import JobInput
    from mailsync_api.report import Strategy, Verdict
    from mailsync_syncjob.deadline import Clock, Stop
    from mailsync_syncjob.ledger import Ledger
    from mailsync_syncjob.links import Pair
    from mailsync_syncjob.output import Output
    from mailsync_syncjob.plan import Task

__all__ = ["Endpoints", "Run"]


class Run:
    """One run of the engine.

    Parameters
    ----------
    shares
        What pays for more connections than one to each side.
    ledger
        The resume state, which is brought up to date; None to do without.
    tells_state
        Whether the report has it.

    Attributes
    ----------
    tracker
        The figures; also after the run.
    """

    def __init__(  # noqa: PLR0913  all that a run needs
        self,
        job: JobInput,
        endpoints: Endpoints,
        *,
        output: Output,
        clock: Clock,
        stop: Stop,
        patience: Patience | None = None,
        shares: Shares | None = None,
        ledger: Ledger | None = None,
        tells_state: bool = False,
    ) -> None:
        self._job = job
        self._output = OneAtATime(output)
        # One of its own: a fault ends all workers of this run, but not the runs after it.
        self._stop = stop.child()
        connector = Connector(patience or Patience(), clock, self._stop)
        self._manner = Manner(clock=clock, log=self._output.log)
        self._links = Links(endpoints, connector, self._output, self._manner)
        self._pacer = Pacer(job.pace, clock=clock)
        self._shares = shares or Shares()
        self._crew: Crew | None = None
        self._resuming = Resuming(ledger, output=self._output, clock=clock, dry_run=self.dry_run)
        self._tells_state = tells_state
        self.tracker = Tracker(clock, self._output, pacer=self._pacer)
        self._back_off = BackOff(self._pacer, progress=lambda: self.tracker.dealt_with)

    @property
    def dry_run(self) -> bool:
        """Whether nothing is to be changed."""
        return self._job.mode is Mode.DRY_RUN

    def execute(self) -> Report:
        """Do all of it; every end becomes a report, none an exception."""
        try:
            self._all()
        except EngineError as error:
            self._output.log("error", error.message)
            verdict = failed(error)
        except Exception as error:  # noqa: BLE001  the report must be written whatever happens
            verdict = crashed(error)
            self._output.log("error", verdict.message)
        else:
            verdict = done(self.tracker.totals(), dry_run=self.dry_run)
        self.tracker.tick(now=True)
        report = Report(
            verdict=self._complete(verdict),
            folders=[figures.report() for figures in self.tracker.folders],
            skipped=self.tracker.skipped(),
            limits=self._pacer.report(),
            waits=self._back_off.report(),
            state=self._resuming.state() if self._tells_state else None,
        )
        self._output.report(report)
        return report

    def _complete(self, verdict: Verdict) -> Verdict:
        """Return the verdict with what was found, done and negotiated."""
        return verdict.model_copy(
            update={
                "totals": self.tracker.totals(),
                "tls": self._links.tls,
                "duration_seconds": self.tracker.seconds,
                "dry_run": self.dry_run,
                "strategy": self._strategy(),
            }
        )

    def _strategy(self) -> Strategy | None:
        return self._manner.into(self._crew.strategy()) if self._crew is not None else None

    def _all(self) -> None:
        pair, folders, tasks = self._planned()
        works = [
            FolderWork(task, figures)
            for task, figures in zip(tasks, self.tracker.folders, strict=True)
        ]
        board = Board(works, shares=self._shares, stop=self._stop)
        steps = FolderSteps(
            board,
            folders,
            shares=self._shares,
            tracker=self.tracker,
            pacer=self._pacer,
            manner=self._manner,
            resuming=self._resuming,
            output=self._output,
            stop=self._stop,
            dry_run=self.dry_run,
        )
        self._crew = Crew(
            board,
            steps,
            links=self._links,
            shares=self._shares,
            back_off=self._back_off,
            # A dry run copies nothing, which is what more of them would be for.
            most=1 if self.dry_run else self._job.connections,
            output=self._output,
            stop=self._stop,
        )
        self._crew.run(pair)
        self._resuming.complete()

    # --- the plan

    def _planned(self) -> tuple[Pair, DestinationFolders, list[Task]]:
        """Connect and plan, again after a lost connection; return what is connected, too."""
        losses, connected = Losses(), False
        while True:
            pair: Pair | None = None
            try:
                pair = self._links.open()
                connected = True
                return (pair, *self._plan(pair))
            except (ConnectionLostError, UnreachableError, ThrottledError) as error:
                if pair is not None:
                    pair.abandon()
                if not (connected or isinstance(error, ConnectionLostError)):
                    raise  # the first time the Job's own back-off is the better one
                self._stop.pause(self._delay(error, losses))
            except BaseException:
                if pair is not None:
                    pair.abandon()
                raise

    def _delay(self, error: EngineError, losses: Losses) -> float:
        """Return how long to wait before the next attempt; raise if it had better be none."""
        if isinstance(error, ThrottledError):
            wait: float = self._back_off.wait(error)
        else:
            losses.lost(moved=False)
            if losses.hopeless:
                raise losses.given_up(error) from None
            wait = losses.wait
        self._output.log("warning", f"{error.message}; connecting again in {wait:.0f} s")
        return wait

    def _plan(self, pair: Pair) -> tuple[DestinationFolders, list[Task]]:
        plan = make_plan(pair.source, pair.destination, selection=self._job.folders)
        folders = DestinationFolders(plan.destination, output=self._output)
        folders.expect(plan.tasks)
        if not self.dry_run:
            self._stop.check()
            plan.destination.create_missing(plan.tasks, session=pair.destination)
        figures = []
        for task in plan.tasks:
            figures.append(FolderFigures(task.source_name, task.destination_name))
            if task.here is not None:  # else opening it will say why
                figures[-1].messages, figures[-1].bytes_total = task.here.messages, task.here.size
        self.tracker.add(figures)
        self.tracker.tick(now=True)
        return folders, plan.tasks

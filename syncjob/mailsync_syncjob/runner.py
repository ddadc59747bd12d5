"""A whole run: connect, plan, work on each folder, survive lost connections, report."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from mailsync_api.conditions import Reason
from mailsync_api.exitcodes import EXIT_TABLE, ExitCode
from mailsync_api.report import Report, SkippedMessage, Verdict
from mailsync_api.spec import Mode
from mailsync_api.status import TLSStatus
from mailsync_syncjob.deadline import Patience
from mailsync_syncjob.errors import (
    CommandRefusedError,
    ConnectionLostError,
    CredentialsError,
    EngineError,
    FolderGoneError,
    UnreachableError,
    crash_message,
)
from mailsync_syncjob.folderpass import FolderPass
from mailsync_syncjob.imap.connect import Connector
from mailsync_syncjob.imap.session import Session, open_session
from mailsync_syncjob.pace import Pacer
from mailsync_syncjob.party import side_of
from mailsync_syncjob.pipeline import PipelinedCopier
from mailsync_syncjob.plan import Destination, Task, make_plan
from mailsync_syncjob.tracker import FolderFigures, Tracker

if TYPE_CHECKING:
    from collections.abc import Callable

    from mailsync_api.endpoint import Side
    from mailsync_api.job import JobInput
    from mailsync_syncjob.credentials import Endpoint
    from mailsync_syncjob.deadline import Clock, Stop
    from mailsync_syncjob.output import Output
    from mailsync_syncjob.party import Party

__all__ = ["Endpoints", "Run"]

_T = TypeVar("_T")
_RECONNECTS: Final = 5
_FIRST_WAIT: Final = 1.0
_LONGEST_WAIT: Final = 30.0


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Both sides, with their secrets."""

    source: Endpoint
    destination: Endpoint


@dataclass(slots=True)
class _Sessions:
    source: Session
    destination: Session

    def close(self) -> None:
        self.source.close()
        self.destination.close()

    def abandon(self) -> None:
        self.source.abandon()
        self.destination.abandon()


class Run:
    """One run of the engine.

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
    ) -> None:
        self._job = job
        self._endpoints = endpoints
        self._output = output
        self._stop = stop
        self._connector = Connector(patience or Patience(), clock, stop)
        self._sessions: _Sessions | None = None
        self._destination: Destination | None = None
        self._was_connected = False
        self._tls = TLSStatus()
        self._pacer = Pacer(job.pace, clock=clock)
        self.tracker = Tracker(clock, output, pacer=self._pacer)

    @property
    def dry_run(self) -> bool:
        """Whether nothing is to be changed."""
        return self._job.mode is Mode.DRY_RUN

    def execute(self) -> Report:
        """Do all of it; every end becomes a report, none an exception."""
        try:
            self._all()
        except EngineError as error:
            verdict = self._failed(error)
        except Exception as error:  # noqa: BLE001  the report must be written whatever happens
            verdict = self._crashed(error)
        else:
            verdict = self._done()
        finally:
            if self._sessions is not None:
                self._sessions.abandon()
        self.tracker.tick(now=True)
        report = Report(
            verdict=verdict,
            folders=[figures.report() for figures in self.tracker.folders],
            skipped=self.tracker.skipped(),
            limits=self._pacer.report(),
        )
        self._output.report(report)
        return report

    # --- the work

    def _all(self) -> None:
        tasks = self._persist(self._plan)
        for task, figures in zip(tasks, self.tracker.folders, strict=True):
            self._stop.check()
            self._persist(partial(self._folder, task, figures))
            figures.done = True
            self._output.log(
                "info",
                f"{figures.source}: {figures.messages} messages, {figures.copied} "
                f"{'to copy' if self.dry_run else 'copied'}, {figures.present or 0} already there, "
                f"{figures.skipped_count} skipped",
            )
            self.tracker.tick()
        if self._sessions is not None:
            self._sessions.close()

    def _plan(self) -> list[Task]:
        sessions = self._connected()
        plan = make_plan(sessions.source, sessions.destination, selection=self._job.folders)
        self._destination = plan.destination
        figures = []
        for task in plan.tasks:
            figures.append(FolderFigures(task.source_name, task.destination_name))
            if task.here is not None:  # else opening it will say why
                figures[-1].messages, figures[-1].bytes_total = task.here.messages, task.here.size
        self.tracker.add(figures)
        self.tracker.tick(now=True)
        return plan.tasks

    def _folder(self, task: Task, figures: FolderFigures) -> None:
        sessions, destination = self._connected(), self._destination
        if destination is None:
            raise RuntimeError("a folder before the plan")
        step = FolderPass(
            source=sessions.source,
            destination=sessions.destination,
            copier=PipelinedCopier(
                sessions.source, sessions.destination, stop=self._stop, pacer=self._pacer
            ),
            figures=figures,
            tracker=self.tracker,
            stop=self._stop,
            pacer=self._pacer,
        )
        try:
            raw = self._ensure(task, destination, sessions.destination)
            step.run(task.source_raw, raw, dry_run=self.dry_run)
        except FolderGoneError:
            destination.forget(task.destination)
            raise
        except CommandRefusedError as error:
            self._give_up(figures, error)

    def _ensure(self, task: Task, destination: Destination, session: Session) -> bytes | None:
        """Return the destination folder's raw name; None where only a real run would create it."""
        raw = destination.existing(task.destination)
        created = raw is None
        if raw is None and not self.dry_run:
            raw = destination.create(task.destination, session=session)
        if created:
            self.tracker.folders_created += 1
        if raw is None or self.dry_run:
            return raw
        # Also for a folder that was there before: an earlier run may have ended in between.
        if task.subscribe and raw not in destination.subscribed:
            try:
                session.subscribe(raw)
            except CommandRefusedError as error:
                self._output.log("warning", f"{task.destination_name}: {error.message}")
        return raw

    def _give_up(self, figures: FolderFigures, error: CommandRefusedError) -> None:
        """Report a folder that cannot be opened or created: all its messages are skipped."""
        left = figures.messages - figures.completed - figures.skipped_count
        text = f"the {error.side} refused {error.command} of the folder: {error.text}"
        self._output.log("warning", f"{figures.source}: {text}")
        figures.skipped[("folder",)] = SkippedMessage(folder=figures.source, uid=0, reason=text)
        figures.uncounted = max(left - 1, 0)

    # --- connections

    def _connected(self) -> _Sessions:
        if self._sessions is None:
            try:
                self._sessions = self._connect_both()
            except UnreachableError as error:
                if not self._was_connected:
                    raise  # the first time the Job's own back-off is the better one
                raise ConnectionLostError(error.message, side=error.side) from None
        return self._sessions

    def _connect_both(self) -> _Sessions:
        """Connect to both sides at once."""
        ends = (self._endpoints.source, self._endpoints.destination)
        with ThreadPoolExecutor(max_workers=2) as pool:
            futures = [pool.submit(open_session, e, connector=self._connector) for e in ends]
        errors = [future.exception() for future in futures]
        for notice in (n for end in ends if end.tokens for n in end.tokens.notices()):
            self._output.log("info", notice)
        opened = [f.result() for f, error in zip(futures, errors, strict=True) if error is None]
        for session in opened:
            self._say_session(session)
        failed = [error for error in errors if error is not None]
        if failed:
            for session in opened:
                session.close()
            # A refused login must never hide behind a server that cannot be reached: the run would
            # be tried again within seconds, and the login with it.
            raise min(failed, key=lambda error: not isinstance(error, CredentialsError))
        self._was_connected = True
        return _Sessions(*opened)

    def _say_session(self, session: Session) -> None:
        side, facts = side_of(session.side), session.facts
        if side is None:
            return  # a probe's session, which no run has
        self._tls = self._tls.model_copy(update={str(side): facts})
        self._output.session(side, facts)

    def _persist(self, work: Callable[[], _T]) -> _T:
        """Do one step of the work, again after a lost connection; what it does is idempotent.

        The destination is the journal: each attempt compares the folder anew, so a message that was
        stored without its confirmation is found and not stored twice.
        """
        failures = 0
        while True:
            before = self.tracker.dealt_with
            try:
                return work()
            except ConnectionLostError as error:
                self._drop()
                moved = self.tracker.dealt_with > before
                if moved and (error.expired or self._token_is_over(error.side)):
                    # Servers end a session with its token: no failure, and nothing to wait for.
                    failures = 0
                    self._output.log("info", f"{error.message}; its token's time is over")
                    continue
                failures = 1 if moved else failures + 1
                if failures > _RECONNECTS:
                    raise ConnectionLostError(
                        f"{error.message}; {_RECONNECTS} attempts to go on did not help",
                        side=error.side,
                    ) from None
                wait = min(_FIRST_WAIT * 2 ** (failures - 1), _LONGEST_WAIT)
                self._output.log("warning", f"{error.message}; connecting again in {wait:.0f} s")
                self._stop.pause(wait)

    def _token_is_over(self, side: Party | None) -> bool:
        ends = (self._endpoints.source, self._endpoints.destination)
        return any(end.side is side and end.tokens and end.tokens.over for end in ends)

    def _drop(self) -> None:
        if self._sessions is not None:
            self._sessions.abandon()
            self._sessions = None

    # --- the end

    def _done(self) -> Verdict:
        totals = self.tracker.totals()
        verb = "to copy" if self.dry_run else "copied"
        words = (
            f"{totals.copied} messages {verb}, {totals.already_present} already there, "
            f"{totals.skipped} skipped, in {totals.folders} folders"
        )
        if totals.skipped:
            return self._verdict(
                ExitCode.SKIPPED_ITEMS,
                EXIT_TABLE[ExitCode.SKIPPED_ITEMS].reason,
                message=f"{words}; the report names each skipped message and why",
            )
        return self._verdict(ExitCode.DONE, Reason.COMPLETED, message=words)

    def _failed(self, error: EngineError) -> Verdict:
        self._output.log("error", error.message)
        return self._verdict(
            error.exit_code,
            error.reason,
            message=error.message,
            side=side_of(error.side),
            retry_after_seconds=error.retry_after_seconds,
        )

    def _crashed(self, error: Exception) -> Verdict:
        message = crash_message(error)
        self._output.log("error", message)
        return self._verdict(ExitCode.INTERNAL, Reason.INTERNAL_ERROR, message=message)

    def _verdict(
        self,
        code: ExitCode,
        reason: Reason,
        *,
        message: str,
        side: Side | None = None,
        retry_after_seconds: int | None = None,
    ) -> Verdict:
        return Verdict(
            exit_code=code,
            reason=reason,
            message=message[:1024],
            side=side,
            retry_after_seconds=retry_after_seconds,
            totals=self.tracker.totals(),
            tls=self._tls,
            duration_seconds=self.tracker.seconds,
            dry_run=self.dry_run,
        )

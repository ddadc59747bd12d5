"""The run on a terminal: a progress bar that stays, what happens above it, a summary at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from mailsync_api.exitcodes import ExitCode, exit_info

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Self

    from rich.progress import TaskID

    from mailsync_api.endpoint import Side
    from mailsync_api.report import Report
    from mailsync_api.status import Progress as Figures
    from mailsync_api.status import TLSFacts
    from mailsync_syncjob.output import Level

__all__ = ["Terminal", "summary"]

_STYLES = {"debug": "dim", "info": "", "warning": "yellow", "error": "bold red"}
_MOST_SKIPPED = 20


class Terminal:
    """Shows one run; a context manager, so that the terminal is as before at the end."""

    def __init__(self, title: str, *, console: Console | None = None) -> None:
        self._console = console or Console()
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[figures]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
        )
        self._task: TaskID = self._bars.add_task(escape(title), total=100, figures="connecting")

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def log(self, level: Level, message: str) -> None:
        """Show a line above the bar."""
        self._console.print(escape(message), style=_STYLES[level] or None, highlight=False)

    def session(self, side: Side, facts: TLSFacts) -> None:
        """Show how safely a server was reached."""
        if facts.secured:
            words = f"{facts.protocol}, {facts.cipher}, verification {facts.verified}"
            self.log("info", f"{side}: logged in ({facts.mode}, {words})")
        else:
            self.log(
                "warning", f"{side}: logged in, in CLEAR TEXT as tls.mode {facts.mode} lets it"
            )

    def progress(self, progress: Figures) -> None:
        """Move the bar."""
        messages = progress.messages
        figures = (
            f"{messages.completed}/{messages.total} messages, "
            f"{progress.messages_per_second}/s, {decimal(progress.bytes_per_second)}/s"
        )
        if progress.skipped:
            figures += f", {progress.skipped} skipped"
        self._bars.update(self._task, completed=progress.percent, figures=figures)

    def report(self, report: Report) -> None:
        """Show the end of the run and the messages that were not copied."""
        verdict = report.verdict
        for message in report.skipped[:_MOST_SKIPPED]:
            self.log(
                "warning",
                f"not copied: {message.folder} UID {message.uid}, {message.size} bytes: "
                f"{message.reason}",
            )
        if len(report.skipped) > _MOST_SKIPPED:
            self.log("warning", f"and {len(report.skipped) - _MOST_SKIPPED} more: see --report")
        if verdict.exit_code is ExitCode.DONE:
            self.log("info", verdict.message)
        elif verdict.exit_code is ExitCode.SKIPPED_ITEMS:
            self.log("warning", verdict.message)
        # Any other error was logged when it happened.


def summary(runs: Sequence[tuple[str, Report]], *, console: Console | None = None) -> None:
    """Show a table of several runs."""
    table = Table(title="Summary")
    for heading in ("MailSync", "Result", "Copied", "Already there", "Skipped", "Bytes", "Seconds"):
        table.add_column(heading, justify="left" if heading in {"MailSync", "Result"} else "right")
    for name, report in runs:
        verdict, totals = report.verdict, report.verdict.totals
        done = verdict.exit_code is ExitCode.DONE
        result = "done" if done else f"{verdict.exit_code.value} {verdict.reason}"
        table.add_row(
            escape(name),
            f"[green]{result}[/]" if done else f"[red]{result}[/]",
            str(totals.copied),
            str(totals.already_present),
            str(totals.skipped),
            decimal(totals.bytes_copied),
            str(verdict.duration_seconds),
        )
    (console or Console()).print(table)
    failed = [report for _, report in runs if report.verdict.exit_code is not ExitCode.DONE]
    if failed:
        meanings = {exit_info(r.verdict.exit_code).meaning for r in failed}
        (console or Console()).print("; ".join(sorted(meanings)), style="red", highlight=False)

"""The ``mailsync`` command: the same manifests and the same engine without a cluster."""

from __future__ import annotations

import json
import os
import sys
from contextlib import ExitStack
from enum import StrEnum
from importlib.metadata import version as distribution_version
from pathlib import Path  # noqa: TC003  typer reads annotations
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console
from rich.markup import escape

from mailsync_api.exitcodes import ExitCode
from mailsync_api.job import job_input
from mailsync_api.process import keep_memory_private
from mailsync_api.report import Report, Verdict
from mailsync_api.spec import Accounts, Mode
from mailsync_syncjob.commandline import manifest_text, worst
from mailsync_syncjob.deadline import Clock, Stop
from mailsync_syncjob.errors import ConfigurationError, EngineError, UsageError, crash_message
from mailsync_syncjob.job import stop_on_sigterm
from mailsync_syncjob.manifests import Manifests, load
from mailsync_syncjob.output import JsonLines
from mailsync_syncjob.probecommand import probe
from mailsync_syncjob.runner import Run
from mailsync_syncjob.statefile import read_ledger, write_state
from mailsync_syncjob.terminal import Terminal, summary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mailsync_api.manifest import MailSync
    from mailsync_syncjob.output import Output

__all__ = ["main"]

_CLICK_USAGE: Final = 2

app = typer.Typer(
    name="mailsync",
    help="Copies mailboxes from one IMAP server to another.",
    no_args_is_help=True,
    # A traceback with local variables would show passwords.
    pretty_exceptions_enable=False,
)


class Format(StrEnum):
    """How the run is shown."""

    AUTO = "auto"
    JSON = "json"
    PROGRESS = "progress"


app.command("probe")(probe)


def main() -> None:
    """Run the command; bad arguments end with 64, everything else as the table of exit codes."""
    keep_memory_private()
    try:
        app()
    except SystemExit as error:
        # click's number for bad usage; no command of ours ends with it.
        sys.exit(int(ExitCode.USAGE) if error.code == _CLICK_USAGE else error.code)
    except EngineError as error:
        _complain(error.message)
        sys.exit(int(error.exit_code))
    except Exception as error:  # noqa: BLE001  a user sees words, never a traceback
        _complain(crash_message(error))
        sys.exit(int(ExitCode.INTERNAL))


@app.callback()
def _root() -> None:
    """Copy mailboxes from one IMAP server to another.

    Message bodies, flags, keywords and dates stay as they are; nothing is lost and nothing is
    copied twice, however often it is run. The source is never changed.
    """


@app.command("version")
def version() -> None:
    """Show the version."""
    typer.echo(f"mailsync {distribution_version('mailsync')}")


@app.command("run")
def run(  # noqa: PLR0913  the options of the command
    *,
    files: Annotated[
        list[str],
        typer.Option(
            "-f",
            "--file",
            metavar="FILE",
            help="Manifests: MailSyncs with their Secrets and ConfigMaps; - is standard input. "
            "May be given more than once.",
        ),
    ],
    secrets: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Take what the files do not hold from DIR/<name of the Secret>/<key>.",
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the full report to FILE, as JSON."),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Remember in FILE how each folder stood, so that the next run works only on "
            "folders that have changed; a directory for several MailSyncs. Without it, or when it "
            "does not fit, mailboxes are compared in full.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Compare and say what would be copied.")
    ] = False,
    output: Annotated[
        Format,
        typer.Option(
            "-o",
            "--output",
            help="progress is for people, json for programs (one object a line); auto is progress "
            "on a terminal.",
        ),
    ] = Format.AUTO,
) -> None:
    """Run the MailSyncs of some manifests, one after the other.

    The exit code is that of the worst run: 0 done, 65 some messages could not be copied, 69 a
    server cannot be reached, 75 it asked to wait, 76 not as safe as demanded, 77 credentials
    refused, 78 the manifest cannot be used.
    """
    manifests = load([manifest_text(name) for name in files])
    if secrets is not None and not secrets.is_dir():
        raise UsageError(f"--secrets {secrets}: there is no such directory")
    _check_state(state, manifests)
    people = output is Format.PROGRESS or (output is Format.AUTO and sys.stdout.isatty())
    for line in manifests.ignored:
        _complain(line, level="note")
    runs = _run_all(manifests, directory=secrets, state=state, dry_run=dry_run, people=people)
    if report is not None:
        _write_reports(report, runs)
    if people and len(runs) > 1:
        summary([(_title(mailsync), result) for mailsync, result in runs])
    sys.exit(int(worst([result.verdict.exit_code for _, result in runs])))


def _run_all(
    manifests: Manifests,
    *,
    directory: Path | None,
    state: Path | None,
    dry_run: bool,
    people: bool,
) -> list[tuple[MailSync, Report]]:
    clock = Clock()
    stop = Stop(clock)
    stop_on_sigterm(stop)
    runs: list[tuple[MailSync, Report]] = []
    for mailsync in manifests.mailsyncs:
        if stop.requested:
            break
        if mailsync.spec.suspend:
            _complain(f"{_title(mailsync)}: spec.suspend is true, so it is not run", level="note")
            continue
        with ExitStack() as stack:
            shown: Output = (
                stack.enter_context(Terminal(_title(mailsync))) if people else JsonLines(clock)
            )
            if len(manifests.mailsyncs) > 1:
                shown.log("info", f"{_title(mailsync)}: starting")
            runs.append(
                (
                    mailsync,
                    _run_one(
                        mailsync,
                        manifests,
                        directory=directory,
                        state=_state_file(state, mailsync),
                        dry_run=dry_run,
                        output=shown,
                        clock=clock,
                        stop=stop,
                    ),
                )
            )
    return runs


def _run_one(  # noqa: PLR0913  the parts of one run
    mailsync: MailSync,
    manifests: Manifests,
    *,
    directory: Path | None,
    state: Path | None,
    dry_run: bool,
    output: Output,
    clock: Clock,
    stop: Stop,
) -> Report:
    metadata = mailsync.metadata
    try:
        endpoints = manifests.endpoints(mailsync, directory=directory)
    except ConfigurationError as error:
        # The other MailSyncs can still be run.
        message = f"{_title(mailsync)}: {error.message}"
        output.log("error", message)
        report = Report(
            verdict=Verdict(exit_code=error.exit_code, reason=error.reason, message=message[:1024])
        )
        output.report(report)
        return report
    accounts = Accounts(endpoints.source.account, endpoints.destination.account)
    job = job_input(
        mailsync.spec,
        accounts,
        namespace=metadata.namespace,
        name=metadata.name,
        terms=manifests.terms(mailsync),
    )
    if dry_run:
        job = job.model_copy(update={"mode": Mode.DRY_RUN})
    ledger = read_ledger(state, job, output=output) if state is not None else None
    run = Run(job, endpoints, output=output, clock=clock, stop=stop, ledger=ledger)
    report = run.execute()
    if state is not None and ledger is not None and not run.dry_run:
        try:
            write_state(state, ledger.text()[0])
        except OSError as error:
            # The run is what it is; the next one has more to do.
            output.log("warning", f"--state {state}: {error.strerror}")
    return report


def _check_state(state: Path | None, manifests: Manifests) -> None:
    """Complain before a long run about a file that cannot be written after it."""
    if state is None or state.is_dir():
        return
    if not state.parent.is_dir():
        raise UsageError(f"--state {state}: there is no directory {state.parent}")
    count = len(manifests.mailsyncs)
    if count > 1:
        raise UsageError(
            f"--state {state}: a file is for one MailSync and there are {count}; name a directory "
            "that exists, then each has a file of its own in it"
        )


def _state_file(state: Path | None, mailsync: MailSync) -> Path | None:
    if state is None or not state.is_dir():
        return state
    # Neither may have a slash or an underscore in it.
    return state / f"{mailsync.metadata.namespace}_{mailsync.metadata.name}.json"


def _write_reports(path: Path, runs: Sequence[tuple[MailSync, Report]]) -> None:
    content = {
        "runs": [
            {
                "namespace": mailsync.metadata.namespace,
                "name": mailsync.metadata.name,
                "report": report.to_wire(),
            }
            for mailsync, report in runs
        ]
    }
    try:
        path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + os.linesep, "utf-8")
    except OSError as error:
        raise UsageError(f"--report {path}: {error.strerror}") from None


def _title(mailsync: MailSync) -> str:
    metadata = mailsync.metadata
    own = metadata.namespace == "default"
    return metadata.name if own else f"{metadata.namespace}/{metadata.name}"


def _complain(message: str, *, level: str = "error") -> None:
    console = Console(stderr=True, soft_wrap=True)
    style = "bold red" if level == "error" else "yellow"
    for line in message.splitlines():
        console.print(f"[{style}]{level}:[/] {escape(line)}", highlight=False)


if __name__ == "__main__":
    main()

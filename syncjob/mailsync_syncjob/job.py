"""The engine in a Job's pod: input from the environment, secrets from files, verdict to a file."""

from __future__ import annotations

import os
import resource
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from mailsync_api import names
from mailsync_api.endpoint import Side
from mailsync_api.exitcodes import ExitCode
from mailsync_api.job import JobInput
from mailsync_api.report import Report, Verdict
from mailsync_syncjob.clientcert import ClientCertificate
from mailsync_syncjob.credentials import Endpoint, Password
from mailsync_syncjob.deadline import Clock, Stop
from mailsync_syncjob.errors import ConfigurationError
from mailsync_syncjob.output import JsonLines
from mailsync_syncjob.party import side_of
from mailsync_syncjob.runner import Endpoints, Run

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import FrameType

    from mailsync_api.endpoint import MailAccount
    from mailsync_syncjob.output import Output

__all__ = ["forbid_core_dumps", "main", "read_endpoint", "read_input", "stop_on_sigterm"]

_VERDICT_PATH_ENV: Final = "MAILSYNC_TERMINATION_MESSAGE_PATH"
_SECRETS_ROOT_ENV: Final = "MAILSYNC_SECRETS_ROOT"


def main() -> None:
    """Run once and end with the run's exit code."""
    forbid_core_dumps()
    clock = Clock()
    stop = Stop(clock)
    stop_on_sigterm(stop)
    output = JsonLines(clock)
    report = _run(os.environ, output=output, clock=clock, stop=stop)
    path = Path(os.environ.get(_VERDICT_PATH_ENV, names.TERMINATION_MESSAGE_PATH))
    try:
        path.write_text(report.verdict.to_termination_message(), encoding="utf-8")
    except OSError as error:
        output.log("warning", f"the verdict could not be written to {path}: {error.strerror}")
    sys.exit(int(report.verdict.exit_code))


def _run(environment: Mapping[str, str], *, output: Output, clock: Clock, stop: Stop) -> Report:
    try:
        job = read_input(environment)
        root = Path(environment.get(_SECRETS_ROOT_ENV, names.SECRETS_ROOT))
        endpoints = Endpoints(
            source=read_endpoint(Side.SOURCE, job.source, root=root),
            destination=read_endpoint(Side.DESTINATION, job.destination, root=root),
        )
    except ConfigurationError as error:
        report = Report(
            verdict=Verdict(
                exit_code=ExitCode.CONFIGURATION,
                reason=error.reason,
                message=error.message[:1024],
                side=side_of(error.side),
            )
        )
        output.log("error", error.message)
        output.report(report)
        return report
    return Run(job, endpoints, output=output, clock=clock, stop=stop).execute()


def read_input(environment: Mapping[str, str]) -> JobInput:
    """Return the Job's input.

    Raises
    ------
    ConfigurationError
        It is missing, or a field of it is bad; the message names the field.
    """
    text = environment.get(names.INPUT_ENV)
    if not text:
        raise ConfigurationError(
            f"the environment variable {names.INPUT_ENV} is missing: it holds the run's input as "
            "JSON; outside a cluster use `mailsync run -f FILE`"
        )
    try:
        return JobInput.model_validate_json(text)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in one['loc']) or 'input'}: {one['msg']}"
            for one in error.errors(include_input=False, include_url=False)
        )
        raise ConfigurationError(f"{names.INPUT_ENV} is not a run's input: {problems}") from None


def read_endpoint(side: Side, account: MailAccount, *, root: Path) -> Endpoint:
    """Return one side with its secrets read from files.

    Raises
    ------
    ConfigurationError
        A file is missing, empty or unreadable; the message names it.
    """

    def read(path: str, what: str) -> bytes:
        file = root / Path(path).relative_to(names.SECRETS_ROOT)
        return _read(file, what=f"{what} of the {side}", side=side)

    password = None
    if account.authentication.secret_ref is not None:
        password = Password(read(names.password_path(side), "the password"))
    ca_pem = client = None
    if account.tls.ca_ref is not None:
        ca_pem = read(names.ca_path(side), "the CA certificates").decode("utf-8", "replace")
    if account.tls.client_certificate_ref is not None:
        client = ClientCertificate(
            read(names.client_certificate_path(side), "the client certificate"),
            read(names.client_key_path(side), "the key of the client certificate"),
        )
    return Endpoint(side, account, password, ca_pem=ca_pem, client_certificate=client)


def _read(path: Path, *, what: str, side: Side) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"{what} cannot be read from {path}: {error.strerror}", side=side
        ) from None
    if not data:
        raise ConfigurationError(f"{what} is empty: {path}", side=side)
    return data


def stop_on_sigterm(stop: Stop) -> None:
    """Let SIGTERM and SIGINT end the run in order; the same one again ends it at once."""

    def request(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        stop.request()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, request)


def forbid_core_dumps() -> None:
    """Keep passwords and mail out of core files."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    main()

"""The engine in a Job's pod: input from the environment, secrets from files, verdict to a file.

A pod's environment holds the input of a run or that of a probe, and says so which of both it does.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from pydantic import ValidationError

from mailsync_api import names
from mailsync_api.conditions import Reason
from mailsync_api.endpoint import Side
from mailsync_api.exitcodes import ExitCode
from mailsync_api.job import JobInput
from mailsync_api.process import keep_memory_private
from mailsync_api.report import Report, Verdict
from mailsync_syncjob.clientcert import ClientCertificate
from mailsync_syncjob.credentials import Endpoint, Password, ProxyLogin, Target, TunnelEnd
from mailsync_syncjob.deadline import Clock, Stop
from mailsync_syncjob.errors import ConfigurationError, EngineError, crash_message
from mailsync_syncjob.oauth2.tokens import Tokens
from mailsync_syncjob.output import JsonLines
from mailsync_syncjob.party import side_of
from mailsync_syncjob.proxy import proxy_url
from mailsync_syncjob.runner import Endpoints, Run
from mailsync_syncjob.statefile import kept_state, read_ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import FrameType

    from mailsync_api.base import ApiModel
    from mailsync_api.endpoint import MailAccount, SecretPart, Server
    from mailsync_api.oauth2 import OAuth2
    from mailsync_api.probe import ProbeVerdict
    from mailsync_syncjob.output import Output
    from mailsync_syncjob.party import Party

__all__ = [
    "main",
    "read_endpoint",
    "read_input",
    "read_target",
    "stop_on_sigterm",
]

_Input = TypeVar("_Input", bound="ApiModel")

_VERDICT_PATH_ENV: Final = "MAILSYNC_TERMINATION_MESSAGE_PATH"
_SECRETS_ROOT_ENV: Final = "MAILSYNC_SECRETS_ROOT"


def main() -> None:
    """Run once and end with the run's exit code."""
    keep_memory_private()
    clock = Clock()
    stop = Stop(clock)
    stop_on_sigterm(stop)
    output = JsonLines(clock)
    verdict: Verdict | ProbeVerdict
    if names.PROBE_INPUT_ENV in os.environ:
        verdict = _probe(os.environ, output=output, clock=clock, stop=stop)
    else:
        verdict = _run(os.environ, output=output, clock=clock, stop=stop).verdict
    path = Path(os.environ.get(_VERDICT_PATH_ENV, names.TERMINATION_MESSAGE_PATH))
    try:
        path.write_text(verdict.to_termination_message(), encoding="utf-8")
    except OSError as error:
        output.log("warning", f"the verdict could not be written to {path}: {error.strerror}")
    sys.exit(int(verdict.exit_code))


def _probe(
    environment: Mapping[str, str], *, output: Output, clock: Clock, stop: Stop
) -> ProbeVerdict:
    # A tenth of what all imports take, and a run needs nothing of it.
    from mailsync_api.probe import ProbeInput, ProbeVerdict  # noqa: PLC0415  see above
    from mailsync_syncjob.probe.survey import survey  # noqa: PLC0415  see above

    try:
        text = environment.get(names.PROBE_INPUT_ENV) or ""
        job = _parsed(ProbeInput, text, variable=names.PROBE_INPUT_ENV, what="a probe's")
        root = Path(environment.get(_SECRETS_ROOT_ENV, names.SECRETS_ROOT))
        target = read_target(job.server, root=root)
        verdict = survey(target, clock=clock, stop=stop)
    except EngineError as error:
        verdict = ProbeVerdict(
            exit_code=error.exit_code, reason=error.reason, message=error.message[:1024]
        )
    except Exception as error:  # noqa: BLE001  the operator reads a verdict, not a traceback
        verdict = ProbeVerdict(
            exit_code=ExitCode.INTERNAL,
            reason=Reason.INTERNAL_ERROR,
            message=crash_message(error),
        )
    output.log("error" if verdict.exit_code else "info", verdict.message)
    return verdict


def _run(environment: Mapping[str, str], *, output: Output, clock: Clock, stop: Stop) -> Report:
    root = Path(environment.get(_SECRETS_ROOT_ENV, names.SECRETS_ROOT))
    path = root / Path(names.state_path()).relative_to(names.SECRETS_ROOT)
    try:
        job = read_input(environment)
        endpoints = Endpoints(
            source=read_endpoint(Side.SOURCE, job.source, root=root),
            destination=read_endpoint(Side.DESTINATION, job.destination, root=root),
        )
    except ConfigurationError as error:
        verdict = Verdict(
            exit_code=ExitCode.CONFIGURATION,
            reason=error.reason,
            message=error.message[:1024],
            side=side_of(error.side),
        )
        return _not_run(verdict, output=output, state=kept_state(path))
    except Exception as error:  # noqa: BLE001  a verdict, not a traceback
        verdict = Verdict(
            exit_code=ExitCode.INTERNAL,
            reason=Reason.INTERNAL_ERROR,
            message=crash_message(error),
        )
        return _not_run(verdict, output=output, state=kept_state(path))
    ledger = read_ledger(path, job, output=output)
    run = Run(
        job, endpoints, output=output, clock=clock, stop=stop, ledger=ledger, tells_state=True
    )
    return run.execute()


def _not_run(verdict: Verdict, *, output: Output, state: str | None) -> Report:
    # What is not in the report is not there for the next run.
    report = Report(verdict=verdict, state=state)
    output.log("error", verdict.message)
    output.report(report)
    return report


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
    return _parsed(JobInput, text, variable=names.INPUT_ENV, what="a run's")


def _parsed(model: type[_Input], text: str, *, variable: str, what: str) -> _Input:
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in one['loc']) or 'input'}: {one['msg']}"
            for one in error.errors(include_input=False, include_url=False)
        )
        raise ConfigurationError(f"{variable} is not {what} input: {problems}") from None


def read_target(server: Server, *, root: Path) -> Target:
    """Return a probe's server with its certificates read from files.

    Raises
    ------
    ConfigurationError
        A file is missing, empty or unreadable; the message names it.
    """
    ca_pem, client = _certificates(names.PROBED_SERVER, server, root=root)
    login = _proxy_login(names.PROBED_SERVER, server, root=root)
    return Target(
        names.PROBED_SERVER,
        server,
        ca_pem=ca_pem,
        client_certificate=client,
        proxy_login=login,
        tunnel=TunnelEnd.of(names.PROBED_SERVER) if server.tunnel is not None else None,
    )


def read_endpoint(side: Side, account: MailAccount, *, root: Path) -> Endpoint:
    """Return one side with its secrets read from files.

    Raises
    ------
    ConfigurationError
        A file is missing, empty or unreadable; the message names it.
    """

    def read(path: str, what: str) -> bytes:
        return _read(path, what, party=side, root=root)

    login = _proxy_login(side, account, root=root)
    password = tokens = None
    if account.authentication.oauth2 is not None:
        tokens = _tokens(side, account, account.authentication.oauth2, read, proxy_login=login)
    elif account.authentication.secret_ref is not None:
        password = Password(read(names.password_path(side), "the password"))
    ca_pem, client = _certificates(side, account, root=root)
    return Endpoint(
        side,
        account,
        password,
        ca_pem=ca_pem,
        client_certificate=client,
        tokens=tokens,
        proxy_login=login,
        tunnel=TunnelEnd.of(side) if account.tunnel is not None else None,
    )


def _tokens(
    side: Side,
    account: MailAccount,
    oauth2: OAuth2,
    read: Callable[[str, str], bytes],
    *,
    proxy_login: ProxyLogin | None,
) -> Tokens:
    def part(wanted: SecretPart) -> bytes:
        # At each request anew: the kubelet brings a changed Secret into a running pod.
        return read(names.secret_path(side, wanted), f"the {wanted} of the login")

    for wanted in account.authentication.secret_keys:
        part(wanted)  # what is missing is said before anything is connected to
    ca_pem = None
    if oauth2.ca_ref is not None:
        ca = read(names.token_ca_path(side), "the CA certificates of the token endpoint")
        ca_pem = ca.decode("utf-8", "replace")
    proxy = proxy_url(account.proxy, proxy_login) if account.proxy is not None else None
    return Tokens(account, oauth2, part, side=side, ca_pem=ca_pem, proxy=proxy)


def _proxy_login(party: Party, server: Server, *, root: Path) -> ProxyLogin | None:
    if server.proxy is None or server.proxy.secret_ref is None:
        return None
    paths = names.proxy_username_path(party), names.proxy_password_path(party)
    what = "the user name for the proxy", "the password for the proxy"
    user, word = (
        _read(path, name, party=party, root=root) for path, name in zip(paths, what, strict=True)
    )
    return ProxyLogin.of(user, word, party=party)


def _certificates(
    party: Party, server: Server, *, root: Path
) -> tuple[str | None, ClientCertificate | None]:
    """Return what the policy's references stand for: CA certificates, and one of the client's."""

    def read(path: str, what: str) -> bytes:
        return _read(path, what, party=party, root=root)

    ca_pem = client = None
    policy = server.tls
    # Behind a tunnel they are the tunnel's business, and only its container has them.
    if server.tunnel is not None:
        return None, None
    if policy.ca_ref is not None:
        ca_pem = read(names.ca_path(party), "the CA certificates").decode("utf-8", "replace")
    if policy.client_certificate_ref is not None:
        client = ClientCertificate(
            read(names.client_certificate_path(party), "the client certificate"),
            read(names.client_key_path(party), "the key of the client certificate"),
        )
    return ca_pem, client


def _read(path: str, what: str, *, party: Party, root: Path) -> bytes:
    file = root / Path(path).relative_to(names.SECRETS_ROOT)
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"{what} of the {party} cannot be read from {file}: {error.strerror}", side=party
        ) from None
    if not data:
        raise ConfigurationError(f"{what} of the {party} is empty: {file}", side=party)
    return data


def stop_on_sigterm(stop: Stop) -> None:
    """Let SIGTERM and SIGINT end the run in order; the same one again ends it at once."""

    def request(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        stop.request()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, request)


if __name__ == "__main__":
    main()

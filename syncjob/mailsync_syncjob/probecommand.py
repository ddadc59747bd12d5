"""``mailsync probe``: what a server offers, whether it meets a policy, whether a login works."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path  # noqa: TC003  typer reads annotations
from typing import TYPE_CHECKING, Annotated, Final

import typer

from mailsync_api.endpoint import Mechanism, TLSMode, TLSVerify, TLSVersion
from mailsync_syncjob.commandline import manifest_text, worst
from mailsync_syncjob.deadline import Clock, Patience, Stop
from mailsync_syncjob.errors import UsageError
from mailsync_syncjob.job import stop_on_sigterm
from mailsync_syncjob.probe.arguments import Asked, make_target, manifest_targets
from mailsync_syncjob.probe.depth import find_advice, find_versions
from mailsync_syncjob.probe.report import make_report
from mailsync_syncjob.probe.show import show
from mailsync_syncjob.probe.survey import Survey
from mailsync_syncjob.probe.trace import Trace

if TYPE_CHECKING:
    from mailsync_api.exitcodes import ExitCode
    from mailsync_syncjob.credentials import Target
    from mailsync_syncjob.probe.report import ProbeReport

__all__ = ["probe", "probe_target"]

_SERVER: Final = "The server"
_TLS: Final = "The TLS policy, as in a manifest"
_LOGIN: Final = "Trying a login"
_SHOWN: Final = "What is shown"
_CONNECT_SECONDS: Final = 10.0
_ANSWER_SECONDS: Final = 10.0


class ProbeFormat(StrEnum):
    """How the result is shown."""

    AUTO = "auto"
    TEXT = "text"
    JSON = "json"


def probe(  # noqa: PLR0913  one parameter for each option
    context: typer.Context,
    host: Annotated[
        str | None,
        typer.Argument(metavar="HOST", help="Name or address; HOST:PORT and [IPv6]:PORT too."),
    ] = None,
    *,
    files: Annotated[
        list[str] | None,
        typer.Option(
            "-f",
            "--file",
            metavar="FILE",
            help="Instead of HOST: both servers of the MailSyncs in these manifests, by their own "
            "policies. - is standard input. May be given more than once.",
            rich_help_panel=_SERVER,
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Of those, only the MailSync NAME.", rich_help_panel=_SERVER
        ),
    ] = None,
    secrets: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Take what the files do not hold from DIR/<name of the Secret>/<key>.",
            rich_help_panel=_SERVER,
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=65535,
            help="Only this port; 993 and 143 by default.",
            rich_help_panel=_SERVER,
        ),
    ] = None,
    mode: Annotated[
        TLSMode,
        typer.Option(
            case_sensitive=False,
            help="When TLS has to start.",
            rich_help_panel=_TLS,
        ),
    ] = TLSMode.AUTO,
    verify: Annotated[
        TLSVerify,
        typer.Option(
            case_sensitive=False,
            help="What has to be right of the certificate.",
            rich_help_panel=_TLS,
        ),
    ] = TLSVerify.FULL,
    ca: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="CA certificates (PEM) to trust instead of the system's.",
            rich_help_panel=_TLS,
        ),
    ] = None,
    server_name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="The name in the certificate, if not HOST.", rich_help_panel=_TLS
        ),
    ] = None,
    min_version: Annotated[
        TLSVersion,
        typer.Option(
            case_sensitive=False, help="The oldest TLS version accepted.", rich_help_panel=_TLS
        ),
    ] = TLSVersion.TLS_1_2,
    max_version: Annotated[
        TLSVersion | None,
        typer.Option(
            case_sensitive=False, help="The newest TLS version offered.", rich_help_panel=_TLS
        ),
    ] = None,
    ciphers: Annotated[
        str | None,
        typer.Option(metavar="LIST", help="An OpenSSL cipher list.", rich_help_panel=_TLS),
    ] = None,
    security_level: Annotated[
        int,
        typer.Option(min=0, max=5, help="OpenSSL's security level.", rich_help_panel=_TLS),
    ] = 2,
    pin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HASH",
            help="SHA-256 of the server's public key, in base64. May be given more than once.",
            rich_help_panel=_TLS,
        ),
    ] = None,
    client_certificate: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="A certificate for this client (PEM).", rich_help_panel=_TLS
        ),
    ] = None,
    client_key: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Its key (PEM).", rich_help_panel=_TLS),
    ] = None,
    login: Annotated[
        str | None,
        typer.Option(
            metavar="USER",
            help="Log in as USER, once. The password is asked for on the terminal.",
            rich_help_panel=_LOGIN,
        ),
    ] = None,
    password_file: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Take the password from FILE, exactly as it is there, or from the first line of "
            "standard input (-). There is no option for the password itself: every user of the "
            "machine can read command lines, and the shell keeps them.",
            rich_help_panel=_LOGIN,
        ),
    ] = None,
    mechanism: Annotated[
        Mechanism,
        typer.Option(
            case_sensitive=False,
            help="How to log in.",
            rich_help_panel=_LOGIN,
        ),
    ] = Mechanism.AUTO,
    authorization_identity: Annotated[
        str | None,
        typer.Option(
            metavar="USER", help="Whose mailbox, if not USER's own.", rich_help_panel=_LOGIN
        ),
    ] = None,
    with_logins: Annotated[
        bool,
        typer.Option(
            "--with-logins",
            help="With -f: log in to each account as well, with the manifests' Secrets.",
            rich_help_panel=_LOGIN,
        ),
    ] = False,
    output: Annotated[
        ProbeFormat,
        typer.Option(
            "-o",
            "--output",
            case_sensitive=False,
            help="text is for people, json for programs; auto is text.",
            rich_help_panel=_SHOWN,
        ),
    ] = ProbeFormat.AUTO,
    trace: Annotated[
        bool,
        typer.Option(
            "--trace",
            help="Show the dialogue on standard error; what is said in a login is masked.",
            rich_help_panel=_SHOWN,
        ),
    ] = False,
    timeout: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            min=1,
            max=600,
            help="End after this time, whatever the server does.",
            rich_help_panel=_SHOWN,
        ),
    ] = 60,
) -> None:
    """Look at an IMAP server: is it reachable, how safe is it, what to write into the manifest.

    Connects as a run does, by the policy that the options describe, and says whether the server
    meets it. Then it looks at everything else that the server offers, certificates that were
    refused included, without saying anything on those connections.

    The exit code is 0 if the policy is met (and the login accepted), 64 for bad arguments, 69 if
    the server cannot be reached, 75 if it asks to wait, 76 if it is not as safe as demanded, 77 if
    it refuses the credentials, 78 if it offers no way to log in as demanded, 81 if it does not
    speak IMAP.
    """
    if (host is None) == (not files):
        raise UsageError("give either HOST or -f FILE")
    if host is not None:
        if name is not None or secrets is not None or with_logins:
            raise UsageError("--name, --secrets and --with-logins belong to -f FILE, not to HOST")
        asked = Asked(
            host=host,
            port=port,
            mode=mode,
            verify=verify,
            ca=ca,
            server_name=server_name,
            min_version=min_version,
            max_version=max_version,
            ciphers=ciphers,
            security_level=security_level,
            pins=tuple(pin or ()),
            client_certificate=client_certificate,
            client_key=client_key,
            login=login,
            password_file=password_file,
            mechanism=mechanism,
            authorization_identity=authorization_identity,
        )
        targets = [("", make_target(asked))]
    else:
        _only_for_host(context)
        targets = manifest_targets(
            [manifest_text(file) for file in files or ()],
            name=name,
            directory=secrets,
            with_logins=with_logins,
        )
    codes = [
        _probe_and_show(target, title=title, output=output, trace=trace, timeout=timeout)
        for title, target in targets
    ]
    sys.exit(int(worst(codes)))


def _only_for_host(context: typer.Context) -> None:
    """Refuse options that a manifest has an answer to; silence would look like obedience."""
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        panel = getattr(parameter, "rich_help_panel", None)
        of_host = parameter.name == "port" or panel in {_TLS, _LOGIN}
        # typer has its own copy of click's ParameterSource, which it does not export.
        given = source is not None and source.name == "COMMANDLINE"
        if of_host and given and parameter.name != "with_logins":
            raise UsageError(
                f"{parameter.opts[0]} belongs to HOST: with -f the manifest says what it is"
            )


def _probe_and_show(
    target: Target, *, title: str, output: ProbeFormat, trace: bool, timeout: float
) -> ExitCode:
    clock = Clock()
    stop = Stop(clock)
    stop_on_sigterm(stop)
    tap = Trace(sys.stderr, clock, secrets=lambda: target.masked_words) if trace else None
    report = probe_target(target, clock=clock, stop=stop, seconds=timeout, tap=tap)
    if output is ProbeFormat.JSON:
        sys.stdout.write(report.model_dump_json(by_alias=True, exclude_none=True) + "\n")
    else:
        if title:
            typer.echo(title)
        show(report, now=datetime.fromtimestamp(clock.time(), tz=UTC))
    return report.exit_code


def probe_target(
    target: Target, *, clock: Clock, stop: Stop, seconds: float, tap: Trace | None = None
) -> ProbeReport:
    """Find out everything about a server.

    Raises
    ------
    InterruptedRunError
        The probe was told to stop.
    """
    patience = Patience(
        connect=min(_CONNECT_SECONDS, seconds / 3),
        greeting=min(_ANSWER_SECONDS, seconds / 2),
        command=min(_ANSWER_SECONDS, seconds / 2),
    )
    survey = Survey(target, clock=clock, stop=stop, patience=patience, seconds=seconds, tap=tap)
    findings = survey.run()
    versions = find_versions(survey, findings)
    advice = find_advice(survey, findings, versions)
    now = datetime.fromtimestamp(clock.time(), tz=UTC)
    return make_report(findings, now=now, versions=versions, advice=advice)

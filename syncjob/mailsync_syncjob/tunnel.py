"""The tunnel in a pod's sidecar: configures stunnel by the server's policy and becomes it.

A tunnel that cannot start says why in a file, counts as started and waits for its end: the engine
then starts, reads the file and ends with it. A sidecar that failed would only hold up the pod.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from pydantic import ValidationError

from mailsync_api import names
from mailsync_api.endpoint import Side, TLSVerify
from mailsync_api.process import keep_memory_private
from mailsync_api.tunnel import TunnelInput
from mailsync_syncjob.clientcert import ClientCertificate
from mailsync_syncjob.errors import ConfigurationError
from mailsync_syncjob.tls import make_context
from mailsync_syncjob.tunnelconfig import TunnelFiles, stunnel_config

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["PROGRAMS", "main", "prepared", "refusal", "start"]

PROGRAMS: Final = ("stunnel4", "stunnel")
"""What stunnel is called: Debian's name, and everybody else's."""


def main() -> None:
    """Become stunnel, or say why not and wait to be told to end."""
    keep_memory_private()
    start(os.environ)
    # The first process of a container hears no signal that it does not ask for.
    wanted_signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, wanted_signals)
    signal.sigwait(wanted_signals)


def start(environment: Mapping[str, str]) -> None:
    """Become stunnel; return only if that cannot be, after saying why in the tunnel's file."""
    place = names.PROBED_SERVER
    try:
        wanted = _input(environment)
        place = wanted.place
        log = Path(names.tunnel_log_path(place))
        _check_last_start(log)
        program = _program()
        configuration = Path(names.tunnel_config_path(place))
        configuration.write_text(prepared(wanted), encoding="utf-8")
        _become(program, configuration, log=log)
    except ConfigurationError as error:
        sys.stderr.write(f"{error.message}\n")
        Path(names.tunnel_failure_path(place)).write_text(error.message, encoding="utf-8")
        Path(names.tunnel_ready_path(place)).write_text("failed\n", encoding="utf-8")


def prepared(wanted: TunnelInput, *, root: Path | None = None) -> str:
    """Return the configuration of a tunnel whose certificates can be used.

    They are looked at as the engine would, because stunnel's own words for them help nobody.

    Raises
    ------
    ConfigurationError
        They cannot; the message names the field.
    """
    place, policy = wanted.place, wanted.server.tls
    files = TunnelFiles(
        ready=Path(names.tunnel_ready_path(place)),
        ca=_file(names.ca_path(place), root) if policy.ca_ref else None,
        certificate=(
            _file(names.client_certificate_path(place), root)
            if policy.client_certificate_ref
            else None
        ),
        key=_file(names.client_key_path(place), root) if policy.client_certificate_ref else None,
    )
    client = None
    if files.certificate is not None and files.key is not None:
        client = ClientCertificate(_read(files.certificate), _read(files.key))
    ca_pem = None
    if files.ca is not None and policy.verify is not TLSVerify.NONE:
        ca_pem = _read(files.ca).decode("utf-8", "replace")
    # What a message calls the side; a probe's server has none.
    side = Side(place) if place in set(Side) else Side.SOURCE
    make_context(policy, ca_pem=ca_pem, side=side, client=client)
    return stunnel_config(wanted.server, files, port=names.tunnel_port(place))


def refusal(log: str) -> str:
    """Return why the last start of stunnel failed, by its log; empty if it did not."""
    last = log.rpartition("Configuration successful")[2]
    return "; ".join(line[3:].strip() for line in last.splitlines() if line.startswith("[!]"))


def _check_last_start(log: Path) -> None:
    if log.exists() and (why := refusal(log.read_text(encoding="utf-8", errors="replace"))):
        raise ConfigurationError(f"stunnel refuses its configuration: {why}")


def _input(environment: Mapping[str, str]) -> TunnelInput:
    try:
        return TunnelInput.model_validate_json(environment.get(names.TUNNEL_INPUT_ENV, ""))
    except ValidationError:
        raise ConfigurationError(
            f"{names.TUNNEL_INPUT_ENV} is not a tunnel's input: operator and image are of "
            "different releases"
        ) from None


def _program() -> str:
    for name in PROGRAMS:
        if (found := shutil.which(name)) is not None:
            return found
    raise ConfigurationError("the image has no stunnel: use the release's own image")


def _file(path: str, root: Path | None) -> Path:
    return (root or Path(names.SECRETS_ROOT)) / Path(path).relative_to(names.SECRETS_ROOT)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from None


def _become(program: str, configuration: Path, *, log: Path) -> NoReturn:
    """Replace this process by stunnel, whose words go to the log."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
    sys.stdout.flush()
    os.dup2(descriptor, 2)
    # The program and its one argument are this module's own; there is no shell.
    os.execv(program, [program, str(configuration)])  # noqa: S606


if __name__ == "__main__":
    main()

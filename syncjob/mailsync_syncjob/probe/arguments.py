"""From the command line of ``mailsync probe`` to the server or account that is probed."""

from __future__ import annotations

import getpass
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from mailsync_api import names
from mailsync_api.endpoint import (
    TOKEN_MECHANISMS,
    MailAccount,
    Mechanism,
    Server,
    TLSMode,
    TLSVerify,
    TLSVersion,
)
from mailsync_syncjob.clientcert import ClientCertificate
from mailsync_syncjob.commandline import STDIN
from mailsync_syncjob.credentials import Endpoint, Password, Target
from mailsync_syncjob.errors import UsageError
from mailsync_syncjob.manifests import load

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Asked", "make_target", "manifest_targets", "split_host"]

# What stands in the manifest for the files of the command line.
_CA_NAME: Final = "mail-ca"
_CLIENT_NAME: Final = "mail-client"
_PASSWORD_NAME: Final = "mail-password"  # noqa: S105  a Secret's name
_HOST: Final = re.compile(
    r"\[(?P<six>[^\]]*)\](?::(?P<p>\d{1,6}))?|(?P<host>[^:]*)(?::(?P<q>\d{1,6}))?"
)
_OPTIONS: Final = {
    "host": "HOST",
    "port": "--port",
    "tls.mode": "--mode",
    "tls.verify": "--verify",
    "tls.serverName": "--server-name",
    "tls.minVersion": "--min-version",
    "tls.maxVersion": "--max-version",
    "tls.ciphers": "--ciphers",
    "tls.securityLevel": "--security-level",
    "tls.pinnedSpkiSha256": "--pin",
    "username": "--login",
    "authentication.authorizationIdentity": "--authorization-identity",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for."""

    host: str
    port: int | None
    mode: TLSMode
    verify: TLSVerify
    ca: Path | None = None
    server_name: str | None = None
    min_version: TLSVersion = TLSVersion.TLS_1_2
    max_version: TLSVersion | None = None
    ciphers: str | None = None
    security_level: int = 2
    pins: tuple[str, ...] = ()
    client_certificate: Path | None = None
    client_key: Path | None = None
    login: str | None = None
    password_file: str | None = None
    mechanism: Mechanism = Mechanism.AUTO
    authorization_identity: str | None = None


def split_host(text: str) -> tuple[str, int | None]:
    """Return host and port of ``HOST``, ``HOST:PORT``, ``[IPv6]`` or ``[IPv6]:PORT``.

    Raises
    ------
    UsageError
        It is none of these.
    """
    if "://" in text:
        bare = text.partition("://")[2].rstrip("/")
        raise UsageError(
            f"HOST {text!r} is a URL: give the host alone ({bare}); --mode says how TLS starts"
        )
    if "@" in text:
        bare = text.rpartition("@")[2]
        raise UsageError(f"HOST {text!r} holds a user: give the host alone ({bare}), and --login")
    found = re.fullmatch(
        r"\[(?P<six>[^\]]*)\](?::(?P<p>\d+))?|(?P<host>[^:]*)(?::(?P<q>\d+))?", text
    )
    if found is None:
        if text.count(":") > 1 and "[" not in text:
            return text, None  # an IPv6 address as it is
        raise UsageError(f"HOST {text!r} is neither HOST, HOST:PORT nor [IPv6]:PORT")
    port = found["p"] or found["q"]
    return found["six"] or found["host"] or "", int(port) if port else None


def make_target(asked: Asked) -> Target:
    """Return the server, or the account where a login is asked for.

    Raises
    ------
    UsageError
        Something that was given cannot be used; the message names it.
    """
    host, port = split_host(asked.host)
    if port is not None and asked.port is not None and port != asked.port:
        raise UsageError(f"HOST says port {port} and --port says {asked.port}: give one of them")
    if (asked.client_certificate is None) != (asked.client_key is None):
        raise UsageError("--client-certificate and --client-key go together: give both")
    wire = {"host": host, "port": asked.port or port, "tls": _policy(asked)}
    ca_pem = _read(asked.ca, "--ca").decode("utf-8", "replace") if asked.ca else None
    client = None
    if asked.client_certificate is not None and asked.client_key is not None:
        client = ClientCertificate(
            _read(asked.client_certificate, "--client-certificate"),
            _read(asked.client_key, "--client-key"),
        )
    if asked.login is None:
        _no_login_options(asked)
        server = _valid(Server, wire)
        return Target(names.PROBED_SERVER, server, ca_pem=ca_pem, client_certificate=client)
    if asked.mechanism in TOKEN_MECHANISMS:
        raise UsageError(
            f"--mechanism {asked.mechanism} needs a token, and only a manifest can say how to get "
            "one: give the manifest with -f, and --with-logins"
        )
    external = asked.mechanism is Mechanism.EXTERNAL
    wire["username"] = asked.login
    wire["authentication"] = {
        "mechanism": asked.mechanism,
        "authorizationIdentity": asked.authorization_identity,
        "secretRef": None if external else {"name": _PASSWORD_NAME},
    }
    account = _valid(MailAccount, wire)
    password = None if external else _password(asked)
    return Endpoint(
        names.PROBED_SERVER, account, password, ca_pem=ca_pem, client_certificate=client
    )


def manifest_targets(
    texts: Sequence[tuple[str, str]],
    *,
    name: str | None,
    directory: Path | None,
    with_logins: bool,
) -> list[tuple[str, Target]]:
    """Return both servers of each MailSync, with a title.

    Raises
    ------
    ConfigurationError
        A manifest or a reference in it cannot be used; the message names it.
    """
    manifests = load(texts)
    chosen = [each for each in manifests.mailsyncs if name in {None, each.metadata.name}]
    if not chosen:
        known = ", ".join(each.metadata.name for each in manifests.mailsyncs)
        raise UsageError(f"--name {name}: the files hold no such MailSync, but {known}")
    found: list[tuple[str, Target]] = []
    for each in chosen:
        ends: Sequence[Target] = manifests.targets(each, directory=directory)
        if with_logins:
            both = manifests.endpoints(each, directory=directory)
            ends = (both.source, both.destination)
        found += [(f"{end.side} of {each.metadata.name}", end) for end in ends]
    return found


def _policy(asked: Asked) -> dict[str, Any]:
    tls: dict[str, Any] = {
        "mode": asked.mode,
        "verify": asked.verify,
        "serverName": asked.server_name,
        "minVersion": asked.min_version,
        "maxVersion": asked.max_version,
        "ciphers": asked.ciphers,
        "securityLevel": asked.security_level,
        "pinnedSpkiSha256": list(asked.pins),
    }
    if asked.ca is not None:
        tls["caRef"] = {"name": _CA_NAME}
    if asked.client_certificate is not None:
        tls["clientCertificateRef"] = {"name": _CLIENT_NAME}
    return tls


def _valid(model: type[Any], wire: dict[str, Any]) -> Any:  # noqa: ANN401  one of two models
    try:
        return model.model_validate(wire)
    except ValidationError as error:
        problems = [
            f"{_option(one['loc'])}: {one['msg'].removeprefix('Value error, ')}"
            for one in error.errors(include_url=False, include_input=False)
        ]
        raise UsageError("\n".join(problems)) from None


def _option(loc: tuple[int | str, ...]) -> str:
    path = ".".join(part for part in loc if isinstance(part, str))
    return _OPTIONS.get(path, path)


def _no_login_options(asked: Asked) -> None:
    given = {
        "--password-file": asked.password_file,
        "--authorization-identity": asked.authorization_identity,
        "--mechanism": None if asked.mechanism is Mechanism.AUTO else asked.mechanism,
    }
    for option, value in given.items():
        if value is not None:
            raise UsageError(f"{option} is for a login: give --login USER as well")


def _read(path: Path, option: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{option} {path}: {error.strerror}") from None


def _password(asked: Asked) -> Password:
    if asked.password_file == STDIN:
        # One line, as a pipe brings it; a file is taken as it is, because a Secret is.
        return Password(sys.stdin.buffer.readline().removesuffix(b"\n").removesuffix(b"\r"))
    if asked.password_file is not None:
        return Password(_read(Path(asked.password_file), "--password-file"))
    if not sys.stdin.isatty():
        raise UsageError(
            "there is no terminal to ask for the password on: give --password-file FILE, or - for "
            "standard input"
        )
    return Password(getpass.getpass(f"Password of {asked.login}: ").encode())

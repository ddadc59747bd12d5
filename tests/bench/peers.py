"""The tools that are timed: each is a command line that copies one account to another.

They are written ``NAME[:CONNECTIONS][@RUNS]``: ``mailsync:4``, ``bound:2``, ``offlineimap@1``.
``resumed`` is mailsync with its resume state.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from mailsync_api import names
from mailsync_api.report import ReportLine, parse_line
from tests.cluster.packages import ensure
from tests.cluster.shell import ToolingError
from tests.support.dovecot import Dovecot
from tests.support.engine import Account, Engine

__all__ = ["Peer", "Task", "tool"]

_IMAPSYNC_PACKAGES = (
    *("libmail-imapclient-perl", "libencode-imaputf7-perl", "libfile-copy-recursive-perl"),
    *("libio-tee-perl", "libterm-readkey-perl", "libunicode-string-perl", "libreadonly-perl"),
    *("libsys-meminfo-perl", "libregexp-common-perl", "libfile-tail-perl"),
    *("libcrypt-openssl-rsa-perl", "libdata-uniqid-perl", "libjson-webtoken-perl"),
    *("libproc-processtable-perl", "libdigest-hmac-perl", "libio-socket-ssl-perl"),
    *("libio-socket-inet6-perl", "libnet-dns-perl", "libcgi-pm-perl", "libauthen-ntlm-perl"),
    *("liblwp-online-perl", "libhtml-parser-perl"),
)


@dataclass(frozen=True, slots=True)
class Task:
    """What a tool is asked to do.

    Attributes
    ----------
    folder
        Empty the first time; kept for the second run of the same copy.
    destination_server
        Where ``doveadm`` writes without IMAP.
    """

    folder: Path
    source: Account
    destination: Account
    destination_server: Dovecot

    @property
    def clear(self) -> bool:
        """Whether both sides are spoken to without TLS."""
        return bool(self.source.tls["mode"] == "None")


@dataclass(frozen=True, slots=True)
class Peer:
    """A tool.

    Attributes
    ----------
    prepare
        Writes what the tool reads and returns its command line and environment.
    accepted
        Exit codes of a run that did its work.
    times_itself
        Whether the seconds are what it prints, because it prepares much more than it does.
    copies
        Whether it copies at all.
    runs
        How often it runs at most.
    keep
        Keeps what its next run on the same mailbox needs of what it has printed.
    """

    name: str
    prepare: Callable[[Task], tuple[list[str], Mapping[str, str]]]
    accepted: frozenset[int] = frozenset({0})
    times_itself: bool = False
    copies: bool = True
    runs: int | None = None
    keep: Callable[[Task, bytes], None] = lambda _task, _said: None


def tool(text: str, environment: Mapping[str, str]) -> Peer | None:
    """Return what is written like this; None for imapsync where ``IMAPSYNC`` does not name it.

    Raises
    ------
    ToolingError
        It is written like nothing there is, or cannot be installed.
    """
    words, _, runs = text.partition("@")
    name, _, connections = words.partition(":")
    found = _TOOLS.get(name)
    if found is None:
        raise ToolingError(f"{text!r} is no tool: there are {', '.join(_TOOLS)}")
    if name == "imapsync" and not environment.get("IMAPSYNC"):
        return None
    packages = _PACKAGES.get(name)
    if packages:
        ensure(*packages)
    peer = found(int(connections or 1))
    return replace(peer, runs=int(runs)) if runs else peer


def _plural(connections: int) -> str:
    return "1 connection" if connections == 1 else f"{connections} connections"


def _start() -> Peer:
    """Return Python's start with the engine's imports, which is a part of each of its runs."""
    code = "import mailsync_syncjob.job"
    return Peer(
        "start-up alone", lambda _: ([sys.executable, "-c", code], os.environ), copies=False
    )


def _mailsync(connections: int) -> Peer:
    def prepare(task: Task) -> tuple[list[str], Mapping[str, str]]:
        engine = Engine(task.folder, task.source, task.destination, connections=connections)
        return [sys.executable, "-m", "mailsync_syncjob.job"], engine.environment

    return Peer(f"mailsync, {_plural(connections)}", prepare)


def _resumed(connections: int) -> Peer:
    """Return the engine with what the operator gives to its next run."""

    def keep(task: Task, said: bytes) -> None:
        lines = [parse_line(line) for line in said.decode("utf-8").splitlines()]
        (state,) = (line.report.state for line in lines if isinstance(line, ReportLine))
        path = task.folder / names.STATE_VOLUME / names.STATE_FILE_NAME
        path.parent.mkdir(exist_ok=True)
        path.write_text(state or "", encoding="ascii")

    plain = _mailsync(connections)
    return replace(plain, name=f"{plain.name}, resume state", keep=keep)


def _bound(connections: int) -> Peer:
    """Return the raw bound, which times its storing alone."""

    def prepare(task: Task) -> tuple[list[str], Mapping[str, str]]:
        sides = {"source": task.source, "destination": task.destination}
        text = {
            side: {
                "host": account.host,
                "port": account.port,
                "user": account.user,
                "password": account.password,
                "ca_pem": "" if task.clear else account.ca_pem,
            }
            for side, account in sides.items()
        }
        path = task.folder / "task.json"
        path.write_text(json.dumps({**text, "connections": connections}), encoding="utf-8")
        return [sys.executable, "-m", "tests.bench.bound", str(path)], os.environ

    return Peer(f"raw bound, {_plural(connections)}", prepare, times_itself=True)


def _mbsync(task: Task) -> tuple[list[str], Mapping[str, str]]:
    text = "".join(
        f"""IMAPAccount {name}
Host {account.host}
Port {account.port}
User {account.user}
Pass {account.password}
SSLType {"None" if task.clear else "IMAPS"}
CertificateFile {_ca(task.folder, name, account)}
AuthMechs PLAIN

IMAPStore {name}
Account {name}

"""
        for name, account in (("source", task.source), ("destination", task.destination))
    )
    text += f"""Channel all
Far :source:
Near :destination:
Patterns *
Create Near
Sync Pull
CopyArrivalDate yes
SyncState {task.folder}/
"""
    configuration = task.folder / "mbsyncrc"
    configuration.write_text(text, encoding="utf-8")
    return ["mbsync", "--quiet", "--config", str(configuration), "all"], os.environ


def _doveadm(task: Task) -> tuple[list[str], Mapping[str, str]]:
    """Copy with the destination's own tool: it writes the files itself, without IMAP."""
    options = {
        "imapc_host": task.source.host,
        "imapc_port": str(task.source.port),
        "imapc_user": task.source.user,
        "imapc_password": task.source.password,
        "imapc_features": "rfc822.size fetch-headers",
        "mail_prefetch_count": "20",
    }
    if not task.clear:
        # It has put on the mail user's rights by the time it reads this.
        authority = _ca(task.destination_server.directory, "source", task.source)
        options |= {"imapc_ssl": "imaps", "ssl_client_ca_file": str(authority)}
    command = ["/usr/bin/doveadm", "-c", str(task.destination_server.configuration)]
    for name, value in options.items():
        command += ["-o", f"{name}={value}"]
    return [*command, "backup", "-R", "-u", task.destination.user, "imapc:"], os.environ


def _offlineimap(task: Task) -> tuple[list[str], Mapping[str, str]]:
    text = f"""[general]
accounts = bench
ui = quiet
metadata = {task.folder}/metadata

[Account bench]
localrepository = destination
remoterepository = source

"""
    for name, account in (("destination", task.destination), ("source", task.source)):
        password = task.folder / f"{name}.password"
        password.write_text(f"{account.password}\n", encoding="utf-8")
        text += f"""[Repository {name}]
type = IMAP
remotehost = {account.host}
remoteport = {account.port}
remoteuser = {account.user}
remotepassfile = {password}
auth_mechanisms = PLAIN
ssl = {"no" if task.clear else "yes"}
starttls = no
sslcacertfile = {_ca(task.folder, name, account)}
{"readonly = True" if name == "source" else ""}

"""
    configuration = task.folder / "offlineimaprc"
    configuration.write_text(text, encoding="utf-8")
    return ["offlineimap", "-o", "-c", str(configuration)], os.environ


def _imapsync(task: Task) -> tuple[list[str], Mapping[str, str]]:
    command = [
        "perl",
        os.environ["IMAPSYNC"],
        "--nolog",
        "--noreleasecheck",
        "--tmpdir",
        str(task.folder),
    ]
    command += ["--noemailreport1", "--noemailreport2"]
    for number, account in ((1, task.source), (2, task.destination)):
        password = task.folder / f"password{number}"
        password.write_text(f"{account.password}\n", encoding="utf-8")
        command += [
            *(f"--host{number}", account.host, f"--port{number}", str(account.port)),
            *(f"--user{number}", account.user, f"--passfile{number}", str(password)),
            f"--notls{number}" if task.clear else f"--ssl{number}",
        ]
    return command, os.environ


def _ca(folder: Path, name: str, account: Account) -> Path:
    path = folder / f"{name}.pem"
    path.write_text(account.ca_pem, encoding="utf-8")
    return path


_TOOLS: Final[Mapping[str, Callable[[int], Peer]]] = {
    "start": lambda _: _start(),
    "mailsync": _mailsync,
    "resumed": _resumed,
    "bound": _bound,
    "mbsync": lambda _: Peer("mbsync", _mbsync),
    "doveadm": lambda _: Peer("doveadm backup", _doveadm),
    "offlineimap": lambda _: Peer("offlineimap", _offlineimap),
    "imapsync": lambda _: Peer("imapsync", _imapsync),
}
_PACKAGES: Final = {
    "mbsync": ("isync",),
    "offlineimap": ("offlineimap3",),
    "imapsync": _IMAPSYNC_PACKAGES,
}

"""The tools that are timed: each is a command line that copies one account to another."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.packages import ensure
from tests.support.dovecot import Dovecot
from tests.support.engine import Account, Engine

__all__ = ["Peer", "Task", "peers"]

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
    """

    name: str
    prepare: Callable[[Task], tuple[list[str], Mapping[str, str]]]
    accepted: frozenset[int] = frozenset({0})


def peers(environment: Mapping[str, str]) -> list[Peer]:
    """Return the engine and what it is measured against; imapsync where ``IMAPSYNC`` names it."""
    ensure("isync")
    found = [Peer("mailsync", _mailsync), Peer("mbsync", _mbsync), Peer("doveadm", _doveadm)]
    script = environment.get("IMAPSYNC", "")
    if script:
        ensure(*_IMAPSYNC_PACKAGES)
        found.append(Peer("imapsync", lambda task: _imapsync(script, task)))
    return found


def _mailsync(task: Task) -> tuple[list[str], Mapping[str, str]]:
    engine = Engine(task.folder, task.source, task.destination)
    return [sys.executable, "-m", "mailsync_syncjob.job"], engine.environment


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
        authority = _ca(task.folder, "source", task.source)
        options |= {"imapc_ssl": "imaps", "ssl_client_ca_file": str(authority)}
    command = ["/usr/bin/doveadm", "-c", str(task.destination_server.configuration)]
    for name, value in options.items():
        command += ["-o", f"{name}={value}"]
    return [*command, "backup", "-R", "-u", task.destination.user, "imapc:"], os.environ


def _imapsync(script: str, task: Task) -> tuple[list[str], Mapping[str, str]]:
    command = ["perl", script, "--nolog", "--noreleasecheck", "--tmpdir", str(task.folder)]
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

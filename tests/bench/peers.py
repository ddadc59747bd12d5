"""The tools that are timed: each is a command line that copies one account to another."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.packages import ensure
from tests.support.engine import Account, Engine

__all__ = ["Peer", "peers"]


@dataclass(frozen=True, slots=True)
class Peer:
    """A tool.

    Attributes
    ----------
    prepare
        Writes what the tool reads into an empty folder and returns its command line and
        environment for copying the first account to the second.
    accepted
        Exit codes of a run that did its work.
    """

    name: str
    prepare: Callable[[Path, Account, Account], tuple[list[str], Mapping[str, str]]]
    accepted: frozenset[int] = frozenset({0})


def peers(environment: Mapping[str, str]) -> list[Peer]:
    """Return the engine and what it is measured against; imapsync where ``IMAPSYNC`` names it."""
    ensure("isync")
    found = [Peer("mailsync", _mailsync), Peer("mbsync", _mbsync)]
    script = environment.get("IMAPSYNC", "")
    if script:

        def imapsync(
            folder: Path, source: Account, destination: Account
        ) -> tuple[list[str], Mapping[str, str]]:
            return _imapsync(script, folder, source, destination)

        found.append(Peer("imapsync", imapsync))
    return found


def _mailsync(
    folder: Path, source: Account, destination: Account
) -> tuple[list[str], Mapping[str, str]]:
    engine = Engine(folder, source, destination)
    return [sys.executable, "-m", "mailsync_syncjob.job"], engine.environment


def _mbsync(
    folder: Path, source: Account, destination: Account
) -> tuple[list[str], Mapping[str, str]]:
    text = "".join(
        f"""IMAPAccount {name}
Host {account.host}
Port {account.port}
User {account.user}
Pass {account.password}
SSLType IMAPS
CertificateFile {_ca(folder, name, account)}
AuthMechs PLAIN

IMAPStore {name}
Account {name}

"""
        for name, account in (("source", source), ("destination", destination))
    )
    text += f"""Channel all
Far :source:
Near :destination:
Patterns *
Create Near
Sync Pull
CopyArrivalDate yes
SyncState {folder}/
"""
    configuration = folder / "mbsyncrc"
    configuration.write_text(text, encoding="utf-8")
    return ["mbsync", "--quiet", "--config", str(configuration), "all"], os.environ


def _imapsync(
    script: str, folder: Path, source: Account, destination: Account
) -> tuple[list[str], Mapping[str, str]]:
    command = ["perl", script, "--nolog", "--noreleasecheck", "--tmpdir", str(folder)]
    command += ["--noemailreport1", "--noemailreport2"]
    for number, account in ((1, source), (2, destination)):
        password = folder / f"password{number}"
        password.write_text(f"{account.password}\n", encoding="utf-8")
        command += [
            f"--host{number}", account.host, f"--port{number}", str(account.port), f"--ssl{number}",
            f"--user{number}", account.user, f"--passfile{number}", str(password),
        ]  # fmt: skip
    return command, os.environ


def _ca(folder: Path, name: str, account: Account) -> Path:
    path = folder / f"{name}.pem"
    path.write_text(account.ca_pem, encoding="utf-8")
    return path

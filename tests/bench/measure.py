"""Running tools in turns on one pair of servers, and what came of it."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from tests.bench.corpus import Mailbox, corpus
from tests.bench.delay import delayed
from tests.bench.peers import Peer, Task
from tests.bench.profiles import recorder
from tests.bench.variants import Variant
from tests.cluster.shell import ToolingError, step
from tests.support.checker import Found, compare_found, read_mailbox
from tests.support.dovecot import HOST, Dovecot, Settings, run_dovecot
from tests.support.engine import Account
from tests.support.mailbox import load
from tests.support.memory import watched_memory

__all__ = ["Figures", "Sources", "measure", "profile", "settings"]

_PASSWORD = "bench"
_KINDS: Final = {
    "missing": "with other bytes",
    "flags": "with other flags",
    "date": "with another date",
    "folder": "folders of one side only",
}
_Folders = Mapping[tuple[str, ...], list[Found]]


@dataclass(slots=True)
class Figures:
    """What one tool's runs gave: seconds, its own CPU's seconds, MiB, the checker's last word."""

    name: str
    first: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    again: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    exact: str = ""
    copies: bool = True


def settings(*users: str, masked: Sequence[str] = ()) -> Settings:
    """Return a server for these accounts."""
    # mbsync looks for the address it connects to in the common name, which is the first of these.
    return Settings(
        users=dict.fromkeys(users, _PASSWORD),
        names=(HOST, "localhost"),
        clear_text_logins=True,
        mail_location="maildir",
        masked=tuple(masked),
    )


class Sources:
    """The mailboxes to copy, on one server, each loaded when it is first asked for."""

    def __init__(self, server: Dovecot, mailboxes: Mapping[Mailbox, str]) -> None:
        self.server = server
        self._users = mailboxes
        self._found: dict[Mailbox, _Folders] = {}

    def user(self, mailbox: Mailbox) -> str:
        """Return the account that has this mailbox."""
        if mailbox not in self._found:
            user = self._users[mailbox]
            with step(f"a mailbox of {mailbox.messages} messages"):
                _fill(self.server, user, mailbox)
                with self.server.login(user, _PASSWORD) as session:
                    self._found[mailbox] = read_mailbox(session)
        return self._users[mailbox]

    def found(self, mailbox: Mailbox) -> _Folders:
        """Return what the independent checker has read of it."""
        self.user(mailbox)
        return self._found[mailbox]


def measure(
    variant: Variant, tools: Sequence[Peer], sources: Sources, *, runs: int
) -> list[Figures]:
    """Let the tools take turns; each starts at an empty account."""
    figures = [Figures(tool.name, copies=tool.copies) for tool in tools]
    users = [[f"tool{number}run{run}" for run in range(runs)] for number in range(len(tools))]
    with _ready(variant, sources, [one for each in users for one in each]) as tasks:
        for run in range(runs):
            for number, tool in enumerate(tools):
                if run >= (tool.runs or runs):
                    continue
                title = f"{variant.name}, run {run + 1} of {tool.runs or runs}: {tool.name}"
                with step(title), _task(tasks, users[number][run]) as task:
                    _copy(tool, task, figures[number], again=variant.again)
                    if tool.copies:
                        figures[number].exact = _verdict(sources.found(variant.mailbox), task)
    return figures


def profile(variant: Variant, tool: Peer, sources: Sources, *, folder: Path) -> dict[str, Path]:
    """Run a tool once more with a profiler at its side; return what it wrote, by title."""
    folder.mkdir(parents=True, exist_ok=True)
    titles = ["first copy", "again"] if variant.again else ["first copy"]
    files = {title: folder / f"{variant.name}-{title.replace(' ', '-')}.txt" for title in titles}
    with _ready(variant, sources, ["profiled"]) as tasks, _task(tasks, "profiled") as task:
        for title, path in files.items():
            with step(f"{variant.name}, profile of {tool.name}: {title}"):
                _run(tool, task, before=recorder(path))
    return files


@contextmanager
def _ready(variant: Variant, sources: Sources, users: Sequence[str]) -> Iterator[Task]:
    """Have the mailbox, a destination with these accounts and the links; gives the task of all."""
    user = sources.user(variant.mailbox)
    with ExitStack() as stack:
        destination = stack.enter_context(run_dovecot(settings(*users, masked=variant.masked)))
        here, there = (_account(stack, variant, one) for one in (sources.server, destination))
        yield Task(destination.directory, replace(here, user=user), there, destination)


@contextmanager
def _task(tasks: Task, user: str) -> Iterator[Task]:
    """Give the task for one account, which is emptied after it."""
    with tempfile.TemporaryDirectory() as folder:
        account = replace(tasks.destination, user=user)
        yield replace(tasks, folder=Path(folder), destination=account)
    # What the next one has to do must not depend on what this one has left.
    home = tasks.destination_server.directory / "home" / user
    shutil.rmtree(home, ignore_errors=True)


def _account(stack: ExitStack, variant: Variant, server: Dovecot) -> Account:
    """Return any account of a server, behind its link."""
    account = Account.at(server, "", _PASSWORD, mode="Implicit" if variant.tls else "None")
    if not variant.milliseconds:
        return account
    link = delayed((account.host, account.port), milliseconds=variant.milliseconds)
    return replace(account, port=stack.enter_context(link))


def _copy(tool: Peer, task: Task, figures: Figures, *, again: bool) -> None:
    once = _run(tool, task)
    figures.first.append(once.seconds)
    figures.cpu.append(once.cpu)
    figures.memory.append(once.memory)
    if again and tool.copies and not tool.times_itself:
        figures.again.append(_run(tool, task).seconds)


@dataclass(frozen=True, slots=True)
class _Once:
    """What one run took; memory in MiB."""

    seconds: float
    cpu: float
    memory: float


def _run(tool: Peer, task: Task, *, before: Sequence[str] = ()) -> _Once:
    command, environment = tool.prepare(task)
    os.sync()  # so that nobody waits for what another has written
    with tempfile.TemporaryFile() as output:
        began = time.monotonic()
        process = subprocess.Popen(
            [*before, *command], env=dict(environment), stdout=output, stderr=subprocess.STDOUT
        )
        with watched_memory(process.pid) as peak:
            _, status, used = os.wait4(process.pid, 0)
            seconds = time.monotonic() - began
            process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        said = output.read()
    if process.returncode not in tool.accepted:
        words = said[-2000:].decode("utf-8", "replace")
        raise ToolingError(f"{tool.name} ended with {process.returncode}: {words}")
    tool.keep(task, said)
    seconds = float(said) if tool.times_itself else seconds
    return _Once(seconds, used.ru_utime + used.ru_stime, peak.mib)


def _verdict(here: _Folders, task: Task) -> str:
    """Return what the independent checker says of the copy."""
    with task.destination_server.login(task.destination.user, _PASSWORD) as session:
        there = read_mailbox(session)
    differences = compare_found(here, there)
    if not differences:
        return "yes"
    missing = _count(here) - _count(there)
    # A message with other bytes is missing here and extra there.
    kinds = Counter(_KINDS.get(one.kind, one.kind) for one in differences if one.kind != "extra")
    kinds[_KINDS["missing"]] -= max(missing, 0)
    words = [f"{missing} missing"] if missing else []
    return f"no: {', '.join([*words, *(f'{n} {kind}' for kind, n in kinds.items() if n > 0)])}"


def _count(folders: _Folders) -> int:
    return sum(len(messages) for messages in folders.values())


def _fill(server: Dovecot, user: str, mailbox: Mailbox) -> None:
    """Load the mailbox, in a process of its own, which gives its memory back."""

    def work() -> None:
        with server.login(user, _PASSWORD) as session:
            load(session, corpus(mailbox))

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join()
    if process.exitcode != 0:
        raise ToolingError(f"the mailbox could not be loaded into {server.host}:{server.port}")

"""``make bench``: the engine beside its peers, alternating in one run, as ratios.

Timing is never asserted: the table is for people, and ratios of one run carry from machine to
machine where seconds do not.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.corpus import Sizes, corpus
from tests.bench.peers import Peer, Task, peers
from tests.cluster.shell import ToolingError, say, step
from tests.support.checker import compare_mailboxes, count_messages
from tests.support.dovecot import HOST, Dovecot, Settings, run_dovecot
from tests.support.engine import Account
from tests.support.mailbox import load
from tests.support.memory import watched_memory

_PASSWORD = "bench"
_SOURCE_USER = "source"


@dataclass
class Figures:
    """What one tool's runs gave."""

    first: list[float] = field(default_factory=list)
    again: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    exact: str = ""


def main() -> int:
    """Run the benchmark and print a Markdown table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=main.__doc__)
    parser.add_argument("--messages", type=int, default=5000, help="in the mailbox (%(default)s)")
    parser.add_argument("--median", type=float, default=Sizes().median, help="bytes (%(default)s)")
    parser.add_argument("--runs", type=int, default=3, help="of each tool (%(default)s)")
    parser.add_argument("--tls", action="store_true", help="on both sides, instead of clear text")
    parser.add_argument(
        "--mask", default="", help="capabilities that the destination does not announce"
    )
    parser.add_argument("--tools", default="", help="comma-separated; all by default")
    options = parser.parse_args()
    try:
        print(_bench(options))
    except ToolingError as error:
        say(f"error: {error}")
        return 1
    return 0


def _bench(options: argparse.Namespace) -> str:
    names = [name for name in options.tools.split(",") if name]
    tools = [tool for tool in peers(os.environ) if not names or tool.name in names]
    # An account for each copy: each starts at an empty destination.
    users = [f"{tool.name}{run}" for run in range(options.runs) for tool in tools]
    masked = tuple(word for word in options.mask.split(",") if word)
    with (
        run_dovecot(_settings(_SOURCE_USER)) as source,
        run_dovecot(_settings(*users, masked=masked)) as destination,
    ):
        sizes = Sizes(median=options.median)
        size = sum(len(one.body) for one in corpus(count=options.messages, sizes=sizes))
        with step(f"a mailbox of {options.messages} messages, {size / 1e6:.0f} MB"):
            _fill(source, count=options.messages, sizes=sizes)
        figures = {tool.name: Figures() for tool in tools}
        for run in range(options.runs):
            for tool in tools:
                with tempfile.TemporaryDirectory() as folder, step(f"run {run + 1}: {tool.name}"):
                    user = f"{tool.name}{run}"
                    task = _task(Path(folder), source, destination, user, tls=options.tls)
                    _measure(tool, task, figures[tool.name])
                    figures[tool.name].exact = _verdict(source, destination, user)
    return _table(options, figures, size=size)


def _fill(source: Dovecot, *, count: int, sizes: Sizes) -> None:
    """Load the mailbox, in a process of its own, which gives its memory back."""

    def work() -> None:
        with source.login(_SOURCE_USER, _PASSWORD) as session:
            load(session, corpus(count=count, sizes=sizes))

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join()
    if process.exitcode != 0:
        raise ToolingError(f"the mailbox could not be loaded into {source.host}:{source.port}")


def _settings(*users: str, masked: Sequence[str] = ()) -> Settings:
    # mbsync looks for the address it connects to in the common name, which is the first of these.
    return Settings(
        users=dict.fromkeys(users, _PASSWORD),
        names=(HOST, "localhost"),
        clear_text_logins=True,
        mail_location="maildir",
        masked=tuple(masked),
    )


def _task(folder: Path, source: Dovecot, destination: Dovecot, user: str, *, tls: bool) -> Task:
    mode = "Implicit" if tls else "None"
    return Task(
        folder,
        Account.at(source, _SOURCE_USER, _PASSWORD, mode=mode),
        Account.at(destination, user, _PASSWORD, mode=mode),
        destination,
    )


def _measure(tool: Peer, task: Task, figures: Figures) -> None:
    seconds, memory = _run(tool, task)
    figures.first.append(seconds)
    figures.memory.append(memory)
    figures.again.append(_run(tool, task)[0])


def _run(tool: Peer, task: Task) -> tuple[float, float]:
    """Return the seconds it took and the most memory it had, in MiB."""
    command, environment = tool.prepare(task)
    with tempfile.TemporaryFile() as output:
        began = time.monotonic()
        process = subprocess.Popen(
            command, env=dict(environment), stdout=output, stderr=subprocess.STDOUT
        )
        with watched_memory(process.pid) as peak:
            process.wait()
            seconds = time.monotonic() - began
        if process.returncode not in tool.accepted:
            output.seek(0)
            said = output.read()[-2000:].decode("utf-8", "replace")
            raise ToolingError(f"{tool.name} ended with {process.returncode}: {said}")
    return seconds, peak.mib


def _verdict(source: Dovecot, destination: Dovecot, user: str) -> str:
    """Return what the independent checker says of the copy."""
    with (
        source.login(_SOURCE_USER, _PASSWORD) as here,
        destination.login(user, _PASSWORD) as there,
    ):
        differences = compare_mailboxes(here, there)
        missing = count_messages(here) - count_messages(there)
    return "yes" if not differences else f"no: {len(differences)} differences, {missing} missing"


def _table(options: argparse.Namespace, figures: dict[str, Figures], *, size: int) -> str:
    ours = next(iter(figures.values()))
    base, base_again = statistics.median(ours.first), statistics.median(ours.again)
    rows = [
        f"| {name} | {statistics.median(one.first):.2f} | {statistics.median(one.first) / base:.1f}"
        f" | {statistics.median(one.again):.2f} | {statistics.median(one.again) / base_again:.1f}"
        f" | {statistics.median(one.memory):.0f} | {one.exact} |"
        for name, one in figures.items()
    ]
    masked = f", destination without {options.mask}" if options.mask else ""
    load_average = os.getloadavg()[2]
    return "\n".join(
        [
            f"{options.messages} messages, {size / 1e6:.0f} MB, "
            f"{'TLS' if options.tls else 'clear text'} on both sides{masked}, loopback, maildir, "
            f"median of {options.runs} runs; {os.cpu_count()} cores with a load of "
            f"{load_average:.1f} in the last 15 minutes, Python {platform.python_version()}.",
            "",
            "| tool | first copy, s | ratio | again, s | ratio | memory, MiB | identical |",
            "|---|---|---|---|---|---|---|",
            *rows,
        ]
    )


if __name__ == "__main__":
    sys.exit(main())

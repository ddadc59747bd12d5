"""``make bench``: the engine beside its peers, alternating in one run, as ratios.

Timing is never asserted: the table is for people, and ratios of one run carry from machine to
machine where seconds do not.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.peers import Peer, peers
from tests.cluster.shell import ToolingError, say, step
from tests.support.checker import compare_mailboxes, count_messages
from tests.support.dovecot import HOST, Dovecot, Settings, run_dovecot
from tests.support.engine import Account
from tests.support.mailbox import generate, load

_PASSWORD = "bench"
_SOURCE_USER = "source"


def main() -> int:
    """Run the benchmark and print a Markdown table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=main.__doc__)
    parser.add_argument("--messages", type=int, default=1000, help="in the mailbox (%(default)s)")
    parser.add_argument("--runs", type=int, default=3, help="of each tool (%(default)s)")
    options = parser.parse_args()
    try:
        print(_bench(messages=options.messages, runs=options.runs))
    except ToolingError as error:
        say(f"error: {error}")
        return 1
    return 0


def _bench(*, messages: int, runs: int) -> str:
    tools = peers(os.environ)
    # An account for each copy: each starts at an empty destination.
    users = [f"{tool.name}{run}" for run in range(runs) for tool in tools]
    with (
        run_dovecot(_settings(_SOURCE_USER)) as source,
        run_dovecot(_settings(*users)) as destination,
    ):
        with (
            step(f"a mailbox of {messages} messages"),
            source.login(_SOURCE_USER, _PASSWORD) as session,
        ):
            load(session, generate(count=messages))
        first: dict[str, list[float]] = {tool.name: [] for tool in tools}
        again: dict[str, list[float]] = {tool.name: [] for tool in tools}
        exact: dict[str, str] = {}
        for run in range(runs):
            for tool in tools:
                user = f"{tool.name}{run}"
                with tempfile.TemporaryDirectory() as folder, step(f"run {run + 1}: {tool.name}"):
                    pair = _accounts(source, destination, user)
                    first[tool.name].append(_timed(tool, Path(folder), *pair))
                    exact[tool.name] = _verdict(source, destination, user)
                    again[tool.name].append(_timed(tool, Path(folder), *pair))
    return _table(messages=messages, runs=runs, first=first, again=again, exact=exact)


def _settings(*users: str) -> Settings:
    # mbsync looks for the address it connects to in the common name, which is the first of these.
    return Settings(users=dict.fromkeys(users, _PASSWORD), names=(HOST, "localhost"))


def _accounts(source: Dovecot, destination: Dovecot, user: str) -> tuple[Account, Account]:
    return Account.at(source, _SOURCE_USER, _PASSWORD), Account.at(destination, user, _PASSWORD)


def _timed(tool: Peer, folder: Path, source: Account, destination: Account) -> float:
    command, environment = tool.prepare(folder, source, destination)
    began = time.monotonic()
    done = subprocess.run(
        command, env=dict(environment), capture_output=True, text=True, check=False
    )
    seconds = time.monotonic() - began
    if done.returncode not in tool.accepted:
        said = (done.stdout + done.stderr)[-2000:]
        raise ToolingError(f"{tool.name} ended with {done.returncode}: {said}")
    return seconds


def _verdict(source: Dovecot, destination: Dovecot, user: str) -> str:
    """Return what the independent checker says of the copy."""
    with (
        source.login(_SOURCE_USER, _PASSWORD) as here,
        destination.login(user, _PASSWORD) as there,
    ):
        differences = compare_mailboxes(here, there)
        missing = count_messages(here) - count_messages(there)
    return "yes" if not differences else f"no: {len(differences)} differences, {missing} missing"


def _table(
    *,
    messages: int,
    runs: int,
    first: dict[str, list[float]],
    again: dict[str, list[float]],
    exact: dict[str, str],
) -> str:
    ours, ours_again = (statistics.median(each["mailsync"]) for each in (first, again))
    rows = [
        f"| {name} | {statistics.median(seconds):.2f} | {statistics.median(seconds) / ours:.2f} "
        f"| {statistics.median(again[name]):.2f} "
        f"| {statistics.median(again[name]) / ours_again:.2f} | {exact[name]} |"
        for name, seconds in first.items()
    ]
    return "\n".join(
        [
            f"{messages} messages, TLS on both sides, loopback, median of {runs} runs; "
            f"{os.cpu_count()} cores, Python {platform.python_version()}.",
            "",
            "| tool | first copy, s | ratio | again, s | ratio | identical |",
            "|---|---|---|---|---|---|",
            *rows,
        ]
    )


if __name__ == "__main__":
    sys.exit(main())

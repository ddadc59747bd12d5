"""``python -m tests.bench.growth``: what one folder costs as it grows, in time and in memory.

The messages come from a generated mailbox (``tests.bench.generated``), so that a million of them
need no disk. Times are CPU time of the engine's process above that of a run with one message: they
hardly change with what else the machine does.
"""

from __future__ import annotations

import argparse
import math
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.bench.generated import generated
from tests.bench.tables import machine, replaced
from tests.cluster.shell import ToolingError, say, step
from tests.support.engine import Account, Engine
from tests.support.memory import watched_memory

_SIZES: Final = (10_000, 100_000)
_MILLION: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Case:
    """What the destination has of the source, and what is done about it."""

    title: str
    every: int
    """It has every so-manieth message; none for 0."""
    job: dict[str, Any] = field(default_factory=dict)

    def there(self, count: int) -> range:
        """Return the numbers of the messages at the destination."""
        return range(1, count + 1, self.every) if self.every else range(0)


CASES: Final = (
    Case("nothing there, compared", 0, {"mode": "DryRun"}),
    Case("every other one there, compared", 2, {"mode": "DryRun"}),
    Case("nothing new", 1),
    Case("every other one there, the rest copied", 2),
)


@dataclass(frozen=True, slots=True)
class Cost:
    """What a run took."""

    seconds: float
    """Of CPU."""
    mib: float
    """The most memory the process had."""


def main() -> int:
    """Measure the growth of a folder's cost, and print it as a Markdown table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.growth", description=__doc__)
    add = parser.add_argument
    add("--sizes", type=_sizes, default=_SIZES, help="messages, comma-separated (10000,100000)")
    add("--million", action="store_true", help="a million as well; about ten minutes")
    add("--write", type=Path, metavar="PAGE", help="put the table into this page too")
    options = parser.parse_args()
    sizes = [*options.sizes, *([_MILLION] if options.million else [])]
    try:
        text = _measured(sizes)
    except ToolingError as error:
        say(f"error: {error}")
        return 1
    print(text)
    if options.write is not None:
        page = options.write.read_text(encoding="utf-8")
        options.write.write_text(replaced(page, "growth", text), encoding="utf-8")
    return 0


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split(","))


def _measured(sizes: Sequence[int]) -> str:
    with step("a run with one message"):
        start = run(CASES[2], 1)
    rows = []
    for case in CASES:
        before: tuple[int, float] | None = None
        for size in sizes:
            with step(f"{case.title}: {size} messages"):
                cost = run(case, size)
            seconds = max(cost.seconds - start.seconds, 0.01)
            rows.append(row(case, size, seconds, mib=cost.mib, before=before))
            before = size, seconds
    return "\n".join(
        [
            f"{machine()}; load {os.getloadavg()[2]:.1f}. With one message the process has "
            f"{start.mib:.0f} MiB and takes {start.seconds:.2f} s of CPU, "
            "which the table leaves out of the times.",
            "",
            "| one folder | messages | CPU, s | µs a message | exponent | memory, MiB |",
            "|---|---|---|---|---|---|",
            *rows,
        ]
    )


def row(
    case: Case, size: int, seconds: float, *, mib: float, before: tuple[int, float] | None
) -> str:
    """Return a line of the table; the exponent is that of the growth since the size before."""
    exponent = ""
    if before is not None:
        old_size, old_seconds = before
        exponent = f"{math.log(seconds / old_seconds) / math.log(size / old_size):.2f}"
    return (
        f"| {case.title} | {size:,} | {seconds:.2f} | {seconds / size * 1e6:.0f} | {exponent} | "
        f"{mib:.0f} |"
    )


def run(case: Case, count: int) -> Cost:
    """Run the engine on generated mailboxes.

    Raises
    ------
    ToolingError
        It failed.
    """
    with generated(range(1, count + 1)) as source, generated(case.there(count)) as destination:
        return _run(source, destination, case.job)


def _run(source: Account, destination: Account, job: dict[str, Any]) -> Cost:
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as output:
        engine = Engine(Path(folder), source, destination, **job)
        before = _children()
        process = subprocess.Popen(
            [sys.executable, "-m", "mailsync_syncjob.job"],
            env=engine.environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        with watched_memory(process.pid) as peak:
            process.wait()
        seconds = _children() - before
        output.seek(0)
        said = output.read()[-2000:].decode("utf-8", "replace")
    if process.returncode != 0:
        raise ToolingError(f"the engine ended with {process.returncode}: {said}")
    return Cost(seconds, peak.mib)


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    sys.exit(main())

"""Figures as Markdown, and where they stand in a page."""

from __future__ import annotations

import os
import platform
import re
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.bench.measure import Figures
from tests.bench.variants import Variant

__all__ = ["machine", "replaced", "summary", "table"]

_HEAD: Final = (
    *("tool", "first copy, s", "ratio", "own CPU, s"),
    *("again, s", "ratio", "memory, MiB", "identical"),
)
_VERSIONS: Final = (
    *(("Dovecot", ("dovecot", "--version")), ("mbsync", ("mbsync", "--version"))),
    ("offlineimap", ("offlineimap", "--version")),
)


def table(variant: Variant, figures: Sequence[Figures], *, runs: int) -> str:
    """Return what was measured: conditions, a row for each tool, what is to be read from it."""
    ours = next(one for one in figures if one.copies)
    lines = [
        f"{variant.title}: {_conditions(variant, runs=runs)}.",
        "",
        f"| {' | '.join(_HEAD)} |",
        f"|{'---|' * len(_HEAD)}",
        *(_row(one, ours) for one in figures),
    ]
    start = next((one for one in figures if not one.copies), None)
    if start is not None:
        own = (one for one in figures if one.name.startswith(ours.name.partition(",")[0]))
        lines += ["", "Above start-up alone:", "", *(_above(start, one) for one in own)]
    return "\n".join(lines)


def summary(results: Mapping[str, Sequence[Figures]]) -> str:
    """Return how many times as long as the engine each tool took for its first copies."""
    ours = {name: next(one for one in each if one.copies) for name, each in results.items()}
    tools = dict.fromkeys(
        one.name
        for name, each in results.items()
        for one in each
        if one.copies and one.name != ours[name].name
    )
    lines = [f"| | {' | '.join(tools)} |", f"|---|{'---|' * len(tools)}"]
    for name, each in results.items():
        ratios = {one.name: _times(one.first, ours[name].first) for one in each}
        lines.append(f"| {name} | {' | '.join(ratios.get(tool, '') for tool in tools)} |")
    return "\n".join(lines)


def _conditions(variant: Variant, *, runs: int) -> str:
    mailbox = variant.mailbox
    words = [f"{mailbox.messages} messages"]
    if not mailbox.sigma:
        words[0] += f" of {mailbox.median / 1000:.3g} KB"
    if mailbox.extra:
        words.append(f"one more of {mailbox.extra / 1e6:.0f} MB")
    words.append("TLS" if variant.tls else "clear text")
    if variant.milliseconds:
        words.append(f"{variant.milliseconds:g} ms to each side")
    if variant.masked:
        words.append(f"destination without {' and '.join(variant.masked)}")
    load = os.getloadavg()
    words.append(f"median of {runs} runs, load {load[0]:.1f} afterwards")
    return ", ".join(words)


def _row(one: Figures, ours: Figures) -> str:
    cells = [one.name + (f" ({len(one.first)} run)" if len(one.first) < len(ours.first) else "")]
    cells += [_seconds(one.first), _times(one.first, ours.first) if one.copies else ""]
    # Of a raw bound it would be mostly what it prepares.
    cells.append("" if one.name.startswith("raw bound") else _seconds(one.cpu))
    cells += [_seconds(one.again), _times(one.again, ours.again)]
    cells += [f"{statistics.median(one.memory):.0f}", one.exact]
    return f"| {' | '.join(cells)} |"


def _seconds(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f}" if values else ""


def _times(mine: Sequence[float], theirs: Sequence[float]) -> str:
    if not mine or not theirs:
        return ""
    return f"{statistics.median(mine) / statistics.median(theirs):.2f}"


def _above(start: Figures, ours: Figures) -> str:
    seconds = statistics.median(start.first)
    words = [f"first copy {statistics.median(ours.first) - seconds:.2f} s"]
    if ours.again:
        words.append(f"again {statistics.median(ours.again) - seconds:.2f} s")
    memory = statistics.median(ours.memory) - statistics.median(start.memory)
    words.append(f"memory {memory:.0f} MiB")
    return f"- {ours.name}: {', '.join(words)}"


def machine() -> str:
    """Return what it was measured on, and with."""
    cpu = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    words = [
        f"{cpu[1].strip() if cpu else platform.machine()}, {os.cpu_count()} cores",
        f"Linux {platform.release().partition('-')[0]}",
        f"Python {platform.python_version()}",
        *(f"{name} {found}" for name, command in _VERSIONS if (found := _version(command))),
    ]
    if os.environ.get("IMAPSYNC"):
        words.append(f"imapsync {_version(('perl', os.environ['IMAPSYNC'], '--version'))}")
    return ", ".join(words)


def _version(command: Sequence[str]) -> str:
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    except FileNotFoundError:
        return ""
    found = re.search(r"\d+(\.\d+)+", result.stdout + result.stderr)
    return found[0] if found else ""


def replaced(page: str, name: str, text: str) -> str:
    """Return a page with this text between ``<!-- bench: NAME -->`` and ``<!-- bench: end -->``.

    Raises
    ------
    ValueError
        The page has no such place.
    """
    begin, end = f"<!-- bench: {name} -->", "<!-- bench: end -->"
    head, found, rest = page.partition(begin)
    _, ended, tail = rest.partition(end)
    if not found or not ended:
        raise ValueError(f"no place for {name}: it is what stands between {begin} and {end}")
    return f"{head}{begin}\n{text}\n{end}{tail}"

"""``make bench``: the engine beside its peers, alternating in one run, as ratios.

Timing is never asserted: the tables are for people, and ratios of one run carry from machine to
machine where seconds do not.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path

from tests.bench.corpus import Mailbox
from tests.bench.measure import Figures, Sources, measure, profile, settings
from tests.bench.peers import Peer, tool
from tests.bench.profiles import Profile
from tests.bench.tables import machine, replaced, summary, table
from tests.bench.variants import SETS, VARIANTS, Variant
from tests.cluster.shell import ToolingError, say, step
from tests.support.dovecot import run_dovecot


def main() -> int:
    """Measure, and print a Markdown table for each variant."""
    options = _parser().parse_args()
    try:
        if options.list:
            print(_listed())
        else:
            _bench(options)
    except (ToolingError, ValueError) as error:
        say(f"error: {error}")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=main.__doc__)
    add = parser.add_argument
    add("--list", action="store_true", help="show the variants and sets, and measure nothing")
    add("--set", choices=SETS, default="full", help="of variants (%(default)s)")
    add("--variants", type=_words, help="comma-separated, instead of a set")
    add("--runs", type=int, default=3, help="of each tool (%(default)s)")
    add("--write", type=Path, metavar="PAGE", help="put the tables into this page too")
    add("--profile", type=Path, metavar="FOLDER", help="keep profiles of the engine there as well")
    group = parser.add_argument_group("instead of what the variants say")
    group.add_argument("--tools", type=_words, help="comma-separated, as --list shows them")
    group.add_argument("--messages", type=int, help="in the mailbox")
    group.add_argument("--median", type=float, help="of the sizes, bytes")
    group.add_argument("--tls", action=argparse.BooleanOptionalAction, help="on both sides")
    group.add_argument("--milliseconds", type=float, help="the round trip to each side")
    group.add_argument(
        "--mask", type=_words, help="capabilities that the destination does not announce"
    )
    group.add_argument(
        "--again", action=argparse.BooleanOptionalAction, help="a second run of each, nothing new"
    )
    return parser


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in text.split(",") if word)


def _listed() -> str:
    lines = [
        f"{name}: {variant.title}; {', '.join(variant.tools)}; {variant.minutes:g} min"
        for name, variant in VARIANTS.items()
    ]
    for name, members in SETS.items():
        lines.append(f"--set {name} ({_minutes(members):g} min): {', '.join(members)}")
    return "\n".join(lines)


def _minutes(names: tuple[str, ...]) -> float:
    return sum(VARIANTS[name].minutes for name in names)


def _bench(options: argparse.Namespace) -> None:
    names = options.variants or SETS[options.set]
    unknown = [name for name in names if name not in VARIANTS]
    if unknown:
        raise ToolingError(f"no variants: {', '.join(unknown)}; --list shows those there are")
    variants = [_changed(VARIANTS[name], options) for name in names]
    say(f"{len(variants)} variants, {options.runs} runs: about {_minutes(names):g} min with all "
        "tools and three runs")  # fmt: skip
    tools = {variant.name: _tools(variant) for variant in variants}
    each = dict.fromkeys(variant.mailbox for variant in variants)
    mailboxes = {mailbox: f"source{number}" for number, mailbox in enumerate(each)}
    _result(options, "machine", f"{machine()}; load {os.getloadavg()[2]:.1f} before.")
    results: dict[str, list[Figures]] = {}
    with run_dovecot(settings(*mailboxes.values())) as server:
        sources = Sources(server, mailboxes)
        for variant in variants:
            with step(variant.title):
                figures = measure(variant, tools[variant.name], sources, runs=options.runs)
            results[variant.name] = figures
            _result(options, variant.name, table(variant, figures, runs=options.runs))
            if options.profile is not None:
                ours = next(each for each in tools[variant.name] if each.copies)
                files = profile(variant, ours, sources, folder=options.profile)
                for title, path in files.items():
                    with path.open(encoding="utf-8") as lines:
                        print(f"{path}, {title}. {Profile.of(lines).table()}\n", flush=True)
    if options.variants is None and options.set != "rest":
        _result(options, "summary", summary(results))


def _changed(variant: Variant, options: argparse.Namespace) -> Variant:
    given = {
        "tools": options.tools,
        "tls": options.tls,
        "milliseconds": options.milliseconds,
        "masked": options.mask,
        "again": options.again,
    }
    sizes = {"messages": options.messages, "median": options.median}
    mailbox: Mailbox = replace(
        variant.mailbox, **{name: value for name, value in sizes.items() if value is not None}
    )
    changed = {name: value for name, value in given.items() if value is not None}
    return replace(variant, mailbox=mailbox, **changed)


def _tools(variant: Variant) -> list[Peer]:
    found = {text: tool(text, os.environ) for text in variant.tools}
    for text in (text for text, each in found.items() if each is None):
        say(f"{variant.name}: without {text}, as IMAPSYNC=/path/to/imapsync is not given")
    return [each for each in found.values() if each is not None]


def _result(options: argparse.Namespace, name: str, text: str) -> None:
    """Print a result as soon as it is there, and put it into the page."""
    print(f"{text}\n", flush=True)
    if options.write is not None:
        page = options.write.read_text(encoding="utf-8")
        options.write.write_text(replaced(page, name, text), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())

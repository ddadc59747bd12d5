"""All tests, with what they need set up before and taken down after: ``python -m tests.run``."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

from tests.cluster.packages import ensure
from tests.cluster.providers import provider
from tests.cluster.shell import ToolingError, say, step
from tests.images.build import build
from tests.support import authorization, courier, cyrus

__all__ = ["GROUPS", "main", "selection"]

GROUPS = ("servers", "crash", "faults", "cluster")
"""The groups of tests that need more than Python, and that may be left out by name."""

_SERVERS = ("dovecot-imapd", "microsocks", "tinyproxy", "stunnel4")


def selection(skipped: set[str]) -> str:
    """Return pytest's expression for all tests but the skipped groups.

    Raises
    ------
    ToolingError
        A name is not that of a group.
    """
    unknown = skipped - set(GROUPS)
    if unknown:
        raise ToolingError(
            f"SKIP={','.join(sorted(unknown))}: there is no such group of tests, "
            f"choose from {', '.join(GROUPS)}"
        )
    # Timings are no tests: `make bench` runs them.
    return " and ".join(f"not {group}" for group in ["bench", *sorted(skipped)])


def main(arguments: list[str] | None = None) -> int:
    """Set up, run pytest, take down what was started; other arguments are pytest's."""
    parser = argparse.ArgumentParser(prog="python -m tests.run", description=main.__doc__)
    parser.add_argument("--skip", default="", help=f"comma-separated, of {', '.join(GROUPS)}")
    options, rest = parser.parse_known_args(arguments)
    skipped = {name for name in options.skip.split(",") if name}
    try:
        expression = selection(skipped)
        return _run(skipped, ["-m", expression, "--durations=10", *rest])
    except ToolingError as error:
        say(f"error: {error}")
        return 2


def _run(skipped: set[str], arguments: list[str]) -> int:
    if not {"servers", "crash", "faults"} <= skipped:
        ensure(*_SERVERS)
    if "servers" not in skipped:
        authorization.install()
        cyrus.prepare()
        courier.prepare()
    if "cluster" in skipped:
        return _pytest(arguments)
    cluster = provider()
    keep = os.environ.get("KEEP_CLUSTER", "") not in {"", "0"}
    # A cluster that was there before is somebody's: it stays.
    found = any(component.healthy for component in cluster.status())
    say(f"cluster ({cluster.name}): {'is up' if found else 'starting it for these tests'}")
    try:
        cluster.up()
        build()
        return _pytest(arguments)
    finally:
        if not found and not keep:
            with step("taking the cluster down (KEEP_CLUSTER=1 keeps it)"):
                cluster.down()


def _pytest(arguments: list[str]) -> int:
    command = [sys.executable, "-m", "pytest", *arguments]
    # The arguments are this project's own and the caller's.
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())

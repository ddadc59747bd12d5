"""Running programs with visible progress and errors that say what failed."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = ["CommandError", "ToolingError", "elapsed", "run", "say", "step"]

_SHOWN_LINES = 40


class ToolingError(Exception):
    """The machine or the user must change something; the message says what. No traceback is due."""


class CommandError(ToolingError):
    """A program could not be started, took too long, or ended with a code other than 0.

    Attributes
    ----------
    returncode
        The program's exit code; 127 when it was not found, 124 when it ran out of time.
    output
        What it wrote, standard output before standard error; empty when it was not captured.
    """

    def __init__(self, arguments: Sequence[str], returncode: int, *, output: str) -> None:
        lines = output.strip().splitlines()
        shown = lines[-_SHOWN_LINES:]
        if len(shown) < len(lines):
            shown.insert(0, f"... {len(lines) - len(shown)} lines before")
        text = f"`{shlex.join(arguments)}` ended with {returncode}"
        super().__init__("\n".join([text, *(f"    {line}" for line in shown)]))
        self.returncode = returncode
        self.output = output


def run(
    arguments: Sequence[object],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    quiet: bool = True,
    check: bool = True,
    stdin: str | None = None,
    timeout: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end.

    Parameters
    ----------
    arguments
        The program and its arguments, strings or paths; there is no shell in between.
    env
        Variables added to the current environment.
    quiet
        Captures both output streams (in ``stdout`` and ``stderr`` of the result) and shows them
        only in the error; False lets them through to the terminal.
    check
        Raises when the program ends with another code than 0.
    stdin
        Text for its standard input; empty by default, so that nothing ever waits for a terminal.
    timeout
        Seconds.

    Raises
    ------
    CommandError
        The program was not found, ran out of time, or failed while ``check`` is set.
    """
    words = [str(argument) for argument in arguments]
    try:
        # The programs run here are named by this project's own test code.
        result = subprocess.run(
            words,
            cwd=cwd,
            env={**os.environ, **env} if env else None,
            input=stdin if stdin is not None else "",
            capture_output=quiet,
            text=True,
            errors="replace",
            check=False,
            timeout=timeout,
        )
    except FileNotFoundError as error:
        raise CommandError(words, 127, output=str(error)) from error
    except subprocess.TimeoutExpired as error:
        output = f"not finished after {timeout} s"
        raise CommandError(words, 124, output=output) from error
    if check and result.returncode != 0:
        output = (result.stdout or "") + (result.stderr or "")
        raise CommandError(words, result.returncode, output=output)
    return result


def say(text: str) -> None:
    """Print one line of progress, at once, on standard error: standard output is for results."""
    print(text, file=sys.stderr, flush=True)


def elapsed(seconds: float) -> str:
    """Render a duration for people: ``0.4 s``, ``12 s``, ``3 min 05 s``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest:02d} s"


@contextlib.contextmanager
def step(text: str) -> Iterator[None]:
    """Show that a step started, then how long it took or that it failed."""
    say(f"  · {text} ...")
    start = time.monotonic()
    try:
        yield
    except BaseException:
        say(f"  ✗ {text} (failed after {elapsed(time.monotonic() - start)})")
        raise
    say(f"  ✓ {text} ({elapsed(time.monotonic() - start)})")

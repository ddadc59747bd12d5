"""What the commands share: manifests from files, and one exit code of several."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mailsync_api.exitcodes import ExitCode, RetryClass, exit_info
from mailsync_syncjob.errors import ConfigurationError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["STDIN", "manifest_text", "worst"]

STDIN: Final = "-"
"""What stands for standard input where a file is named."""


def manifest_text(name: str) -> tuple[str, str]:
    """Return what to call a file in messages, and its text.

    Raises
    ------
    UsageError, ConfigurationError
        It cannot be read, or is no text.
    """
    try:
        if name == STDIN:
            return "standard input", sys.stdin.read()
        return name, Path(name).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ConfigurationError(f"{name}: not UTF-8 text") from None
    except OSError as error:
        raise UsageError(f"-f {name}: {error.strerror}") from None


def worst(codes: Sequence[ExitCode]) -> ExitCode:
    """Return the code that needs a person most; of equal ones the highest."""
    order = (RetryClass.DONE, RetryClass.THROTTLED, RetryClass.BACKOFF, RetryClass.PERSON)
    ranked = sorted(codes, key=lambda code: (order.index(exit_info(code).retry), code))
    return ranked[-1] if ranked else ExitCode.DONE

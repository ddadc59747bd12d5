"""The file with the resume state: read with care, written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from typing import TYPE_CHECKING

from mailsync_api.state import STATE_BYTES, StateUnusableError, parse_state, state_subject
from mailsync_syncjob.ledger import Ledger

if TYPE_CHECKING:
    from pathlib import Path

    from mailsync_api.job import JobInput
    from mailsync_api.state import FolderNumbers
    from mailsync_syncjob.output import Output

__all__ = ["kept_state", "read_ledger", "write_state"]


def read_ledger(path: Path, job: JobInput, *, output: Output) -> Ledger:
    """Return what the last run left in a file; without one, or with an unusable one, nothing.

    Never fails: the worst that can happen is a comparison in full.
    """
    subject = state_subject(job)
    folders: dict[str, FolderNumbers] = {}
    try:
        with path.open("rb") as file:
            folders = parse_state(file.read(STATE_BYTES + 1), subject=subject)
    except FileNotFoundError:
        pass  # the first run
    except OSError as error:
        _say_unused(output, path, error.strerror or "it cannot be read")
    except StateUnusableError as error:
        _say_unused(output, path, str(error))
    return Ledger(subject, folders)


def kept_state(path: Path) -> str | None:
    """Return what a file holds, for a run that cannot use it but has to pass it on."""
    try:
        with path.open(encoding="ascii") as file:
            text = file.read(STATE_BYTES + 1)
    except (OSError, UnicodeDecodeError):
        return None
    return text if len(text) <= STATE_BYTES else None


def _say_unused(output: Output, path: Path, why: str) -> None:
    output.log(
        "warning",
        f"the resume state in {path} is not used ({why}); both mailboxes are compared in full",
    )


def write_state(path: Path, text: str) -> None:
    """Write a state in place of the old one, which stays until the new one is safely there.

    Raises
    ------
    OSError
        It cannot be written; the old one is as it was.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)  # noqa: PTH105  one call, whatever the name is
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)  # noqa: PTH108  as above
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)  # the new name too must outlast a power cut
    finally:
        os.close(directory)

"""What a run's end is called. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailsync_api.conditions import Reason
from mailsync_api.exitcodes import EXIT_TABLE, ExitCode
from mailsync_api.report import Verdict
from mailsync_syncjob.errors import crash_message
from mailsync_syncjob.party import side_of

if TYPE_CHECKING:
    from mailsync_api.report import Totals
    from mailsync_syncjob.errors import EngineError

__all__ = ["crashed", "done", "failed"]


def done(totals: Totals, *, dry_run: bool) -> Verdict:
    """Return the verdict of a run that came to its end."""
    verb = "to copy" if dry_run else "copied"
    words = (
        f"{totals.copied} messages {verb}, {totals.already_present} already there, "
        f"{totals.skipped} skipped, in {totals.folders} folders"
    )
    if not totals.skipped:
        return Verdict(exit_code=ExitCode.DONE, reason=Reason.COMPLETED, message=words)
    return Verdict(
        exit_code=ExitCode.SKIPPED_ITEMS,
        reason=EXIT_TABLE[ExitCode.SKIPPED_ITEMS].reason,
        message=f"{words}; the report names each skipped message and why",
    )


def failed(error: EngineError) -> Verdict:
    """Return the verdict of a run that this ended."""
    return Verdict(
        exit_code=error.exit_code,
        reason=error.reason,
        message=error.message[:1024],
        side=side_of(error.side),
        retry_after_seconds=error.retry_after_seconds,
    )


def crashed(error: Exception) -> Verdict:
    """Return the verdict of a run that a fault of the engine ended."""
    return Verdict(
        exit_code=ExitCode.INTERNAL, reason=Reason.INTERNAL_ERROR, message=crash_message(error)
    )

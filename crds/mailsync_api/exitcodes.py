"""The one table of exit codes: meaning, who can help, what the Job does, what the condition says.

The numbers follow BSD's sysexits where one fits (64 usage, 69 unavailable, 70 software, 73 cannot
create, 74 input/output, 75 temporary failure, 77 permission, 78 configuration); 143 is a shell's
128 + SIGTERM.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Final

from mailsync_api.conditions import Reason

__all__ = [
    "EXIT_TABLE",
    "ExitCode",
    "ExitInfo",
    "PodFailureAction",
    "RetryClass",
    "exit_info",
    "fail_job_codes",
]


class ExitCode(IntEnum):
    """How a run of the engine ended."""

    DONE = 0
    USAGE = 64
    SKIPPED_ITEMS = 65
    UNREACHABLE = 69
    INTERNAL = 70
    OVER_QUOTA = 73
    CONNECTION_LOST = 74
    THROTTLED = 75
    TLS_POLICY = 76
    CREDENTIALS = 77
    CONFIGURATION = 78
    LOCKED = 79
    SAFETY_STOP = 80
    PROTOCOL = 81
    TERMINATED = 143


class RetryClass(StrEnum):
    """Who can help after this exit code."""

    DONE = "Done"
    """Nothing to do."""
    BACKOFF = "Backoff"
    """Time may help: run again after a growing delay."""
    THROTTLED = "Throttled"
    """The server asked to wait: run again after ``retryAfterSeconds``."""
    PERSON = "Person"
    """Only a person can help: the MailSync is stalled until its spec or trigger changes."""


class PodFailureAction(StrEnum):
    """What the Job's podFailurePolicy does with a pod that ended so."""

    NONE = "None"
    FAIL_JOB = "FailJob"
    COUNT = "Count"


@dataclass(frozen=True, slots=True)
class ExitInfo:
    """One row of the table."""

    code: ExitCode
    meaning: str
    retry: RetryClass
    action: PodFailureAction
    reason: Reason


def _rows() -> tuple[ExitInfo, ...]:
    c, r, a, reason = ExitCode, RetryClass, PodFailureAction, Reason
    return (
        ExitInfo(c.DONE, "done", r.DONE, a.NONE, reason.COMPLETED),
        ExitInfo(c.USAGE, "bad arguments", r.PERSON, a.FAIL_JOB, reason.INVALID_ARGUMENTS),
        ExitInfo(
            c.SKIPPED_ITEMS,
            "more messages were skipped than allowed",
            r.PERSON,
            a.FAIL_JOB,
            reason.SKIPPED_ITEMS,
        ),
        ExitInfo(
            c.UNREACHABLE,
            "a server could not be reached (name, connection or time-out)",
            r.BACKOFF,
            a.COUNT,
            reason.UNREACHABLE,
        ),
        ExitInfo(c.INTERNAL, "an error of the engine", r.BACKOFF, a.COUNT, reason.INTERNAL_ERROR),
        ExitInfo(
            c.OVER_QUOTA,
            "the destination mailbox is over its quota",
            r.PERSON,
            a.FAIL_JOB,
            reason.DESTINATION_OVER_QUOTA,
        ),
        ExitInfo(
            c.CONNECTION_LOST,
            "the connection was lost and could not be made again",
            r.BACKOFF,
            a.COUNT,
            reason.CONNECTION_LOST,
        ),
        ExitInfo(
            c.THROTTLED, "the server asked to wait", r.THROTTLED, a.FAIL_JOB, reason.THROTTLED
        ),
        ExitInfo(
            c.TLS_POLICY,
            "the TLS policy is not met or a certificate was refused",
            r.PERSON,
            a.FAIL_JOB,
            reason.TLS_POLICY_NOT_MET,
        ),
        ExitInfo(
            c.CREDENTIALS,
            "a server refused the credentials",
            r.PERSON,
            a.FAIL_JOB,
            reason.CREDENTIALS_REFUSED,
        ),
        ExitInfo(
            c.CONFIGURATION,
            "the manifest cannot be carried out",
            r.PERSON,
            a.FAIL_JOB,
            reason.INVALID_CONFIGURATION,
        ),
        ExitInfo(
            c.LOCKED,
            "another run has the mailbox",
            r.BACKOFF,
            a.FAIL_JOB,
            reason.MAILBOX_LOCKED,
        ),
        ExitInfo(
            c.SAFETY_STOP,
            "a safety interlock stopped the run",
            r.PERSON,
            a.FAIL_JOB,
            reason.SAFETY_STOP,
        ),
        ExitInfo(
            c.PROTOCOL,
            "a server broke the IMAP protocol",
            r.PERSON,
            a.FAIL_JOB,
            reason.PROTOCOL_VIOLATION,
        ),
        ExitInfo(c.TERMINATED, "stopped by SIGTERM", r.BACKOFF, a.COUNT, reason.INTERRUPTED),
    )


EXIT_TABLE: Final = MappingProxyType({row.code: row for row in _rows()})
"""All exit codes; the order is that of the numbers."""


def exit_info(code: int) -> ExitInfo:
    """Return the row of an exit code; one that is not ours (137 for SIGKILL, say) counts as 70."""
    try:
        return EXIT_TABLE[ExitCode(code)]
    except ValueError:
        return EXIT_TABLE[ExitCode.INTERNAL]


def fail_job_codes() -> tuple[int, ...]:
    """Return the exit codes after which another attempt in the same Job is pointless."""
    return tuple(
        int(row.code) for row in EXIT_TABLE.values() if row.action is PodFailureAction.FAIL_JOB
    )

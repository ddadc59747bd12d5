"""What a decision may ask for. Each action may be repeated: the second time it does nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from mailsync_api.status import CurrentRun, MailSyncStatus

__all__ = [
    "Action",
    "CollectReport",
    "CreateJob",
    "Decision",
    "DeleteJob",
    "SetJobLifetime",
    "SuspendJob",
]


@dataclass(frozen=True, slots=True)
class CreateJob:
    """Create the Job of a run; its name is the run's, so it can exist only once."""

    run: CurrentRun
    spec_hash: str


@dataclass(frozen=True, slots=True)
class SuspendJob:
    """Stop a Job's pod, or let it go on."""

    name: str
    suspend: bool


@dataclass(frozen=True, slots=True)
class DeleteJob:
    """Delete a finished Job with its pods."""

    name: str


@dataclass(frozen=True, slots=True)
class SetJobLifetime:
    """Let a finished Job be deleted so many seconds after its end."""

    name: str
    seconds: int


@dataclass(frozen=True, slots=True)
class CollectReport:
    """Keep the report in this pod's log as a ConfigMap."""

    pod: str
    run: int


Action: TypeAlias = CreateJob | SuspendJob | DeleteJob | SetJobLifetime | CollectReport


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do, what to show, and when to look again."""

    actions: tuple[Action, ...]
    status: MailSyncStatus | None
    """None leaves the status alone."""
    requeue_after: float | None
    """In seconds; None waits for the next event."""

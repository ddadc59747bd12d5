"""What a Job's pod is told: the resolved spec of one run, without any secret."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from mailsync_api.allowance import allowance
from mailsync_api.base import ApiModel
from mailsync_api.endpoint import MailAccount, Side
from mailsync_api.limits import Pace, Terms, resolve
from mailsync_api.presets import DEFAULT_CONNECTIONS
from mailsync_api.spec import Accounts, FolderSelection, MailSyncSpec, Mode
from mailsync_api.status import CopiedBytes, RunType

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["JobInput", "job_input"]


class JobInput(ApiModel):
    """The input of one run of the engine.

    Passwords and CA certificates are not in it: they are read from the files that
    ``names.password_path`` and ``names.ca_path`` give, or from the manifest's Secrets stand-alone.
    """

    namespace: Annotated[str, Field(max_length=63)]
    """The MailSync's namespace."""
    name: Annotated[str, Field(max_length=253)]
    """The MailSync's name."""
    run: Annotated[int, Field(ge=1)] = 1
    """The run's number."""
    run_type: RunType = RunType.INITIAL
    """Initial or Delta."""
    source: MailAccount
    """The account to copy from."""
    destination: MailAccount
    """The account to copy to."""
    folders: FolderSelection = FolderSelection()
    """Which folders."""
    mode: Mode = Mode.SYNC
    """What to do."""
    connections: Annotated[int, Field(ge=1)] = DEFAULT_CONNECTIONS
    """How many connections to each side there may be at once."""
    connections_origin: Annotated[str, Field(max_length=400)] = "the default"
    """Whose limit that is, for people."""
    pace: Pace = Pace()
    """How fast, and how much in this run."""


def job_input(  # noqa: PLR0913  what one run consists of
    spec: MailSyncSpec,
    accounts: Accounts,
    *,
    namespace: str,
    name: str,
    run: int = 1,
    run_type: RunType = RunType.INITIAL,
    terms: Mapping[Side, Terms] | None = None,
    copied_lately: Sequence[CopiedBytes] = (),
    now: datetime | None = None,
) -> JobInput:
    """Return the input of a run of this spec, with its accounts complete.

    Parameters
    ----------
    terms
        What the MailEndpoints that it refers to ask for, by side.
    copied_lately
        What earlier runs copied, as far as it counts against a daily limit at ``now``.
    """
    limits = resolve(spec.limits, terms or {})
    day = limits.bytes_per_day
    pace = Pace(
        bytes_per_second=limits.bytes_per_second,
        messages_per_second=limits.messages_per_second,
        daily=allowance(day, copied_lately, now=now or datetime.now(UTC)) if day else None,
    )
    return JobInput(
        namespace=namespace,
        name=name,
        run=run,
        run_type=run_type,
        source=accounts.source,
        destination=accounts.destination,
        folders=spec.folders,
        mode=spec.mode,
        connections=limits.connections.value,
        connections_origin=limits.connections.origin,
        pace=pace,
    )

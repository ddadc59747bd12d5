"""What a Job's pod is told: the resolved spec of one run, without any secret."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mailsync_api.base import ApiModel
from mailsync_api.endpoint import MailAccount
from mailsync_api.spec import Accounts, FolderSelection, MailSyncSpec, Mode
from mailsync_api.status import RunType

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


def job_input(  # noqa: PLR0913  what one run consists of
    spec: MailSyncSpec,
    accounts: Accounts,
    *,
    namespace: str,
    name: str,
    run: int = 1,
    run_type: RunType = RunType.INITIAL,
) -> JobInput:
    """Return the input of a run of this spec, with its accounts complete."""
    return JobInput(
        namespace=namespace,
        name=name,
        run=run,
        run_type=run_type,
        source=accounts.source,
        destination=accounts.destination,
        folders=spec.folders,
        mode=spec.mode,
    )

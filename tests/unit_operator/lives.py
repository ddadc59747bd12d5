"""MailSyncs at moments of their lives, for tests of the decision."""

from __future__ import annotations

from typing import Any

from mailsync_api.exitcodes import ExitCode
from mailsync_api.report import Verdict
from mailsync_api.status import (
    CurrentRun,
    MailSyncStatus,
    RunType,
)
from mailsync_operator.actions import (
    Decision,
)
from mailsync_operator.decide import decide
from mailsync_operator.snapshot import MailSyncObject
from tests.unit_operator.objects import (
    NOW,
    at,
    job,
    mailsync_object,
    observe,
    pod,
    verdict,
)

__all__ = ["failed", "finished", "in_run", "running_status"]


def running_status(run: int = 1, **changes: Any) -> MailSyncStatus:
    name = job(mailsync_object(), run).name
    current = CurrentRun(number=run, type=RunType.INITIAL, job_name=name, start_time=NOW)
    return MailSyncStatus(current_run=current, **changes)


def in_run(status: MailSyncStatus | None = None, **changes: Any) -> MailSyncObject:
    return mailsync_object(status=status or running_status(), **changes)


def finished(**spec: Any) -> MailSyncObject:
    """Return a MailSync whose first run succeeded."""
    before = in_run(**spec)
    done = decide(
        observe(
            before,
            jobs=(job(before, outcome="Complete"),),
            pods=(pod(before, exit_code=0, message=verdict()),),
            now=at(60),
        )
    )
    return mailsync_object(status=done.status, **spec)


def failed(
    code: ExitCode,
    *,
    now: float = 60,
    status: MailSyncStatus | None = None,
    told: Verdict | None = None,
    **spec: Any,
) -> Decision:
    before = in_run(status, **spec)
    number = before.status["currentRun"]["number"]
    return decide(
        observe(
            before,
            jobs=(job(before, number, outcome="Failed", reason="PodFailurePolicy"),),
            pods=(pod(before, number, exit_code=int(code), message=told or verdict(code)),),
            now=at(now),
        )
    )

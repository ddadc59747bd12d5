"""Refused credentials: when a run tries them again, and what must not hasten it.

Only a person can help, but the operator cannot see when one has: it may not read Secrets. So a slow
probe tries again by itself, at most once in an hour. Two witnesses tell when a login was refused
last, the status and the Job of that run: neither a restart nor an edited status brings the next one
closer.
"""

from __future__ import annotations

import hashlib
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from mailsync_api.exitcodes import ExitCode
from mailsync_operator.naming import servers_hash, spec_hash
from mailsync_operator.snapshot import JobOutcome

if TYPE_CHECKING:
    from datetime import datetime

    from mailsync_api.spec import MailSyncSpec, RetryPolicy
    from mailsync_api.status import CurrentRun, MailSyncStatus, RunRecord
    from mailsync_operator.observe import Observation
    from mailsync_operator.snapshot import JobSnapshot

__all__ = [
    "LEAST_SECONDS",
    "held_until",
    "is_retry",
    "next_attempt",
    "refusal_wait",
    "was_refused",
]

LEAST_SECONDS: Final = 3600
"""Between two refused logins that nobody asked for; also how long the Job of the first is kept."""
_LONGEST: Final = 86400
_CHANGES: Final = 3
"""After so many refused logins within the hour, a changed Secret is no reason for one at once."""
_SPREAD: Final = 0.1
"""At most this part of a wait is added, so that thousands do not come back at once."""
_EXIT_CODE: Final = re.compile(rf"\bexit code {int(ExitCode.CREDENTIALS)}\b")


def was_refused(run: RunRecord | None) -> bool:
    """Return whether a server refused this run's credentials."""
    return run is not None and run.exit_code == ExitCode.CREDENTIALS


def refusal_wait(policy: RetryPolicy, *, refusals: int, uid: str) -> int | None:
    """Return the wait in seconds after so many refused runs in a row; None for no further attempt.

    It doubles up to a day and is up to a tenth longer, by a jitter that is always the same for the
    same object and number: never shorter than an hour.
    """
    first = policy.credentials_retry_seconds
    if first == 0:
        return None
    exponent = min(max(refusals - 1, 0), 20)  # 2**20 hours are past any limit
    full = min(first << exponent, max(first, _LONGEST))
    digest = hashlib.sha256(f"{uid}/refused/{refusals}".encode()).digest()
    return full + int(full * _SPREAD * int.from_bytes(digest[:4], "big") / 2**32)


def next_attempt(obs: Observation, status: MailSyncStatus, policy: RetryPolicy) -> datetime | None:
    """Return when the credentials that the last run was refused are tried again; None for never.

    It is made anew from the last run each time, so a changed policy holds at once.
    """
    last = status.last_run
    if last is None or not was_refused(last):
        return None
    if _secret_changed(obs, last.secrets_version) and not _often(obs, status):
        return obs.now
    uid = obs.mailsync.uid
    wait = refusal_wait(policy, refusals=status.consecutive_refusals, uid=uid)
    return last.completion_time + timedelta(seconds=wait) if wait is not None else None


def _secret_changed(obs: Observation, since: int | None) -> bool:
    """Return whether a Secret changed since a run that started at this version."""
    return obs.secrets is not None and since is not None and obs.secrets.newest > since


def _often(obs: Observation, status: MailSyncStatus) -> bool:
    """Return whether changes of Secrets (by a controller, say) have cost too many logins lately."""
    recent = timedelta(seconds=LEAST_SECONDS)
    refused = [run for run in status.runs if was_refused(run)]
    return sum(obs.now - run.completion_time < recent for run in refused) >= _CHANGES


def is_retry(status: MailSyncStatus, run: CurrentRun, *, spec_hash: str | None) -> bool:
    """Return whether a run tries refused credentials once more, and nobody asked for it."""
    last = status.last_run
    return (
        last is not None
        and was_refused(last)
        and run.manual in {None, status.last_manual_sync}
        and (last.spec_hash is None or spec_hash in {None, last.spec_hash})
    )


def held_until(obs: Observation, spec: MailSyncSpec) -> datetime | None:
    """Return before when no run may start; None if any may.

    The Job of a refused run tells what it went by. What it has already answered is no reason for
    another login within the hour, whatever the status says by now.
    """
    job = max(obs.jobs, key=lambda job: job.run, default=None)
    if job is None or job.ended is None or not _refused_job(obs, job):
        return None
    new_token = spec.trigger.manual is not None and spec.trigger.manual != job.manual
    if new_token or job.spec_hash != spec_hash(spec):
        return None
    servers = servers_hash(spec, obs.accounts) if obs.accounts else None
    if None not in {servers, job.servers_hash} and servers != job.servers_hash:
        return None
    if _secret_changed(obs, job.secrets_version) and not _often(obs, obs.status):
        return None
    return job.ended + timedelta(seconds=LEAST_SECONDS)


def _refused_job(obs: Observation, job: JobSnapshot) -> bool:
    if job.outcome is not JobOutcome.FAILED:
        return False
    ended = [pod.termination.exit_code for pod in obs.pods_of(job.run) if pod.termination]
    # The pods may be gone; what the Job controller says of its rule for exit codes stays.
    return ExitCode.CREDENTIALS in ended or bool(_EXIT_CODE.search(job.message))

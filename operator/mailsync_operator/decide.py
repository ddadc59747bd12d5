"""What to do about one MailSync: a pure function of what was observed.

A run goes Pending -> InitialSync or DeltaSync -> Completed, BackingOff, Throttled or stalled; which
of them it is follows from the status and the cluster alone, never from the operator's memory, so a
new operator goes on where the last one was killed. One pass does one step: it follows the run that
is under way, or ends it, or starts one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mailsync_api.conditions import Reason
from mailsync_api.status import CurrentRun
from mailsync_operator import claims
from mailsync_operator.draft import Draft
from mailsync_operator.follow import follow
from mailsync_operator.house import keep_house
from mailsync_operator.rest import rest, run_type

if TYPE_CHECKING:
    from mailsync_operator.actions import Decision
    from mailsync_operator.observe import Observation

__all__ = ["decide", "refused"]

_REFUSED_REQUEUE: Final = 60.0


def decide(obs: Observation) -> Decision:
    """Return what is to be done now, the status to show, and when to look again at the latest."""
    draft = Draft(obs)
    if obs.mailsync.deleting:
        return draft.nothing()  # its Job goes with it, by owner reference
    run = obs.status.current_run or _adopted(obs)
    if run is not None and follow(draft, run):
        return draft.finish()
    ended = run is not None
    rest(draft, may_start=not ended)
    keep_house(draft)
    if ended:
        draft.requeue(0.0)
    return draft.finish()


def refused(obs: Observation, why: str) -> Decision:
    """Return what to show when the API server does not accept the Job."""
    draft = Draft(obs)
    draft.set(current_run=None)
    draft.claim(*claims.blocked(Reason.JOB_REFUSED, f"the Job was not accepted: {why}"))
    draft.requeue(_REFUSED_REQUEUE)
    return draft.finish()


def _adopted(obs: Observation) -> CurrentRun | None:
    """Return the run of a Job that the status does not know yet: its creator was killed."""
    done = obs.status.last_run.number if obs.status.last_run else 0
    unknown = [job for job in obs.jobs if job.run > done]
    if not unknown:
        return None
    job = min(unknown, key=lambda job: job.run)
    return CurrentRun(
        number=job.run,
        type=run_type(obs),
        job_name=job.name,
        start_time=job.created,
        manual=job.manual,
        secrets_version=job.secrets_version,
    )

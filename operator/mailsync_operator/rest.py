"""No run is under way: one starts, or the status says what the object waits for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mailsync_api.allowance import closed_until
from mailsync_api.limits import resolve
from mailsync_api.status import CurrentRun, RunRecord, RunResult, RunType
from mailsync_operator import claims
from mailsync_operator.actions import CreateJob
from mailsync_operator.follow import FIRST_LOOK
from mailsync_operator.gate import ENDPOINT_CODES, find_hold, terms_of
from mailsync_operator.naming import job_name, servers_hash, spec_hash
from mailsync_operator.refusals import held_until, is_retry, next_attempt, was_refused

if TYPE_CHECKING:
    from mailsync_operator.draft import Draft
    from mailsync_operator.observe import Observation

__all__ = ["rest", "run_type"]

_QUEUED_REQUEUE: Final = 120.0
"""Whose turn comes is woken; this is for a wake that was lost."""


def run_type(obs: Observation) -> RunType:
    """Return which pass the next run is."""
    return RunType.DELTA if obs.status.last_sync_time else RunType.INITIAL


def rest(draft: Draft, *, may_start: bool) -> None:
    """Start a run if one is due, else say what the object waits for."""
    obs = draft.obs
    if obs.spec is None:
        draft.claim(*claims.invalid(obs.spec_error))
        return
    asked, refused = _asked_for(draft), was_refused(draft.status.last_run)
    if refused:
        _plan_attempt(draft)
    status = draft.status
    due = status.retry_after_time
    if not asked and (due is None or (refused and obs.spec.suspend)):
        _claim_rest(draft)
        return
    if obs.spec.suspend:
        draft.claim(*claims.suspended("no run starts while spec.suspend is true"))
        return
    if not asked and due is not None and due > obs.now:
        if refused:
            _claim_rest(draft)
        else:
            draft.claim(*claims.waiting(status))
        draft.requeue((due - obs.now).total_seconds())
        return
    if _is_free(draft) and _has_its_turn(draft, retry=refused and not asked):
        _set_out(draft, may_start=may_start, retry=refused and not asked)


def _is_free(draft: Draft) -> bool:
    """Return whether nothing holds a run back that is due; else say what does."""
    obs = draft.obs
    assert obs.spec is not None  # noqa: S101  the caller looked
    hold = find_hold(obs.spec, obs.endpoints)
    if hold is not None:
        draft.claim(*claims.held(hold))  # a change of the MailEndpoint brings it here again
        return False
    if obs.accounts is None:
        draft.claim(*claims.invalid(obs.spec_error))
        return False
    if _day_is_over(draft):
        return False
    until = held_until(obs, obs.spec)
    if until is not None and until > obs.now:
        draft.claim(*claims.refused_lately(draft.status, until=until))
        draft.requeue((until - obs.now).total_seconds())
        return False
    return True


def _has_its_turn(draft: Draft, *, retry: bool) -> bool:
    turn = draft.obs.turn
    if not turn:
        return True
    if retry:
        _claim_rest(draft)  # it stays stalled: only a person can help
    else:
        draft.claim(*claims.queued(draft.status, turn))
        draft.set(next_sync_time=None)
    draft.requeue(_QUEUED_REQUEUE)
    return False


def _day_is_over(draft: Draft) -> bool:
    """Return whether a daily limit leaves nothing worth a run; also where a user asks for one."""
    obs = draft.obs
    assert obs.spec is not None  # noqa: S101  the caller looked
    limit = resolve(obs.spec.limits, terms_of(obs.spec, obs.endpoints)).bytes_per_day
    until = closed_until(limit, obs.status.copied_lately, now=obs.now) if limit else None
    if limit is None or until is None:
        return False
    draft.claim(*claims.day_is_over(draft.status, limit, until=until))
    draft.set(next_sync_time=until)
    draft.requeue((until - obs.now).total_seconds())
    return True


def _set_out(draft: Draft, *, may_start: bool, retry: bool) -> None:
    if may_start:
        _start(draft)
    elif retry:
        _claim_rest(draft)
    else:
        draft.claim(*claims.due(draft.status))


def _claim_rest(draft: Draft) -> None:
    assert draft.obs.spec is not None  # noqa: S101  the caller looked
    watched = draft.obs.secrets is not None
    draft.claim(*claims.at_rest(draft.status, spec=draft.obs.spec, watched=watched))


def _plan_attempt(draft: Draft) -> None:
    """Say when refused credentials are tried again."""
    assert draft.obs.spec is not None  # noqa: S101  the caller looked
    _note_secrets(draft)
    due = next_attempt(draft.obs, draft.status, draft.obs.spec.retry)
    draft.set(retry_after_time=due, next_sync_time=due)


def _asked_for(draft: Draft) -> bool:
    """Return whether the user asks for a run: the first one, a new token or a changed spec."""
    spec, status = draft.obs.spec, draft.status
    assert spec is not None  # noqa: S101  the caller looked
    if status.last_run is None:
        return True
    manual = spec.trigger.manual
    if manual is not None and manual != status.last_manual_sync:
        return True
    known = status.last_run.spec_hash
    if known is not None and known != spec_hash(spec):
        return True
    return status.last_run.result is RunResult.FAILED and _healed(draft.obs, status.last_run)


def _healed(obs: Observation, failed: RunRecord) -> bool:
    """Return whether what a run failed of may be gone: its MailEndpoint is another, or well again.

    Finished mailboxes do not run again for that.
    """
    if obs.spec is None or obs.accounts is None or find_hold(obs.spec, obs.endpoints) is not None:
        return False
    now = servers_hash(obs.spec, obs.accounts)
    if failed.servers_hash is not None and failed.servers_hash != now:
        return True
    return failed.exit_code in ENDPOINT_CODES and any(
        state.ready_since is not None and state.ready_since > failed.completion_time
        for state in obs.endpoints.values()
    )


def _note_secrets(draft: Draft) -> None:
    """From now on changes of Secrets are known, if they were not when the run started."""
    last, seen = draft.status.last_run, draft.obs.secrets
    if last is not None and last.secrets_version is None and seen is not None:
        draft.set(last_run=last.model_copy(update={"secrets_version": seen.upto}))


def _start(draft: Draft) -> None:
    obs, status = draft.obs, draft.status
    assert obs.spec is not None  # noqa: S101  the caller looked
    number = status.last_run.number + 1 if status.last_run else 1
    name = job_name(name=obs.mailsync.name, uid=obs.mailsync.uid, run=number)
    run = CurrentRun(
        number=number,
        type=run_type(obs),
        job_name=name,
        start_time=obs.now,
        manual=obs.spec.trigger.manual,
        secrets_version=obs.secrets.upto if obs.secrets else None,
    )
    wanted = spec_hash(obs.spec)
    draft.do(CreateJob(run=run, spec_hash=wanted))
    draft.set(current_run=run, retry_after_time=None, next_sync_time=None, progress=None)
    if is_retry(status, run, spec_hash=wanted):
        draft.claim(*claims.retrying(status, run))
    else:
        draft.claim(*claims.pending(status, run))
    if status.last_run is not None and status.last_run.spec_hash not in {None, wanted}:
        draft.claim(claims.sync_unknown())
    draft.requeue(FIRST_LOOK)

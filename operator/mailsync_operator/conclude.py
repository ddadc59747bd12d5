"""A run that is over: one record of it, and when the next one is due."""

from __future__ import annotations

from datetime import timedelta
from itertools import takewhile
from typing import TYPE_CHECKING, Final

from mailsync_api.allowance import noted
from mailsync_api.conditions import Reason
from mailsync_api.exitcodes import ExitCode, RetryClass
from mailsync_api.spec import RetryPolicy
from mailsync_operator import claims
from mailsync_operator.actions import CollectReport
from mailsync_operator.backoff import backoff_seconds
from mailsync_operator.refusals import is_retry, was_refused

if TYPE_CHECKING:
    from mailsync_api.status import RunRecord
    from mailsync_operator.draft import Draft
    from mailsync_operator.endings import Ending

__all__ = ["conclude"]

_LONGEST_THROTTLE: Final = 7 * 86400
"""A server's word on how long to wait is believed up to a week, in seconds."""


def conclude(draft: Draft, ending: Ending) -> None:
    """Record the end of the run that was under way."""
    obs, record = draft.obs, ending.record
    draft.set(current_run=None, last_run=record, next_sync_time=None)
    draft.set(
        copied_lately=noted(
            obs.status.copied_lately,
            size=ending.bytes_read,
            end=record.completion_time,
            now=obs.now,
        )
    )
    draft.set(runs=[record, *(r for r in obs.status.runs if r.number != record.number)])
    if record.manual is not None:
        draft.set(last_manual_sync=record.manual)
    draft.adopt_feed(record.number)
    if ending.verdict is not None:
        draft.adopt_verdict(ending.verdict)
    if ending.pod is not None:
        draft.do(CollectReport(pod=ending.pod, run=record.number))
    if ending.retry is RetryClass.DONE:
        _succeed(draft, record)
    else:
        _fail(draft, ending)


def _succeed(draft: Draft, record: RunRecord) -> None:
    draft.set(consecutive_failures=0, consecutive_refusals=0, retry_after_time=None)
    if record.dry_run:
        draft.claim(*claims.compared(draft.obs.status, record))
        return
    draft.set(
        last_sync_start_time=record.start_time,
        last_sync_time=record.completion_time,
        last_sync_duration_seconds=record.duration_seconds,
    )
    draft.claim(*claims.synced(record))


def _fail(draft: Draft, ending: Ending) -> None:
    obs, record = draft.obs, ending.record
    policy = obs.spec.retry if obs.spec else RetryPolicy()
    # Throttling is the server's pace, not a failure: it never leads to giving up.
    # Nor is a login that was refused before: a password may be wrong for weeks.
    refused = was_refused(record)
    repeated = refused and is_retry(obs.status, ending.run, spec_hash=record.spec_hash)
    new = ending.retry is not RetryClass.THROTTLED and not repeated
    failures = obs.status.consecutive_failures + new
    if refused:
        draft.set(consecutive_refusals=obs.status.consecutive_refusals + 1 if repeated else 1)
    usual = backoff_seconds(policy, failures=failures, uid=obs.mailsync.uid)
    if ending.retry is RetryClass.THROTTLED:
        wait: int | None = _throttle_wait(draft, record, policy)
    elif ending.retry is RetryClass.PERSON or failures >= policy.max_consecutive_failures:
        wait = None
    else:
        wait = usual
    again = obs.now + timedelta(seconds=wait) if wait is not None else None
    draft.set(consecutive_failures=failures, retry_after_time=again, next_sync_time=again)
    draft.claim(*claims.not_synced(obs.status, record))
    if record.exit_code == ExitCode.TLS_POLICY:
        draft.claim(claims.tls_refused(record))


def _throttle_wait(draft: Draft, record: RunRecord, policy: RetryPolicy) -> int:
    """Return how long to wait after a throttled run, in seconds.

    A server that has had enough again, before anything was copied, is left alone for longer than it
    asks for: coming back again and again is what services lock mailboxes for.
    """
    obs = draft.obs
    idle = list(takewhile(_was_turned_away, (record, *obs.status.runs)))
    usual = backoff_seconds(policy, failures=max(len(idle), 1), uid=obs.mailsync.uid)
    asked = record.retry_after_seconds
    wait = usual if asked is None else max(asked, usual) if len(idle) > 1 else asked
    return min(max(wait, 1), _LONGEST_THROTTLE)


def _was_turned_away(run: RunRecord) -> bool:
    # A daily limit is ours: it has its own time.
    throttled = run.exit_code == ExitCode.THROTTLED and run.reason != Reason.DAILY_LIMIT_REACHED
    return throttled and run.messages_copied == 0

"""Decisions at a run's end: what its Job, its pod and its verdict say."""

from __future__ import annotations

from typing import Any

import pytest

from mailsync_api.conditions import ConditionStatus, ConditionType, Reason
from mailsync_api.endpoint import Side
from mailsync_api.exitcodes import EXIT_TABLE, ExitCode, RetryClass
from mailsync_api.report import Totals
from mailsync_api.status import (
    Progress,
    RunResult,
)
from mailsync_operator.actions import (
    CollectReport,
)
from mailsync_operator.decide import decide
from mailsync_operator.observe import Feed
from tests.unit_operator.lives import failed, in_run, running_status
from tests.unit_operator.objects import (
    NOW,
    at,
    condition_of,
    job,
    mailsync_object,
    observe,
    pod,
    state,
    verdict,
)


def test_success() -> None:
    mailsync = in_run()
    decision = decide(
        observe(
            mailsync,
            jobs=(job(mailsync, outcome="Complete"),),
            pods=(pod(mailsync, exit_code=0, message=verdict()),),
            now=at(61),
        )
    )
    status = decision.status
    assert status is not None
    assert status.last_run is not None
    assert decision.actions == (CollectReport("pod-1-1", 1),)
    assert state(status) == ("True", "Completed")
    assert condition_of(status, ConditionType.READY).status is ConditionStatus.TRUE
    assert condition_of(status, ConditionType.SYNCED).status is ConditionStatus.TRUE
    assert condition_of(status, ConditionType.STALLED).status is ConditionStatus.FALSE
    assert status.current_run is None
    assert (status.last_run.messages_copied, status.last_run.duration_seconds) == (500, 60)
    assert (status.last_sync_start_time, status.last_sync_time) == (NOW, at(60))
    assert status.progress is not None
    assert status.progress.percent == 100


def test_a_lost_verdict_costs_figures_only() -> None:
    mailsync = in_run()
    decision = decide(observe(mailsync, jobs=(job(mailsync, outcome="Complete"),), now=at(61)))
    assert state(decision.status) == ("True", "Completed")


def test_early_signs_are_no_end() -> None:
    # FailureTarget and SuccessCriteriaMet come while pods may still run.
    mailsync = in_run()
    for early in ("FailureTarget", "SuccessCriteriaMet"):
        seen = (job(mailsync, outcome=early),)
        decision = decide(observe(mailsync, jobs=seen, pods=(pod(mailsync, started=1),)))
        assert decision.status is not None
        assert decision.status.current_run is not None


def test_a_dry_run_is_no_sync() -> None:
    mailsync = in_run(mode="DryRun")
    decision = decide(
        observe(
            mailsync,
            jobs=(job(mailsync, outcome="Complete"),),
            pods=(pod(mailsync, exit_code=0, message=verdict(dry_run=True)),),
        )
    )
    assert state(decision.status) == ("True", "Completed")
    assert condition_of(decision.status, ConditionType.SYNCED).reason == Reason.DRY_RUN
    assert decision.status is not None
    assert decision.status.last_sync_time is None


@pytest.mark.parametrize("code", [c for c in ExitCode if c is not ExitCode.DONE])
def test_every_failure_leads_where_the_table_says(code: ExitCode) -> None:
    decision = failed(code)
    status, info = decision.status, EXIT_TABLE[code]
    assert status is not None
    assert status.last_run is not None
    assert (status.last_run.result, status.last_run.reason) == (RunResult.FAILED, info.reason)
    stalled = condition_of(status, ConditionType.STALLED)
    match info.retry:
        case RetryClass.PERSON:
            assert state(status) == ("False", info.reason)
            assert (stalled.status, stalled.reason) == (ConditionStatus.TRUE, info.reason)
            # Refused credentials are tried again, but slowly: test_refusals.py.
            slowly = code is ExitCode.CREDENTIALS
            assert (status.retry_after_time is not None) is slowly
            assert "spec.trigger.manual" in stalled.message
        case RetryClass.BACKOFF:
            assert state(status) == ("Unknown", "BackingOff")
            assert stalled.status is ConditionStatus.FALSE
            assert status.consecutive_failures == 1
            assert status.retry_after_time is not None
        case RetryClass.THROTTLED:
            assert state(status) == ("Unknown", "Throttled")
            assert status.consecutive_failures == 0
        case RetryClass.DONE:
            pytest.fail("no failure")


def test_a_finer_reason_side_and_host_are_shown() -> None:
    told = verdict(
        ExitCode.CREDENTIALS, side=Side.SOURCE, message="the password was refused; check it"
    )
    decision = failed(ExitCode.CREDENTIALS, told=told)
    message = condition_of(decision.status, ConditionType.STALLED).message
    assert "source source.example.org:993: the password was refused" in message


def test_a_tls_failure_says_so_in_its_condition() -> None:
    told = verdict(ExitCode.TLS_POLICY, reason=Reason.CERTIFICATE_NOT_TRUSTED)
    decision = failed(ExitCode.TLS_POLICY, told=told)
    found = condition_of(decision.status, ConditionType.TLS_SECURED)
    assert (found.status, found.reason) == (ConditionStatus.FALSE, Reason.CERTIFICATE_NOT_TRUSTED)
    assert condition_of(decision.status, ConditionType.STALLED).reason == found.reason


def test_a_revoked_token_stalls_with_its_reason() -> None:
    words = "source: the token endpoint https://l.example/token refused the refresh token"
    told = verdict(
        ExitCode.CREDENTIALS, reason=Reason.TOKEN_REVOKED, side=Side.SOURCE, message=words
    )
    decision = failed(ExitCode.CREDENTIALS, told=told)
    assert state(decision.status) == ("False", Reason.TOKEN_REVOKED)
    stalled = condition_of(decision.status, ConditionType.STALLED)
    assert (stalled.status, stalled.reason) == (ConditionStatus.TRUE, Reason.TOKEN_REVOKED)
    assert words in stalled.message


def test_the_wait_of_a_throttling_server_is_kept() -> None:
    told = verdict(ExitCode.THROTTLED, retry_after_seconds=1800)
    decision = failed(ExitCode.THROTTLED, told=told)
    assert decision.status is not None
    assert decision.status.retry_after_time == at(60 + 1800)


def _throttled(*, before: int, copied: int = 0, **told: Any) -> float:
    """Return the wait after a throttled run that came after so many, which copied so much."""
    totals = Totals(messages=9, copied=copied)
    first = failed(ExitCode.THROTTLED, told=verdict(ExitCode.THROTTLED, totals=totals)).status
    assert first is not None
    runs = [first.runs[0].model_copy(update={"number": 100 + n}) for n in range(before)]
    end = verdict(ExitCode.THROTTLED, **{"totals": totals, "retry_after_seconds": 45, **told})
    ended = failed(ExitCode.THROTTLED, told=end, status=running_status(runs=runs)).status
    assert ended is not None
    assert ended.retry_after_time is not None
    return (ended.retry_after_time - at(60)).total_seconds()


def test_a_server_that_has_enough_again_and_again_is_left_alone_for_longer() -> None:
    waits = [_throttled(before=before) for before in range(5)]
    assert waits[0] == 45
    doubled = [60 * 2**before for before in range(1, 5)]
    assert all(full * 0.9 <= wait <= full for wait, full in zip(waits[1:], doubled, strict=True))
    assert _throttled(before=4, retry_after_seconds=5000) == 5000


def test_a_server_that_let_something_through_is_asked_again_as_it_says() -> None:
    assert _throttled(before=4, copied=1) == 45


def test_a_daily_limit_has_its_own_time() -> None:
    assert _throttled(before=4, reason=Reason.DAILY_LIMIT_REACHED) == 45


def test_a_server_that_asks_for_centuries_is_not_believed() -> None:
    told = verdict(ExitCode.THROTTLED, retry_after_seconds=2**53 - 1)
    decision = failed(ExitCode.THROTTLED, told=told)
    assert decision.status is not None
    assert decision.status.retry_after_time == at(60 + 7 * 86400)


def test_a_nodes_clock_that_is_ahead_does_not_silence_the_progress() -> None:
    mailsync = in_run()
    seen: dict[str, Any] = {"jobs": (job(mailsync),), "pods": (pod(mailsync, started=1),)}
    early = Feed(1, Progress(percent=1, update_time=at(3600)))
    first = decide(observe(mailsync, feed=early, **seen))
    mailsync = mailsync_object(status=first.status)
    later = Feed(1, Progress(percent=2, update_time=at(3605)))
    second = decide(observe(mailsync, feed=later, now=at(5), **seen))
    assert second.status is not None
    assert second.status.progress == later.progress


def test_given_up_after_the_last_failure() -> None:
    status = running_status(consecutive_failures=9)
    decision = failed(ExitCode.UNREACHABLE, status=status)
    assert state(decision.status) == ("False", Reason.UNREACHABLE)
    stalled = condition_of(decision.status, ConditionType.STALLED)
    assert stalled.status is ConditionStatus.TRUE
    assert "given up after 10 failed runs" in stalled.message


@pytest.mark.parametrize(
    ("changes", "reason", "word"),
    [
        ({"exit_code": 137, "kubelet": "OOMKilled"}, Reason.INTERNAL_ERROR, "memory"),
        ({"exit_code": 137}, Reason.INTERRUPTED, "137"),
        ({"exit_code": 1}, Reason.INTERNAL_ERROR, "exit code 1"),
        # A message from before the container was killed is not the verdict.
        ({"exit_code": 137, "message": verdict()}, Reason.INTERRUPTED, "137"),
    ],
)
def test_an_end_without_a_verdict(changes: dict[str, Any], reason: Reason, word: str) -> None:
    mailsync = in_run()
    seen = (job(mailsync, outcome="Failed", reason="BackoffLimitExceeded"),)
    decision = decide(observe(mailsync, jobs=seen, pods=(pod(mailsync, **changes),)))
    assert decision.status is not None
    assert decision.status.last_run is not None
    assert decision.status.last_run.reason == reason
    assert word in decision.status.last_run.message
    assert state(decision.status) == ("Unknown", "BackingOff")


def test_the_deadline() -> None:
    mailsync = in_run(activeDeadlineSeconds=60)
    seen = (job(mailsync, outcome="Failed", reason="DeadlineExceeded"),)
    told = verdict(ExitCode.TERMINATED)
    decision = decide(
        observe(mailsync, jobs=seen, pods=(pod(mailsync, exit_code=143, message=told),))
    )
    assert decision.status is not None
    assert decision.status.last_run is not None
    assert decision.status.last_run.reason == Reason.DEADLINE_EXCEEDED
    assert state(decision.status) == ("Unknown", "BackingOff")


def test_a_job_that_was_deleted_is_tried_again() -> None:
    decision = decide(observe(in_run()))
    assert decision.status is not None
    assert decision.status.last_run is not None
    assert decision.status.last_run.reason == Reason.JOB_LOST
    assert state(decision.status) == ("Unknown", "BackingOff")


def test_the_newest_pod_speaks() -> None:
    mailsync = in_run()
    pods = (
        pod(mailsync, exit_code=74, message=verdict(ExitCode.CONNECTION_LOST)),
        pod(mailsync, attempt=2, exit_code=77, message=verdict(ExitCode.CREDENTIALS)),
    )
    seen = (job(mailsync, outcome="Failed", reason="PodFailurePolicy", failed=2),)
    decision = decide(observe(mailsync, jobs=seen, pods=pods))
    assert state(decision.status) == ("False", Reason.CREDENTIALS_REFUSED)

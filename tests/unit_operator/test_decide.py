"""Tables of one decision: what was there, what is done, what is shown."""

from __future__ import annotations

from mailsync_api.conditions import ConditionStatus, ConditionType, Reason
from mailsync_api.exitcodes import ExitCode
from mailsync_api.status import (
    CurrentRun,
    RunResult,
    RunType,
)
from mailsync_operator.actions import (
    CreateJob,
    Decision,
    DeleteJob,
    SetJobLifetime,
    SuspendJob,
)
from mailsync_operator.decide import decide, refused
from tests.unit_operator.lives import failed, finished, in_run
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

# --- the first run ---


def test_the_first_run_starts_by_itself() -> None:
    decision = decide(observe(mailsync_object()))
    [action] = decision.actions
    assert isinstance(action, CreateJob)
    assert (action.run.number, action.run.type) == (1, RunType.INITIAL)
    assert state(decision.status) == ("Unknown", "Pending")
    assert decision.status is not None
    assert {c.type for c in decision.status.conditions} == set(ConditionType)


def test_suspended_from_the_start_nothing_runs() -> None:
    decision = decide(observe(mailsync_object(suspend=True)))
    assert decision.actions == ()
    assert state(decision.status) == ("Unknown", "Suspended")


def test_one_that_is_being_deleted_is_left_alone() -> None:
    assert decide(observe(mailsync_object(deleting=True))) == Decision((), None, None)


def test_a_job_that_the_status_does_not_know_is_taken_over() -> None:
    # Its creator was killed between the Job and the status.
    mailsync = mailsync_object()
    decision = decide(observe(mailsync, jobs=(job(mailsync),)))
    assert decision.actions == ()
    assert decision.status is not None
    assert decision.status.current_run is not None
    assert decision.status.current_run.number == 1


# --- suspend ---


def test_suspend_stops_the_job_and_resume_lets_it_go_on() -> None:
    mailsync = in_run(suspend=True)
    decision = decide(observe(mailsync, jobs=(job(mailsync),), pods=(pod(mailsync, started=1),)))
    assert decision.actions == (SuspendJob(job(mailsync).name, suspend=True),)
    assert state(decision.status) == ("Unknown", "Suspended")
    mailsync = in_run()
    decision = decide(observe(mailsync, jobs=(job(mailsync, suspended=True),)))
    assert decision.actions == (SuspendJob(job(mailsync).name, suspend=False),)
    assert state(decision.status) == ("Unknown", "Pending")


def test_suspend_takes_nothing_back_of_what_is_finished() -> None:
    mailsync = finished(suspend=True)
    decision = decide(observe(mailsync, now=at(120)))
    assert state(decision.status) == ("True", "Completed")


# --- the next run ---


def test_nothing_more_runs_after_success() -> None:
    decision = decide(observe(finished(), now=at(9999)))
    assert decision.actions == ()
    assert decision.requeue_after is None


def test_a_changed_token_starts_a_delta_run() -> None:
    mailsync = mailsync_object(status=finished().status, trigger={"manual": "again"})
    decision = decide(observe(mailsync, now=at(120)))
    [action] = decision.actions
    assert isinstance(action, CreateJob)
    assert (action.run.number, action.run.type, action.run.manual) == (2, RunType.DELTA, "again")


def test_a_token_is_answered_once_even_by_a_failed_run() -> None:
    current = CurrentRun(
        number=2, type=RunType.DELTA, job_name="x-2", start_time=NOW, manual="again"
    )
    status = finished().status | {"currentRun": current.to_wire()}
    mailsync = mailsync_object(status=status, trigger={"manual": "again"})
    decision = decide(
        observe(
            mailsync,
            jobs=(job(mailsync, 2, outcome="Failed", manual="again"),),
            pods=(pod(mailsync, 2, exit_code=77, message=verdict(ExitCode.CREDENTIALS)),),
        )
    )
    assert decision.status is not None
    assert decision.status.last_manual_sync == "again"
    after = mailsync_object(status=decision.status, trigger={"manual": "again"})
    assert not decide(observe(after, now=at(600))).actions


def test_a_changed_spec_starts_a_run_and_a_retry_setting_does_not() -> None:
    status = finished().status
    other = mailsync_object(status=status, folders={"exclude": ["Trash"]})
    [action] = decide(observe(other, now=at(120))).actions
    assert isinstance(action, CreateJob)
    same = mailsync_object(status=status, retry={"backoffLimit": 1}, ttlSecondsAfterFinished=99999)
    assert not [a for a in decide(observe(same, now=at(120))).actions if isinstance(a, CreateJob)]


def test_after_the_wait_it_runs_again_and_not_before() -> None:
    decision = failed(ExitCode.UNREACHABLE)
    assert decision.status is not None
    due = decision.status.retry_after_time
    assert due is not None
    waiting = mailsync_object(status=decision.status)
    early = decide(observe(waiting, now=at(61)))
    assert early.actions == ()
    assert early.requeue_after == (due - at(61)).total_seconds()
    [action] = decide(observe(waiting, now=due)).actions
    assert isinstance(action, CreateJob)
    assert action.run.number == 2


def test_the_user_does_not_have_to_wait() -> None:
    decision = failed(ExitCode.UNREACHABLE)
    mailsync = mailsync_object(status=decision.status, trigger={"manual": "now"})
    [action] = decide(observe(mailsync, now=at(61))).actions
    assert isinstance(action, CreateJob)


def test_a_spec_changed_during_a_run_waits_for_its_end() -> None:
    mailsync = in_run(mode="DryRun")
    old_hash = "0123456789abcdef"
    running = (job(mailsync, hash_=old_hash),)
    decision = decide(observe(mailsync, jobs=running, pods=(pod(mailsync, started=1),)))
    assert decision.actions == ()
    ended = (job(mailsync, hash_=old_hash, outcome="Complete"),)
    done = decide(
        observe(mailsync, jobs=ended, pods=(pod(mailsync, exit_code=0, message=verdict()),))
    )
    assert done.requeue_after == 0
    assert state(done.status) == ("Unknown", "Pending")
    following = decide(observe(mailsync_object(status=done.status, mode="DryRun"), jobs=ended))
    assert any(isinstance(action, CreateJob) for action in following.actions)


# --- what cannot be carried out ---


def test_an_invalid_spec_is_named() -> None:
    mailsync = mailsync_object(folders={"include": ["re:("]})
    decision = decide(observe(mailsync))
    assert decision.actions == ()
    stalled = condition_of(decision.status, ConditionType.STALLED)
    assert (stalled.status, stalled.reason) == (
        ConditionStatus.TRUE,
        Reason.INVALID_CONFIGURATION,
    )
    assert "spec.folders.include[0]" in stalled.message
    assert "re:(" in stalled.message


def test_a_run_survives_that_its_spec_becomes_invalid() -> None:
    mailsync = in_run(folders={"include": ["re:("]})
    valid = in_run()
    decision = decide(observe(mailsync, jobs=(job(valid),), pods=(pod(valid, started=1),)))
    assert decision.actions == ()
    assert decision.status is not None
    assert decision.status.current_run is not None
    ended = decide(
        observe(
            mailsync,
            jobs=(job(valid, outcome="Complete"),),
            pods=(pod(valid, exit_code=0, message=verdict()),),
        )
    )
    assert ended.status is not None
    assert ended.status.last_run is not None
    assert ended.status.last_run.result is RunResult.SUCCEEDED


def test_a_refused_job_is_shown_and_tried_again() -> None:
    decision = refused(observe(mailsync_object()), "exceeded quota")
    ready = condition_of(decision.status, ConditionType.READY)
    assert ready.reason == Reason.JOB_REFUSED
    assert "exceeded quota" in ready.message
    assert decision.requeue_after is not None
    assert decision.status is not None
    assert decision.status.current_run is None


# --- order ---


def test_the_history_is_trimmed_and_its_jobs_are_deleted() -> None:
    mailsync = finished(successfulRunsHistoryLimit=1)
    jobs = [job(mailsync, 1, outcome="Complete")]
    for number in (2, 3):
        current = CurrentRun(
            number=number, type=RunType.DELTA, job_name=f"x-{number}", start_time=NOW
        )
        status = mailsync.status | {"currentRun": current.to_wire()}
        mailsync = mailsync_object(status=status, successfulRunsHistoryLimit=1)
        jobs.append(job(mailsync, number, outcome="Complete"))
        pods = (pod(mailsync, number, exit_code=0, message=verdict()),)
        decision = decide(observe(mailsync, jobs=tuple(jobs), pods=pods))
        assert decision.status is not None
        assert [run.number for run in decision.status.runs] == [number]
        # The run before is in the stored status, so its Job may go; this one's may not.
        assert DeleteJob(job(mailsync, number - 1).name) in decision.actions
        assert DeleteJob(job(mailsync, number).name) not in decision.actions
        mailsync = mailsync_object(status=decision.status, successfulRunsHistoryLimit=1)


def test_a_short_lifetime_is_set_once_the_run_is_recorded() -> None:
    mailsync = in_run(ttlSecondsAfterFinished=0)
    over = (job(mailsync, outcome="Complete", ttl=3600),)
    pods = (pod(mailsync, exit_code=0, message=verdict()),)
    first = decide(observe(mailsync, jobs=over, pods=pods))
    assert not [a for a in first.actions if isinstance(a, SetJobLifetime)]
    mailsync = mailsync_object(status=first.status, ttlSecondsAfterFinished=0)
    second = decide(observe(mailsync, jobs=over, pods=pods))
    assert second.actions == (SetJobLifetime(over[0].name, 0),)


def test_times_change_with_the_status_only() -> None:
    first = decide(observe(mailsync_object()))
    mailsync = mailsync_object(status=first.status)
    second = decide(
        observe(mailsync, jobs=(job(mailsync),), pods=(pod(mailsync, started=1),), now=at(30))
    )
    before, after = (condition_of(s.status, ConditionType.SUCCEEDED) for s in (first, second))
    assert before.reason != after.reason
    assert before.last_transition_time == after.last_transition_time == NOW

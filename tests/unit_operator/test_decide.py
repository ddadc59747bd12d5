"""Tables of one decision: what was there, what is done, what is shown."""

from __future__ import annotations

from typing import Any

import pytest

from mailsync_api.conditions import ConditionStatus, ConditionType, Reason
from mailsync_api.endpoint import Side, TLSMode, TLSVerify
from mailsync_api.exitcodes import EXIT_TABLE, ExitCode, RetryClass
from mailsync_api.report import Verdict
from mailsync_api.status import (
    CurrentRun,
    MailSyncStatus,
    Progress,
    RunResult,
    RunType,
    TLSFacts,
    TLSStatus,
)
from mailsync_operator.actions import (
    CollectReport,
    CreateJob,
    Decision,
    DeleteJob,
    SetJobLifetime,
    SuspendJob,
)
from mailsync_operator.decide import decide, refused
from mailsync_operator.observe import Feed
from mailsync_operator.snapshot import MailSyncObject
from tests.unit_operator.objects import (
    NOW,
    at,
    condition_of,
    job,
    mailsync_object,
    mount_event,
    observe,
    pod,
    state,
    verdict,
)


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


# --- while it runs ---


@pytest.mark.parametrize(
    ("pods", "expected"),
    [
        ({}, "Pending"),
        ({"waiting": "ContainerCreating"}, "Pending"),
        ({"started": 1}, "InitialSync"),
        ({"exit_code": 137}, "InitialSync"),  # between two attempts
    ],
)
def test_the_state_follows_the_pod(pods: dict[str, Any], expected: str) -> None:
    mailsync = in_run()
    seen = (pod(mailsync, **pods),) if pods else ()
    decision = decide(observe(mailsync, jobs=(job(mailsync),), pods=seen))
    assert state(decision.status) == ("Unknown", expected)
    assert decision.requeue_after is not None


@pytest.mark.parametrize(
    ("event", "reason", "words"),
    [
        (
            ("source", 'secret "source-password" not found'),
            Reason.SECRET_NOT_FOUND,
            ['"source-password"', '"password"', '"default"', "source"],
        ),
        (
            ("destination", "references non-existent secret key: password"),
            Reason.SECRET_KEY_NOT_FOUND,
            ['"destination-password"', '"password"', "destination"],
        ),
        (
            ("source-ca", 'configmap "ca" not found'),
            Reason.CONFIG_MAP_NOT_FOUND,
            ['ConfigMap "ca"', '"ca.crt"', "source"],
        ),
        (
            ("source-ca", "configmap references non-existent config key: ca.crt"),
            Reason.CONFIG_MAP_NOT_FOUND,
            ['ConfigMap "ca"', "no key"],
        ),
        (
            ("source-client", 'secret "client" not found'),
            Reason.SECRET_NOT_FOUND,
            ['Secret "client"', "client certificate of the source", '"tls.crt" or "tls.key"'],
        ),
        (
            ("source-client", "references non-existent secret key: tls.key"),
            Reason.SECRET_KEY_NOT_FOUND,
            ['Secret "client"', "client certificate of the source", '"tls.key"'],
        ),
    ],
)
def test_what_is_missing_is_named(event: tuple[str, str], reason: Reason, words: list[str]) -> None:
    refs = {"caRef": {"name": "ca"}, "clientCertificateRef": {"name": "client"}}
    mailsync = in_run(source={"tls": refs})
    decision = decide(
        observe(
            mailsync,
            jobs=(job(mailsync),),
            pods=(pod(mailsync),),
            pod_events=(mount_event(*event),),
            now=at(3),
        )
    )
    ready = condition_of(decision.status, ConditionType.READY)
    assert (ready.status, ready.reason) == (ConditionStatus.FALSE, reason)
    assert all(word in ready.message for word in words), ready.message
    assert state(decision.status) == ("Unknown", "Pending")
    assert condition_of(decision.status, ConditionType.SUCCEEDED).message == ready.message


def test_both_missing_secrets_are_named_at_once() -> None:
    mailsync = in_run()
    events = (
        mount_event("source", 'secret "source-password" not found'),
        mount_event("destination", 'secret "destination-password" not found'),
    )
    decision = decide(
        observe(mailsync, jobs=(job(mailsync),), pods=(pod(mailsync),), pod_events=events)
    )
    message = condition_of(decision.status, ConditionType.READY).message
    assert '"source-password"' in message
    assert '"destination-password"' in message


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"waiting": "ImagePullBackOff", "waiting_message": "no"}, Reason.IMAGE_PULL_FAILED),
        ({"unschedulable": "0/1 nodes", "node": ""}, Reason.UNSCHEDULABLE),
        ({"waiting": "CreateContainerConfigError"}, Reason.POD_NOT_STARTED),
    ],
)
def test_what_the_cluster_does_not_give_is_said(changes: dict[str, Any], reason: Reason) -> None:
    mailsync = in_run()
    decision = decide(observe(mailsync, jobs=(job(mailsync),), pods=(pod(mailsync, **changes),)))
    assert condition_of(decision.status, ConditionType.READY).reason == reason


def test_an_old_event_is_not_believed() -> None:
    mailsync = in_run()
    decision = decide(
        observe(
            mailsync,
            jobs=(job(mailsync),),
            pods=(pod(mailsync),),
            pod_events=(mount_event("source", 'secret "x" not found', seen=-600),),
        )
    )
    assert condition_of(decision.status, ConditionType.READY).reason == Reason.NOT_YET_KNOWN


def test_attempts_are_counted() -> None:
    mailsync = in_run()
    pods = (pod(mailsync, exit_code=137), pod(mailsync, attempt=2, started=20))
    decision = decide(observe(mailsync, jobs=(job(mailsync, failed=1, active=1),), pods=pods))
    assert decision.status is not None
    assert decision.status.current_run is not None
    assert decision.status.current_run.attempts == 2


def test_progress_and_tls_facts_of_the_log_are_shown() -> None:
    facts = TLSFacts(mode=TLSMode.IMPLICIT, secured=True, verified=TLSVerify.FULL)
    feed = Feed(1, Progress(percent=40, update_time=NOW), ((Side.SOURCE, facts),))
    mailsync = in_run()
    decision = decide(
        observe(mailsync, jobs=(job(mailsync),), pods=(pod(mailsync, started=1),), feed=feed)
    )
    assert decision.status is not None
    assert decision.status.progress == feed.progress
    assert decision.status.tls == TLSStatus(source=facts)
    # One side alone proves nothing good.
    tls = condition_of(decision.status, ConditionType.TLS_SECURED)
    assert tls.status is ConditionStatus.UNKNOWN


def test_progress_alone_is_written_every_ten_seconds() -> None:
    mailsync = in_run()
    seen: dict[str, Any] = {"jobs": (job(mailsync),), "pods": (pod(mailsync, started=1),)}
    first = decide(observe(mailsync, feed=Feed(1, Progress(percent=1, update_time=NOW)), **seen))
    mailsync = mailsync_object(status=first.status)
    soon = Feed(1, Progress(percent=2, update_time=at(4)))
    second = decide(observe(mailsync, feed=soon, now=at(4), **seen))
    assert second.status == first.status
    assert second.requeue_after == 6
    third = decide(observe(mailsync, feed=soon, now=at(10), **seen))
    assert third.status is not None
    assert third.status.progress == soon.progress


@pytest.mark.parametrize(
    ("tls", "status", "reason"),
    [
        ((True, "Full", True, "Full"), ConditionStatus.TRUE, Reason.ENCRYPTED),
        ((True, "ChainOnly", True, "Full"), ConditionStatus.TRUE, Reason.ENCRYPTED),
        ((True, "None", True, "Full"), ConditionStatus.FALSE, Reason.CERTIFICATE_NOT_VERIFIED),
        ((False, "None", True, "Full"), ConditionStatus.FALSE, Reason.CLEAR_TEXT),
    ],
)
def test_tls_secured(tls: tuple[bool, str, bool, str], status: str, reason: Reason) -> None:
    def facts(secured: bool, verified: str) -> TLSFacts:  # noqa: FBT001  a table's columns
        mode = TLSMode.IMPLICIT if secured else TLSMode.NONE
        return TLSFacts(mode=mode, secured=secured, verified=TLSVerify(verified))

    feed = Feed(1, None, ((Side.SOURCE, facts(*tls[:2])), (Side.DESTINATION, facts(*tls[2:]))))
    mailsync = in_run()
    decision = decide(
        observe(mailsync, jobs=(job(mailsync),), pods=(pod(mailsync, started=1),), feed=feed)
    )
    found = condition_of(decision.status, ConditionType.TLS_SECURED)
    assert (found.status, found.reason) == (status, reason)


@pytest.mark.parametrize(
    ("facts", "status", "reason", "words"),
    [
        (
            {"mode": "Opportunistic", "secured": False, "verified": "None"},
            ConditionStatus.FALSE,
            Reason.CLEAR_TEXT,
            "clear text to the source, which does not offer TLS; tls.mode Opportunistic lets it",
        ),
        (
            {"mode": "StartTLS", "secured": True, "verified": "None", "pinned": True},
            ConditionStatus.TRUE,
            Reason.ENCRYPTED,
            "certificate verified (pinned key)",
        ),
        (
            {"mode": "StartTLS", "secured": True, "verified": "Full", "pinned": True},
            ConditionStatus.TRUE,
            Reason.ENCRYPTED,
            "certificate verified (Full, pinned key)",
        ),
    ],
)
def test_tls_secured_says_why(
    facts: dict[str, Any], status: str, reason: Reason, words: str
) -> None:
    good = TLSFacts(mode=TLSMode.IMPLICIT, secured=True, verified=TLSVerify.FULL)
    feed = Feed(1, None, ((Side.SOURCE, TLSFacts.model_validate(facts)), (Side.DESTINATION, good)))
    mailsync = in_run()
    decision = decide(
        observe(mailsync, jobs=(job(mailsync),), pods=(pod(mailsync, started=1),), feed=feed)
    )
    found = condition_of(decision.status, ConditionType.TLS_SECURED)
    assert (found.status, found.reason) == (status, reason)
    assert words in found.message


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


# --- the end ---


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
            assert status.retry_after_time is None
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


def test_the_wait_of_a_throttling_server_is_kept() -> None:
    told = verdict(ExitCode.THROTTLED, retry_after_seconds=1800)
    decision = failed(ExitCode.THROTTLED, told=told)
    assert decision.status is not None
    assert decision.status.retry_after_time == at(60 + 1800)


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

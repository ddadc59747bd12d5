"""Whole lives of a MailEndpoint, and of a MailSync that refers to it, on a cluster in memory."""

from __future__ import annotations

import pytest

from mailsync_api.conditions import ConditionStatus, ConditionType, EndpointConditionType
from mailsync_api.exitcodes import ExitCode
from mailsync_api.probe import ProbeVerdict
from mailsync_operator.errors import ForbiddenError, TransientError
from tests.support.builders import merged
from tests.unit_operator.endpoint_objects import expired, facts, told
from tests.unit_operator.endpoint_world import ENDPOINT, REFERRING, EndpointWorld
from tests.unit_operator.objects import condition_of, state

READY, REACHABLE, TLS, EXPIRING = EndpointConditionType
UNREACHABLE = told(ExitCode.UNREACHABLE, message="imap.old.example.org:993: connection refused")


# --- probes ---


def test_a_server_is_probed_once_and_then_each_period() -> None:
    world = EndpointWorld()
    world.probe()
    assert world.said(READY) == ("True", "ProbeMetPolicy")
    assert world.said(REACHABLE) == ("True", "Answered")
    assert world.said(TLS) == ("True", "Encrypted")
    assert world.said(EXPIRING) == ("False", "AsExpected")
    status = world.endpoint_status
    assert status.address == "imap.old.example.org:993"
    assert (status.server_id, status.latency_milliseconds) == ("Dovecot", 3)
    assert status.next_probe_time is not None
    assert status.last_probe_time is not None
    wait = (status.next_probe_time - status.last_probe_time).total_seconds()
    assert 3240 <= wait <= 3600
    calls = world.cluster.calls.copy()
    for _ in range(3):
        world.look_at_endpoint()
    assert world.cluster.calls == calls, "a look at nothing new does nothing"
    for _ in range(3):
        world.next_probe()
        assert len(world.probe_jobs) <= 2
    world.settle_endpoint()
    assert world.endpoint_status.last_probe is not None
    assert world.endpoint_status.last_probe.number == 4
    assert len(world.probes.records) == 4
    assert world.event_reasons == ["EndpointReady"], "only changes are told"


def test_a_probe_that_failed_is_repeated_after_a_growing_while() -> None:
    world = EndpointWorld()
    world.probe(UNREACHABLE)
    waits = []
    for _ in range(8):
        status = world.endpoint_status
        assert status.next_probe_time is not None
        assert status.last_probe_time is not None
        waits.append((status.next_probe_time - status.last_probe_time).total_seconds())
        world.next_probe(UNREACHABLE)
    for wait, full in zip(waits, [60, 120, 240, 480, 960, 1920, 3600, 3600], strict=True):
        assert full * 0.9 - 1 <= wait <= full
    assert world.said(REACHABLE) == ("False", "Unreachable")
    assert world.event_reasons == ["EndpointUnreachable"]
    world.next_probe()
    assert world.endpoint_status.consecutive_failures == 0


def test_the_operator_is_killed_after_each_step_and_goes_on() -> None:
    world = EndpointWorld()
    for step in (world.settle_endpoint, world.cluster.start_pod, world.settle_endpoint):
        step()
        world.restart()
        world.settle_endpoint()
    world.end_probe()
    world.restart()
    world.settle_endpoint()
    assert world.said(READY) == ("True", "ProbeMetPolicy")
    assert len(world.probe_jobs) == 1


def test_a_probe_whose_creator_was_killed_is_found() -> None:
    world = EndpointWorld()
    world.cluster.errors["apply_status"] = TransientError("killed")
    with pytest.raises(TransientError):
        world.look_at_endpoint()
    assert len(world.probe_jobs) == 1
    world.cluster.errors.clear()
    world.restart()
    world.settle_endpoint()
    world.end_probe()
    assert len(world.probe_jobs) == 1
    assert world.said(READY) == ("True", "ProbeMetPolicy")


def test_watches_that_lag_do_not_make_a_second_probe() -> None:
    world = EndpointWorld()
    world.cluster.lag = True
    for _ in range(3):
        world.look_at_endpoint()
    assert len(world.probe_jobs) == 1


def test_a_lost_end_is_found_without_a_watch() -> None:
    world = EndpointWorld()
    world.settle_endpoint()
    world.cluster.start_pod()
    world.cluster.lag = True
    world.cluster.end_pod(0, told())
    world.cluster.end_job("Complete")
    world.pass_time(61)
    world.settle_endpoint()
    assert world.said(READY) == ("True", "ProbeMetPolicy")


def test_a_token_asks_for_one_probe_more_and_is_answered() -> None:
    world = EndpointWorld()
    world.probe()
    world.change_endpoint(probe={"manual": "now"})
    world.settle_endpoint()
    assert world.said(READY)[0] == "True", "what is known of the same server stays"
    world.end_probe()
    assert world.endpoint_status.last_manual_probe == "now"
    world.pass_time(10)
    world.settle_endpoint()
    assert world.endpoint_status.current_probe is None


def test_of_another_server_nothing_is_known() -> None:
    world = EndpointWorld()
    world.probe()
    world.change_endpoint(host="imap.new.example.org")
    world.settle_endpoint()
    assert world.said(READY) == ("Unknown", "NotYetKnown")
    status = world.endpoint_status
    assert (status.tls, status.capabilities, status.certificate) == (None, [], None)
    assert status.address == "imap.new.example.org:993"
    world.end_probe()
    assert world.said(READY)[0] == "True"


def test_a_probe_of_the_former_server_says_nothing_of_the_new_one() -> None:
    world = EndpointWorld()
    world.settle_endpoint()
    world.cluster.start_pod()
    world.settle_endpoint()
    world.change_endpoint(host="imap.new.example.org")
    world.settle_endpoint()
    world.cluster.end_pod(0, told())
    world.cluster.end_job("Complete")
    world.settle_endpoint()
    assert world.said(READY) == ("Unknown", "NotYetKnown")
    assert len(world.probe_jobs) == 2


def test_the_job_is_refused_and_tried_again() -> None:
    world = EndpointWorld()
    world.cluster.errors["create_job"] = ForbiddenError("exceeded quota")
    assert world.look_at_endpoint() == 60
    assert world.said(READY) == ("Unknown", "JobRefused")
    world.cluster.errors.clear()
    world.probe()
    assert world.said(READY)[0] == "True"


def test_suspended_nothing_is_probed_and_nothing_is_held_back() -> None:
    world = EndpointWorld(probe={"suspend": True})
    world.settle_endpoint()
    assert world.said(READY) == ("Unknown", "Suspended")
    assert world.probe_jobs == []
    world.settle()
    assert len(world.run_jobs) == 1
    world.change_endpoint()
    world.settle_endpoint()
    assert world.said(READY) == ("Unknown", "NotYetKnown")
    assert len(world.probe_jobs) == 1


# --- certificates ---


def test_a_certificate_that_ends_soon_is_told_between_probes() -> None:
    world = EndpointWorld(probe={"periodSeconds": 86400})
    world.probe(told(facts=facts(ends=14 * 86400 + 3600)))
    assert world.said(EXPIRING) == ("False", "AsExpected")
    again = world.settle_endpoint()
    assert again is not None
    assert again <= 3600
    world.pass_time(3600)
    world.settle_endpoint()
    assert world.said(EXPIRING) == ("True", "ExpiresSoon")
    assert world.said(READY)[0] == "True", "it is still good"
    assert world.event_reasons == ["EndpointReady", "CertificateExpiring"]


def test_a_certificate_that_ended_shows_at_the_next_probe() -> None:
    world = EndpointWorld()
    world.probe()
    world.next_probe(expired())
    assert world.said(TLS) == ("False", "CertificateExpired")
    assert world.said(READY) == ("False", "CertificateExpired")
    assert world.said(REACHABLE) == ("True", "Answered")
    assert world.said(EXPIRING) == ("True", "CertificateExpired")
    status = world.endpoint_status
    assert status.tls is None, "nothing that was negotiated before holds"
    assert status.certificate is not None
    assert status.certificate.not_after_time is not None
    assert status.capabilities, "it is the same server"
    assert world.event_reasons == ["EndpointReady", "TLSNotSecured", "CertificateExpiring"]
    world.next_probe()
    assert world.said(TLS) == ("True", "Encrypted")
    assert world.said(EXPIRING) == ("False", "AsExpected")


# --- MailSyncs that refer to it ---


def test_a_run_waits_for_the_first_probe() -> None:
    world = EndpointWorld()
    world.settle()
    assert state(world.status) == ("Unknown", "WaitingForEndpoint")
    ready = condition_of(world.status, ConditionType.READY)
    assert (ready.status, ready.reason) == (ConditionStatus.UNKNOWN, "EndpointNotReady")
    assert world.run_jobs == []
    world.probe()
    world.settle()
    assert len(world.run_jobs) == 1
    assert world.meter.reasons == ["RunStarted"]


def test_a_missing_endpoint_is_waited_for() -> None:
    world = EndpointWorld()
    world.cluster.remove("MailEndpoint", *ENDPOINT)
    world.settle()
    ready = condition_of(world.status, ConditionType.READY)
    assert (ready.status, ready.reason) == (ConditionStatus.FALSE, "EndpointNotFound")
    assert 'there is no MailEndpoint "old" (spec.source.endpointRef)' in ready.message
    assert condition_of(world.status, ConditionType.STALLED).status is ConditionStatus.FALSE
    assert world.meter.reasons == ["WaitingForEndpoint"]
    world.add_endpoint()
    world.probe()
    world.settle()
    assert len(world.run_jobs) == 1


@pytest.mark.parametrize(
    ("verdict", "reason", "stalled"),
    [
        (UNREACHABLE, "Unreachable", ConditionStatus.FALSE),
        (expired(), "CertificateExpired", ConditionStatus.TRUE),
        (told(ExitCode.PROTOCOL), "ProtocolViolation", ConditionStatus.TRUE),
        (told(ExitCode.CONFIGURATION), "InvalidConfiguration", ConditionStatus.TRUE),
    ],
    ids=lambda value: getattr(value, "reason", None),
)
def test_no_run_starts_while_the_server_is_not_ready(
    verdict: ProbeVerdict, reason: str, stalled: ConditionStatus
) -> None:
    world = EndpointWorld()
    world.probe(verdict)
    world.settle()
    assert world.run_jobs == []
    assert state(world.status) == ("Unknown", "WaitingForEndpoint")
    ready = condition_of(world.status, ConditionType.READY)
    assert (ready.status, ready.reason) == (ConditionStatus.FALSE, reason)
    assert 'MailEndpoint "old" of the source' in ready.message
    assert condition_of(world.status, ConditionType.STALLED).status is stalled
    assert world.meter.reasons == [
        "Stalled" if stalled is ConditionStatus.TRUE else "WaitingForEndpoint"
    ]
    world.settle()
    world.next_probe()
    world.settle()
    assert len(world.run_jobs) == 1
    assert condition_of(world.status, ConditionType.STALLED).status is ConditionStatus.FALSE


def test_a_run_under_way_is_left_alone() -> None:
    world = EndpointWorld()
    world.probe()
    world.settle()
    world.cluster.start_pod()
    world.settle()
    world.cluster.put(  # the endpoint fails meanwhile
        "MailEndpoint",
        merged(
            world.cluster.objects["MailEndpoint", *ENDPOINT],
            {"status": {"conditions": []}},
        ),
    )
    world.settle()
    assert state(world.status) == ("Unknown", "InitialSync")


def test_finished_mailboxes_do_not_run_again_for_a_changed_endpoint() -> None:
    world = EndpointWorld()
    world.probe()
    world.settle()
    world.run()
    assert state(world.status) == ("True", "Completed")
    world.change_endpoint(host="imap.new.example.org")
    world.probe()
    world.settle()
    assert state(world.status) == ("True", "Completed")
    world.next_probe(expired())
    world.next_probe()
    world.settle()
    assert state(world.status) == ("True", "Completed")
    assert len(world.run_jobs) == 1
    world.cluster.remove("MailEndpoint", *ENDPOINT)
    world.settle()
    assert state(world.status) == ("True", "Completed")


def test_a_failed_mailbox_runs_again_when_its_endpoint_is_another() -> None:
    world = EndpointWorld()
    world.probe()
    world.settle()
    world.run(ExitCode.TLS_POLICY)
    assert state(world.status)[0] == "False"
    world.settle()
    assert len(world.run_jobs) == 1
    world.change_endpoint(tls={"verify": "ChainOnly"})
    world.settle()
    assert len(world.run_jobs) == 1, "not before the other one is known"
    world.probe()
    world.settle()
    assert len(world.run_jobs) == 2


def test_a_failed_mailbox_runs_again_when_its_endpoint_has_recovered() -> None:
    world = EndpointWorld()
    world.probe()
    world.settle()
    world.run(ExitCode.TLS_POLICY)
    world.next_probe(expired())
    world.settle()
    assert len(world.run_jobs) == 1
    world.next_probe()
    world.settle()
    assert len(world.run_jobs) == 2
    world.run(ExitCode.TLS_POLICY)
    world.settle()
    assert len(world.run_jobs) == 2, "once for each recovery"


@pytest.mark.parametrize("code", [ExitCode.TLS_POLICY, ExitCode.UNREACHABLE])
def test_a_run_that_failed_of_its_server_has_it_probed_before_its_time(code: ExitCode) -> None:
    world = EndpointWorld()
    world.probe()
    world.settle()
    world.run(code)
    world.settle_endpoint()
    assert world.endpoint_status.current_probe is None, "not within a minute of the last one"
    world.pass_time(60)
    world.probe(expired())
    assert world.said(READY) == ("False", "CertificateExpired")
    # Once: the doubt is answered.
    due = world.endpoint_status.next_probe_time
    assert due is not None
    assert world.settle_endpoint() == (due - world.cluster.now).total_seconds()


def test_a_run_that_failed_of_something_else_has_nothing_probed() -> None:
    world = EndpointWorld()
    world.probe()
    world.settle()
    world.run(ExitCode.CREDENTIALS)
    world.pass_time(60)
    world.settle_endpoint()
    assert world.endpoint_status.current_probe is None


def test_refused_credentials_are_not_tried_again_for_a_recovered_endpoint() -> None:
    world = EndpointWorld()
    never = {"retry": {"credentialsRetrySeconds": 0}}  # else: test_refusals.py
    world.change(**REFERRING, **never)
    world.probe()
    world.settle()
    world.run(ExitCode.CREDENTIALS)
    world.next_probe(UNREACHABLE)
    world.next_probe()
    world.settle()
    assert len(world.run_jobs) == 1


def test_refused_credentials_are_tried_at_once_on_another_server() -> None:
    world = EndpointWorld()
    world.probe()
    world.settle()
    world.run(ExitCode.CREDENTIALS)
    world.pass_time(60)
    world.change_endpoint(host="imap.other.example.org")
    world.probe()
    world.settle()
    assert len(world.run_jobs) == 2


def test_a_refused_login_at_a_known_service_says_what_to_know() -> None:
    world = EndpointWorld(preset="Gmail")
    world.probe()
    world.settle()
    world.run(ExitCode.CREDENTIALS, side="source")
    message = condition_of(world.status, ConditionType.STALLED).message
    assert "app password" in message
    note = world.endpoint_status.conditions[0].message
    assert "app password" in note


def test_a_mailbox_that_waits_says_it_once() -> None:
    world = EndpointWorld()
    world.probe(UNREACHABLE)
    for _ in range(3):
        world.settle()
        world.next_probe(UNREACHABLE)
    assert world.meter.reasons == ["WaitingForEndpoint"]


def test_the_reference_is_changed_to_another_endpoint() -> None:
    world = EndpointWorld()
    world.probe(UNREACHABLE)
    world.settle()
    world.change(source={"host": None, "endpointRef": {"name": "other"}})
    world.settle()
    ready = condition_of(world.status, ConditionType.READY)
    assert ready.reason == "EndpointNotFound"

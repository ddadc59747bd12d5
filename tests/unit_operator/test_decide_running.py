"""Decisions while a run is under way: what its pod and its log say."""

from __future__ import annotations

from typing import Any

import pytest

from mailsync_api.conditions import ConditionStatus, ConditionType, Reason
from mailsync_api.endpoint import Side, TLSMode, TLSVerify
from mailsync_api.status import (
    Progress,
    TLSFacts,
    TLSStatus,
)
from mailsync_operator.decide import decide
from mailsync_operator.observe import Feed
from tests.unit_operator.lives import in_run
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
)


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
            ("source-proxy", 'secret "gate" not found'),
            Reason.SECRET_NOT_FOUND,
            ['Secret "gate"', "credentials for the proxy of the source", '"username" or "word"'],
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
    proxy = {
        "type": "SOCKS5",
        "host": "gate.example.org",
        "port": 1080,
        "secretRef": {"name": "gate", "passwordKey": "word"},
    }
    mailsync = in_run(source={"tls": refs, "proxy": proxy})
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


@pytest.mark.parametrize(
    ("event", "reason", "words"),
    [
        (
            ("source", "references non-existent secret key: secret"),
            Reason.SECRET_KEY_NOT_FOUND,
            ['Secret "source-password" with the OAuth2 credentials', '"token" or "secret"'],
        ),
        (
            ("source-token-ca", 'configmap "trust" not found'),
            Reason.CONFIG_MAP_NOT_FOUND,
            ['ConfigMap "trust" with the CA certificates for the token endpoint of the source'],
        ),
    ],
)
def test_what_a_token_lacks_is_named(
    event: tuple[str, str], reason: Reason, words: list[str]
) -> None:
    oauth2 = {
        "grant": "RefreshToken",
        "tokenURL": "https://login.example.org/token",
        "clientID": "app",
        "caRef": {"name": "trust"},
    }
    authentication = {"secretRef": {"clientSecretKey": "secret"}, "oauth2": oauth2}
    mailsync = in_run(source={"authentication": authentication})
    events = (mount_event(*event),)
    decision = decide(
        observe(mailsync, jobs=(job(mailsync),), pods=(pod(mailsync),), pod_events=events)
    )
    ready = condition_of(decision.status, ConditionType.READY)
    assert (ready.status, ready.reason) == (ConditionStatus.FALSE, reason)
    assert all(word in ready.message for word in words), ready.message


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

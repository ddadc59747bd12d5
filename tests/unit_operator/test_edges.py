"""The edges: settings, log lines, the view on the indices, readiness, what watches bring."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import socket
from typing import Any

import aiohttp
import kopf
import pytest
from prometheus_client import CollectorRegistry, Gauge

from mailsync_operator import logs
from mailsync_operator.endpoints.referrers import Referrers
from mailsync_operator.handlers import build_registry, configure
from mailsync_operator.runtime import Runtime
from mailsync_operator.server import MetricsServer
from mailsync_operator.settings import Settings, read_settings
from mailsync_operator.snapshot import (
    EndpointObject,
    JobOutcome,
    JobSnapshot,
    Key,
    MailSyncObject,
    PodPhase,
    PodSnapshot,
    Work,
    owner,
)
from mailsync_operator.view import IndexView, Indices
from tests.support.builders import endpoint_manifest
from tests.unit_operator.endpoint_objects import endpoint_object, ready_status
from tests.unit_operator.objects import UID, at, job_body, mailsync_object

# --- settings ---


def test_defaults() -> None:
    settings = read_settings(["--image", "engine:1"], {})
    assert settings == Settings(image="engine:1")


def test_the_environment_is_enough_and_flags_win() -> None:
    environment = {
        "MAILSYNC_SYNCJOB_IMAGE": "engine:1",
        "MAILSYNC_NAMESPACES": "a, b",
        "MAILSYNC_WORKERS": "3",
        "MAILSYNC_PER_OBJECT_METRICS": "false",
        "MAILSYNC_LOG_FORMAT": "plain",
    }
    settings = read_settings(["--workers", "5"], environment)
    assert settings.namespaces == ("a", "b")
    assert settings.workers == 5
    assert settings.per_object_metrics is False
    assert settings.log_format == "plain"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([], "--image"),
        (["--image", "x", "--workers", "0"], "less than 1"),
        (["--image", "x", "--metrics-port", "70000"], "no port"),
        (["--image", "x", "--per-object-metrics", "perhaps"], "perhaps"),
        (["--image", "x", "--log-format", "xml"], "xml"),
    ],
)
def test_what_makes_no_sense_is_named(
    arguments: list[str], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        read_settings(arguments, {})
    assert word in capsys.readouterr().err


# --- log lines ---


def test_a_log_line_is_one_json_object() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.JsonFormatter())
    logger = logging.Logger("test")  # noqa: LOG001  none of the global ones
    logger.addHandler(handler)
    logger.warning("two\nlines %s", 1, extra={"mailsync": "default/alice"})
    [line] = stream.getvalue().splitlines()
    found = json.loads(line)
    assert found["message"] == "two\nlines 1"
    assert (found["level"], found["mailsync"]) == ("warning", "default/alice")


# --- what watches bring ---


def test_a_bare_object_is_no_problem() -> None:
    bodies: list[dict[str, Any]] = [
        {},
        {"metadata": {}},
        {"status": None, "spec": None, "metadata": None},
    ]
    for body in bodies:
        assert MailSyncObject.from_body(body).uid == ""
        assert JobSnapshot.from_body(body).outcome is None
        assert PodSnapshot.from_body(body).phase is PodPhase.UNKNOWN
        assert owner(body) is None


def test_a_job_is_read() -> None:
    mailsync = mailsync_object()
    body = job_body(mailsync, 3, outcome="Failed", reason="DeadlineExceeded", failed=2, active=1)
    found = JobSnapshot.from_body(body)
    assert (found.run, found.outcome, found.reason, found.pods) == (
        3,
        JobOutcome.FAILED,
        "DeadlineExceeded",
        3,
    )
    assert owner(body) == Work("MailSync", mailsync.key)


def test_a_pod_is_read() -> None:
    ended = {
        "exitCode": 77,
        "reason": "Error",
        "message": "m",
        "finishedAt": "2026-01-01T00:00:00Z",
    }
    body: dict[str, Any] = {
        "metadata": {
            "name": "p",
            "namespace": "default",
            "labels": {"mailsync.dev/mailsync-uid": UID, "mailsync.dev/run": "2"},
            "annotations": {"mailsync.dev/mailsync-name": "alice"},
        },
        "spec": {"nodeName": "n"},
        "status": {
            "phase": "Failed",
            "containerStatuses": [
                {"name": "sidecar", "state": {"terminated": {"exitCode": 0}}},
                {"name": "engine", "state": {"terminated": ended}},
            ],
        },
    }
    found = PodSnapshot.from_body(body)
    assert (found.owner_uid, found.run, found.over, found.running) == (UID, 2, True, False)
    assert found.termination is not None
    assert (found.termination.exit_code, found.termination.message) == (77, "m")
    assert owner(body) == Work("MailSync", ("default", "alice"))


@pytest.mark.parametrize(
    ("own", "before", "expected"),
    [
        ({"waiting": {"reason": "PodInitializing"}}, "ErrImagePull", "ErrImagePull"),
        ({"waiting": {"reason": "PodInitializing"}}, "CrashLoopBackOff", "CrashLoopBackOff"),
        ({"waiting": {"reason": "PodInitializing"}}, "", "PodInitializing"),
        ({"waiting": {"reason": "ErrImagePull"}}, "CrashLoopBackOff", "ErrImagePull"),
        ({"running": {"startedAt": "2024-01-01T00:00:00Z"}}, "CrashLoopBackOff", ""),
    ],
)
def test_what_holds_up_a_tunnel_holds_up_the_engine(
    own: dict[str, Any], before: str, expected: str
) -> None:
    tunnel = {"waiting": {"reason": before}} if before else {"running": {}}
    status = {
        "initContainerStatuses": [{"name": "tunnel-source", "state": tunnel}],
        "containerStatuses": [{"name": "engine", "state": own}],
    }
    assert PodSnapshot.from_body({"metadata": {}, "status": status}).waiting_reason == expected


# --- the view ---


def indices(**filled: dict[Any, Any]) -> Indices:
    empty: dict[Any, Any] = {}
    names = ("mailsyncs", "endpoints", "users", "jobs", "pods")
    return Indices(**{name: filled.get(name, empty) for name in names})


def test_of_two_namesakes_the_newer_one_counts() -> None:
    old, new = mailsync_object(uid="old", version=5), mailsync_object(uid="new", version=9)
    view = IndexView(indices(mailsyncs={old.key: [old, new]}))
    assert view.mailsync(old.key) == new
    assert list(view.mailsyncs()) == [new]
    assert view.jobs("new") == ()


def test_what_a_watch_missed_the_end_of_is_forgotten() -> None:
    gone, there = mailsync_object("gone", uid="1"), mailsync_object("there", uid="2")
    late = mailsync_object("late", uid="3")
    index = {gone.key: [gone], there.key: [there]}
    endpoint = EndpointObject.from_body(endpoint_manifest())
    view = IndexView(indices(mailsyncs=index, endpoints={endpoint.key: [endpoint]}))
    before = view.uids()
    index[late.key] = [late]  # made after the list was asked for, so it is not in it
    assert view.forget_missing(before, frozenset({"2"})) == [
        Work("MailEndpoint", endpoint.key),
        Work("MailSync", gone.key),
    ]
    assert {found.name for found in view.mailsyncs()} == {"there", "late"}
    assert list(view.endpoints()) == []


def test_mailsyncs_hear_of_their_endpoint_only_what_concerns_them() -> None:
    heard: list[Key] = []
    index: dict[Any, Any] = {}
    users = {("default", "old"): [("default", "bob"), ("default", "alice")]}
    view = IndexView(indices(endpoints=index, users=users))
    referrers = Referrers(view, news=heard.append)

    def show(*found: EndpointObject) -> int:
        """Return how many were told."""
        index[("default", "old")] = list(found)
        heard.clear()
        referrers.endpoint_seen(("default", "old"))
        return len(heard)

    assert show(endpoint_object()) == 2
    assert show(endpoint_object(version=11)) == 0
    ready = ready_status()
    assert show(endpoint_object(version=12, status=ready)) == 2
    later = ready.model_copy(update={"last_probe_time": at(9), "next_probe_time": at(99)})
    assert show(endpoint_object(version=13, status=later)) == 0
    assert show() == 2
    assert show(endpoint_object(version=14, status=later)) == 2
    assert heard == [("default", "alice"), ("default", "bob")]
    referrers.endpoint_seen(("default", "nobody's"))


# --- the server ---


def test_readiness_and_metrics_are_served() -> None:
    registry = CollectorRegistry()
    Gauge("mailsync_test", "A test.", registry=registry).set(7)
    reasons = ["not yet", ""]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    async def main() -> None:
        server = MetricsServer(registry, port=port, ready=lambda: reasons.pop(0))
        await server.start()
        url = f"http://127.0.0.1:{port}"
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{url}/readyz") as answer:
                assert (answer.status, await answer.text()) == (503, "not yet")
            async with session.get(f"{url}/readyz") as answer:
                assert answer.status == 200
            async with session.get(f"{url}/metrics") as answer:
                assert "mailsync_test 7.0" in await answer.text()
                assert answer.headers["Content-Type"].startswith("text/plain")
        await server.stop()

    asyncio.run(main())


# --- kopf ---


def test_only_handlers_that_need_no_finalizer_and_no_annotation() -> None:
    registry = build_registry(Runtime(Settings(image="engine:1")))
    assert not registry._changing.get_all_handlers()
    assert not registry._spawning.get_all_handlers()
    assert not registry._webhooks.get_all_handlers()
    watched = {handler.id for handler in registry._watching.get_all_handlers()}
    assert watched == {"mailsync", "endpoint", "job", "pod"}


def test_who_uses_a_secret_is_kept_only_where_secrets_are_watched() -> None:
    def indices(settings: Settings) -> set[str]:
        registry = build_registry(Runtime(settings))
        return {str(handler.id) for handler in registry._indexing.get_all_handlers()}

    usual = {"mailsyncs", "endpoints", "users", "jobs", "jobs_at", "pods"}
    assert indices(Settings(image="engine:1")) == usual
    assert indices(Settings(image="engine:1", watch_secrets=True)) == usual | {"secret_users"}
    alice, bob = mailsync_object("alice", uid="1"), mailsync_object("bob", uid="2")
    secret = ("default", "source-password")
    users: dict[tuple[str, str], list[tuple[str, str]]] = {}
    view = IndexView(Indices({}, {}, {}, {}, {}, secret_users=users))
    users[secret] = [alice.key, bob.key]  # as the watches bring them, later
    assert view.users_of_secret(secret) == {alice.key, bob.key}
    assert not view.users_of_secret(("other", "source-password"))
    assert not IndexView(Indices({}, {}, {}, {}, {})).users_of_secret(secret)


def test_watched_objects_are_not_limited_in_number() -> None:
    # Seen with 1000 MailSyncs and a limit of 50: after a restart nothing was ever handled.
    settings = kopf.OperatorSettings()
    configure(settings)
    assert settings.queueing.worker_limit is None


def test_before_it_is_started_the_probe_is_content() -> None:
    assert Runtime(Settings(image="engine:1")).check() == {"queued": 0, "delayed": 0}

"""Transitions as Events: one object for each thing said, with a count."""

from __future__ import annotations

import asyncio

from mailsync_api.conditions import EventReason
from mailsync_operator.builders.event import build_event, event_name
from mailsync_operator.events import EventRecorder
from mailsync_operator.transitions import Transition
from tests.unit_operator.fake_cluster import FakeCluster
from tests.unit_operator.objects import NOW, mailsync_object

FAILED = Transition(EventReason.RUN_FAILED, "run 1 (Initial): Unreachable", warning=True)


def recorder(cluster: FakeCluster) -> EventRecorder:
    return EventRecorder(cluster, instance="pod", clock=lambda: cluster.now)


def test_a_repeat_is_counted() -> None:
    cluster = FakeCluster(NOW)
    first = recorder(cluster)
    for _ in range(3):
        asyncio.run(first.record(mailsync_object(), FAILED))
    [event] = cluster.all_of("Event")
    assert (event["count"], event["type"], event["reason"]) == (3, "Warning", "RunFailed")


def test_a_restarted_operator_goes_on_counting() -> None:
    cluster = FakeCluster(NOW)
    for _ in range(2):
        asyncio.run(recorder(cluster).record(mailsync_object(), FAILED))
    [event] = cluster.all_of("Event")
    assert event["count"] == 2


def test_an_expired_event_is_written_anew() -> None:
    cluster = FakeCluster(NOW)
    writer = recorder(cluster)
    asyncio.run(writer.record(mailsync_object(), FAILED))
    [event] = cluster.all_of("Event")
    cluster.remove("Event", "default", event["metadata"]["name"])
    asyncio.run(writer.record(mailsync_object(), FAILED))
    [event] = cluster.all_of("Event")
    assert event["count"] == 1


def test_names_and_texts_fit() -> None:
    mailsync = mailsync_object("a" * 253)
    body = build_event(
        mailsync, Transition(EventReason.STALLED, "\u00e4" * 9999), now=NOW, instance="x" * 300
    )
    assert len(body["metadata"]["name"]) <= 253
    assert len(body["message"].encode()) <= 1024
    assert body["message"].endswith(" ...")
    assert len(body["reportingInstance"]) <= 128


def test_different_things_are_different_events() -> None:
    other = Transition(EventReason.RUN_FAILED, "run 2 (Delta): Unreachable", warning=True)
    assert event_name(mailsync_object(), FAILED) != event_name(mailsync_object(), other)
    twin = mailsync_object(uid="another")
    assert event_name(mailsync_object(), FAILED) != event_name(twin, FAILED)

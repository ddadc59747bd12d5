"""Metrics: what is exposed is what the catalogue and the documentation say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from mailsync_api.conditions import Condition, EventReason
from mailsync_api.endpoint import TLSMode, TLSVerify
from mailsync_api.endpointstatus import MailEndpointStatus
from mailsync_api.exitcodes import ExitCode
from mailsync_api.probe import CertificateFacts
from mailsync_api.status import TLSFacts, TLSStatus
from mailsync_operator import metrics_docs
from mailsync_operator.endpoints.metrics import EndpointCollector
from mailsync_operator.metrics import CATALOGUE, Metrics
from mailsync_operator.resource_metrics import ResourceCollector
from mailsync_operator.snapshot import EndpointObject, JobSnapshot, Key, MailSyncObject, PodSnapshot
from mailsync_operator.transitions import Transition
from tests.support.builders import endpoint_manifest
from tests.unit_operator.endpoint_objects import probe_record
from tests.unit_operator.objects import at, decide_end, mailsync_object, verdict

_BUILT_IN = ("process_", "python_")


class View:
    def __init__(self, *objects: MailSyncObject, servers: Sequence[EndpointObject] = ()) -> None:
        self.objects = list(objects)
        self.servers = servers

    def mailsync(self, key: Key) -> MailSyncObject | None:
        return next((found for found in self.objects if found.key == key), None)

    def mailsyncs(self) -> Iterator[MailSyncObject]:
        return iter(self.objects)

    def endpoint(self, key: Key) -> EndpointObject | None:
        return next((found for found in self.servers if found.key == key), None)

    def endpoints(self) -> Iterator[EndpointObject]:
        return iter(self.servers)

    def jobs(self, uid: str) -> tuple[JobSnapshot, ...]:
        raise AssertionError(uid)

    def jobs_at(self, endpoint: Key) -> tuple[JobSnapshot, ...]:
        raise AssertionError(endpoint)

    def pods(self, uid: str) -> tuple[PodSnapshot, ...]:
        raise AssertionError(uid)


SERVER = MailEndpointStatus(
    conditions=[
        Condition(type="Ready", status="True", reason="ProbeMetPolicy", last_transition_time=at(0))
    ],
    tls=TLSFacts(
        mode=TLSMode.IMPLICIT,
        secured=True,
        verified=TLSVerify.FULL,
        protocol="TLSv1.3",
        cipher="C",
    ),
    certificate=CertificateFacts(not_after_time=at(5000)),
    latency_milliseconds=12,
    last_probe_time=at(7),
)


def server() -> EndpointObject:
    body = endpoint_manifest("old", preset="Gmail", host=None)
    return EndpointObject.from_body(body | {"status": SERVER.to_wire()})


def ended(code: ExitCode = ExitCode.DONE, **changes: Any) -> MailSyncObject:
    facts = TLSFacts(
        mode=TLSMode.START_TLS,
        secured=True,
        verified=TLSVerify.FULL,
        protocol="TLSv1.3",
        cipher="C",
        not_after_time=at(1000),
    )
    tls = TLSStatus(source=facts, destination=facts)
    return mailsync_object(status=decide_end(verdict(code, tls=tls)), **changes)


def exposed(metrics: Metrics) -> dict[str, dict[tuple[str, ...], float]]:
    text = generate_latest(metrics.registry).decode()
    labels = {metric.name: metric.labels for metric in CATALOGUE}
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            # In the catalogue's order; the exposition sorts them.
            order = labels.get(sample.name.removesuffix("_sum"), tuple(sample.labels))
            key = tuple(sample.labels[label] for label in order)
            found.setdefault(sample.name, {})[key] = sample.value
    return found


def with_objects(*objects: MailSyncObject, per_object: bool = True) -> Metrics:
    metrics = Metrics()
    metrics.registry.register(ResourceCollector(View(*objects), per_object=per_object))
    return metrics


def test_the_values_of_an_object_are_those_of_its_status() -> None:
    found = exposed(with_objects(ended()))
    alice = ("default", "alice")
    assert found["mailsync_info"] == {
        (*alice, "source.example.org", "destination.example.org", "Sync"): 1
    }
    assert found["mailsync_status_messages"][*alice, "copied"] == 500
    assert found["mailsync_status_bytes"][*alice, "total"] == 9000
    assert found["mailsync_last_success_timestamp_seconds"][alice] == at(60).timestamp()
    assert found["mailsync_last_run_duration_seconds"][alice] == 60
    assert found["mailsync_consecutive_failures"][alice] == 0
    assert found["mailsync_status_condition"][*alice, "Succeeded", "True", "Completed"] == 1
    assert found["mailsync_tls_info"][*alice, "source", "StartTLS", "TLSv1.3", "C", "Full"] == 1
    expiry = found["mailsync_certificate_expiry_timestamp_seconds"]
    assert expiry[*alice, "destination"] == at(1000).timestamp()
    assert found["mailsync_objects"] == {("Completed",): 1}


def test_the_values_of_an_endpoint_are_those_of_its_status() -> None:
    metrics = Metrics()
    metrics.registry.register(EndpointCollector(View(servers=[server()])))
    found = exposed(metrics)
    old = ("default", "old")
    info = (*old, "imap.gmail.com", "Gmail", "Implicit", "TLSv1.3", "C", "Full")
    assert found["mailsync_endpoint_info"] == {info: 1}
    ready = (*old, "Ready", "True", "ProbeMetPolicy")
    assert found["mailsync_endpoint_status_condition"] == {ready: 1}
    expiry = found["mailsync_endpoint_certificate_expiry_timestamp_seconds"]
    assert expiry == {old: at(5000).timestamp()}
    assert found["mailsync_endpoint_latency_seconds"] == {old: 0.012}
    assert found["mailsync_endpoint_last_probe_timestamp_seconds"] == {old: at(7).timestamp()}


def test_a_host_may_be_that_of_an_endpoint() -> None:
    alice = mailsync_object(source={"host": None, "endpointRef": {"name": "old"}})
    bob = mailsync_object(
        "bob", uid="b", source={"host": None, "endpointRef": {"name": "not there"}}
    )
    metrics = Metrics()
    view = View(alice, bob, servers=[server()])
    metrics.registry.register(ResourceCollector(view, per_object=True))
    hosts = {labels[1]: labels[2] for labels in exposed(metrics)["mailsync_info"]}
    assert hosts == {"alice": "imap.gmail.com", "bob": ""}


def test_what_is_not_known_is_not_exposed() -> None:
    found = exposed(with_objects(mailsync_object()))
    assert "mailsync_last_success_timestamp_seconds" not in found
    assert found["mailsync_objects"] == {("Unknown",): 1}


def test_a_changed_object_shows_and_a_deleted_one_is_gone() -> None:
    view = View(mailsync_object(version=1))
    metrics = Metrics()
    metrics.registry.register(ResourceCollector(view, per_object=True))
    assert exposed(metrics)["mailsync_objects"] == {("Unknown",): 1}
    view.objects = [ended(version=2)]
    assert exposed(metrics)["mailsync_objects"] == {("Completed",): 1}
    view.objects = []
    assert "mailsync_info" not in exposed(metrics)


def test_per_object_metrics_can_be_switched_off() -> None:
    found = exposed(with_objects(ended(), per_object=False))
    assert not {metric.name for metric in CATALOGUE if metric.per_object} & set(found)
    assert found["mailsync_objects"] == {("Completed",): 1}


@pytest.mark.parametrize("code", [ExitCode.DONE, ExitCode.CREDENTIALS])
def test_a_run_that_ended_is_counted(code: ExitCode) -> None:
    status = decide_end(verdict(code))
    metrics = Metrics()
    transition = Transition(EventReason.RUN_SUCCEEDED, "x", run=status.last_run)
    metrics.transition(mailsync_object(), transition)
    metrics.transition(mailsync_object(), Transition(EventReason.RUN_STARTED, "x"))
    found = exposed(metrics)
    assert status.last_run is not None
    labels = ("Initial", status.last_run.result.value, status.last_run.reason)
    assert found["mailsync_runs_total"] == {labels: 1}
    assert found["mailsync_copied_messages_total"] == {("Initial",): 500}
    assert found["mailsync_copied_bytes_total"] == {("Initial",): 9000}
    assert found["mailsync_run_duration_seconds_sum"] == {labels[:2]: 60}


def test_all_that_is_exposed_is_in_the_catalogue_with_its_labels() -> None:
    metrics = with_objects(ended())
    metrics.transition(mailsync_object(), Transition(EventReason.RUN_SUCCEEDED, "x"))
    status = decide_end(verdict())
    done = Transition(EventReason.RUN_SUCCEEDED, "x", run=status.last_run)
    metrics.transition(mailsync_object(), done)
    metrics.reconciled("success", 0.1)
    metrics.request("GET", "200", 0.1)
    metrics.registry.register(EndpointCollector(View(servers=[server()])))
    metrics.probed(probe_record())
    families = {
        family.name: family
        for family in text_string_to_metric_families(generate_latest(metrics.registry).decode())
        if not family.name.startswith(_BUILT_IN)
    }
    # The parser takes the suffix off a counter's name.
    wanted = {
        m.name.removesuffix("_total") if m.kind == "counter" else m.name: m for m in CATALOGUE
    }
    for name, family in families.items():
        if name.endswith("_created"):
            continue
        assert (name in wanted, wanted[name].kind, wanted[name].help) == (
            True,
            family.type,
            family.documentation,
        )
        for sample in family.samples:
            if not sample.name.endswith("_created"):
                assert set(sample.labels) - {"le"} == set(wanted[name].labels)
    assert set(wanted) <= set(families)


def test_names_follow_the_conventions() -> None:
    for metric in CATALOGUE:
        assert metric.name.startswith("mailsync_")
        assert (metric.kind == "counter") == metric.name.endswith("_total")
        assert not {"uid", "username", "message", "address"} & set(metric.labels)
        assert metric.help.endswith(".")


def test_the_documentation_is_what_the_catalogue_says() -> None:
    page = Path(__file__).parents[2] / "docs" / "metrics.md"
    assert page.read_text(encoding="utf-8") == metrics_docs.render(), (
        "run: python -m mailsync_operator.metrics_docs --write docs/metrics.md"
    )

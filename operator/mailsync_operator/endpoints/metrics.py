"""Metrics of the MailEndpoints themselves, taken from their status when they are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from typing_extensions import override

from mailsync_api.endpointstatus import MailEndpointStatus
from mailsync_api.mailendpoint import MailEndpointSpec
from mailsync_operator.metrics import CATALOGUE
from mailsync_operator.observe import read, read_written
from mailsync_operator.resource_metrics import Sample

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mailsync_operator.snapshot import EndpointObject
    from mailsync_operator.view import ClusterView

__all__ = ["EndpointCollector", "endpoint_samples"]


def endpoint_samples(endpoint: EndpointObject) -> Iterator[Sample]:
    """Return the values of one MailEndpoint."""
    spec, _ = read(MailEndpointSpec, endpoint.spec)
    status = read_written(MailEndpointStatus, endpoint.status)
    if spec is not None:
        tls = status.tls
        facts = (tls.mode, tls.protocol or "", tls.cipher or "", tls.verified) if tls else ("",) * 4
        yield Sample("mailsync_endpoint_info", (spec.server.host, spec.preset, *facts), 1)
    for condition in status.conditions:
        labels = (condition.type, condition.status.value, condition.reason)
        yield Sample("mailsync_endpoint_status_condition", labels, 1)
    certificate = status.certificate
    for name, when in (
        (
            "mailsync_endpoint_certificate_expiry_timestamp_seconds",
            certificate.not_after_time if certificate else None,
        ),
        ("mailsync_endpoint_last_probe_timestamp_seconds", status.last_probe_time),
    ):
        if when is not None:
            yield Sample(name, (), when.timestamp())
    if status.active is not None:
        for kind in ("initial", "delta"):
            count = getattr(status.active, kind)
            yield Sample("mailsync_endpoint_active", (kind,), count)
    if status.latency_milliseconds is not None:
        yield Sample("mailsync_endpoint_latency_seconds", (), status.latency_milliseconds / 1000)


class EndpointCollector(Collector):
    """Collects from the operator's view at scrape time; there are few MailEndpoints."""

    def __init__(self, view: ClusterView) -> None:
        self._view = view

    @override
    def collect(self) -> Iterable[GaugeMetricFamily]:
        families = {
            metric.name: GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
            for metric in CATALOGUE
            if metric.per_endpoint
        }
        for endpoint in self._view.endpoints():
            for sample in endpoint_samples(endpoint):
                labels = (endpoint.namespace, endpoint.name, *sample.labels)
                families[sample.metric].add_metric(labels, sample.value)
        yield from families.values()

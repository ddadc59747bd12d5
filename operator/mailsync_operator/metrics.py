"""The operator's metrics: counters on transitions, and its own work.

Names, labels and meanings are in one table, ``CATALOGUE``, from which docs/metrics.md is made. No
label holds an address, a UID or an error's text.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

if TYPE_CHECKING:
    from mailsync_api.endpointstatus import ProbeRecord
    from mailsync_operator.snapshot import MailSyncObject
    from mailsync_operator.transitions import Transition

__all__ = ["CATALOGUE", "Metric", "Metrics"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric, as users read of it."""

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str
    per_object: bool = False
    """Whether there is one for each MailSync."""
    per_endpoint: bool = False
    """Whether there is one for each MailEndpoint."""


_OBJECT: Final = ("namespace", "name")

CATALOGUE: Final = (
    Metric(
        "mailsync_info",
        "gauge",
        (*_OBJECT, "source_host", "destination_host", "mode"),
        "What a MailSync is for; always 1.",
        per_object=True,
    ),
    Metric(
        "mailsync_status_condition",
        "gauge",
        (*_OBJECT, "type", "status", "reason"),
        "The present conditions of a MailSync; 1 for the status and reason that hold.",
        per_object=True,
    ),
    Metric(
        "mailsync_status_messages",
        "gauge",
        (*_OBJECT, "state"),
        "Messages of the current or last run: total, completed, copied, skipped.",
        per_object=True,
    ),
    Metric(
        "mailsync_status_bytes",
        "gauge",
        (*_OBJECT, "state"),
        "Bytes of the current or last run: total, completed.",
        per_object=True,
    ),
    Metric(
        "mailsync_last_success_timestamp_seconds",
        "gauge",
        _OBJECT,
        "When a run last succeeded.",
        per_object=True,
    ),
    Metric(
        "mailsync_next_run_timestamp_seconds",
        "gauge",
        _OBJECT,
        "When the next run starts, as far as it is known: after a failure or throttling, say.",
        per_object=True,
    ),
    Metric(
        "mailsync_last_run_duration_seconds",
        "gauge",
        _OBJECT,
        "How long the last run took.",
        per_object=True,
    ),
    Metric(
        "mailsync_consecutive_failures",
        "gauge",
        _OBJECT,
        "Failed runs since the last success; throttled ones do not count.",
        per_object=True,
    ),
    Metric(
        "mailsync_tls_info",
        "gauge",
        (*_OBJECT, "side", "mode", "protocol", "cipher", "verified"),
        "What was negotiated with a server; always 1.",
        per_object=True,
    ),
    Metric(
        "mailsync_certificate_expiry_timestamp_seconds",
        "gauge",
        (*_OBJECT, "side"),
        "When the certificate of a server ends.",
        per_object=True,
    ),
    Metric(
        "mailsync_endpoint_info",
        "gauge",
        (*_OBJECT, "host", "preset", "mode", "protocol", "cipher", "verified"),
        "Which server a MailEndpoint is, and what was negotiated with it; always 1.",
        per_endpoint=True,
    ),
    Metric(
        "mailsync_endpoint_status_condition",
        "gauge",
        (*_OBJECT, "type", "status", "reason"),
        "The present conditions of a MailEndpoint; 1 for the status and reason that hold.",
        per_endpoint=True,
    ),
    Metric(
        "mailsync_endpoint_certificate_expiry_timestamp_seconds",
        "gauge",
        _OBJECT,
        "When the certificate of a server ends, or ended.",
        per_endpoint=True,
    ),
    Metric(
        "mailsync_endpoint_active",
        "gauge",
        (*_OBJECT, "type"),
        "Runs from or to a MailEndpoint that are under way: initial or delta.",
        per_endpoint=True,
    ),
    Metric(
        "mailsync_endpoint_latency_seconds",
        "gauge",
        _OBJECT,
        "The round-trip time of one IMAP command in the last probe that met the policy.",
        per_endpoint=True,
    ),
    Metric(
        "mailsync_endpoint_last_probe_timestamp_seconds",
        "gauge",
        _OBJECT,
        "When a probe of a server last ended.",
        per_endpoint=True,
    ),
    Metric(
        "mailsync_objects",
        "gauge",
        ("state",),
        "MailSyncs by state, which is the reason of the condition Succeeded.",
    ),
    Metric("mailsync_runs_total", "counter", ("type", "result", "reason"), "Runs that ended."),
    Metric(
        "mailsync_run_duration_seconds",
        "histogram",
        ("type", "result"),
        "How long runs took.",
    ),
    Metric("mailsync_copied_messages_total", "counter", ("type",), "Messages that runs copied."),
    Metric("mailsync_copied_bytes_total", "counter", ("type",), "Bytes of copied messages."),
    Metric(
        "mailsync_skipped_messages_total",
        "counter",
        ("type",),
        "Messages that runs could not copy.",
    ),
    Metric(
        "mailsync_endpoint_probes_total",
        "counter",
        ("result", "reason"),
        "Probes of MailEndpoints that ended.",
    ),
    Metric(
        "mailsync_operator_queue_depth",
        "gauge",
        (),
        "MailSyncs and MailEndpoints that wait for a worker.",
    ),
    Metric(
        "mailsync_operator_queue_delayed",
        "gauge",
        (),
        "MailSyncs and MailEndpoints that are to be looked at again at a later time.",
    ),
    Metric(
        "mailsync_operator_reconcile_total",
        "counter",
        ("result",),
        "Looks at an object: success, requeue (to be looked at again later), error.",
    ),
    Metric(
        "mailsync_operator_reconcile_duration_seconds",
        "histogram",
        (),
        "How long a look at an object took.",
    ),
    Metric(
        "mailsync_operator_api_requests_total",
        "counter",
        ("verb", "code"),
        "Requests to the API server, without watches; code is error where no answer came.",
    ),
    Metric(
        "mailsync_operator_api_request_duration_seconds",
        "histogram",
        ("verb",),
        "How long requests to the API server took.",
    ),
    Metric("mailsync_operator_build_info", "gauge", ("version",), "The release; always 1."),
)

_RUN_BUCKETS: Final = (
    5,
    15,
    60,
    300,
    900,
    3600,
    3 * 3600,
    6 * 3600,
    12 * 3600,
    24 * 3600,
    48 * 3600,
)
_FAST_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """The counters; one for the process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._runs = self._counter("mailsync_runs_total")
        self._durations = self._histogram("mailsync_run_duration_seconds", _RUN_BUCKETS)
        self._messages = self._counter("mailsync_copied_messages_total")
        self._bytes = self._counter("mailsync_copied_bytes_total")
        self._skipped = self._counter("mailsync_skipped_messages_total")
        self._probes = self._counter("mailsync_endpoint_probes_total")
        self._looks = self._counter("mailsync_operator_reconcile_total")
        self._look_times = self._histogram(
            "mailsync_operator_reconcile_duration_seconds", _FAST_BUCKETS
        )
        self._requests = self._counter("mailsync_operator_api_requests_total")
        self._request_times = self._histogram(
            "mailsync_operator_api_request_duration_seconds", _FAST_BUCKETS
        )
        self.queue_depth = self._gauge("mailsync_operator_queue_depth")
        self.queue_delayed = self._gauge("mailsync_operator_queue_delayed")
        self._gauge("mailsync_operator_build_info").labels(version=version("mailsync")).set(1)

    def transition(self, mailsync: MailSyncObject, transition: Transition) -> None:
        """Count a run that ended."""
        del mailsync  # counters are not kept for each object
        run = transition.run
        if run is None:
            return
        self._runs.labels(type=run.type, result=run.result, reason=run.reason).inc()
        self._durations.labels(type=run.type, result=run.result).observe(run.duration_seconds)
        self._skipped.labels(type=run.type).inc(run.messages_skipped)
        if not run.dry_run:
            self._messages.labels(type=run.type).inc(run.messages_copied)
            self._bytes.labels(type=run.type).inc(run.bytes_copied)

    def probed(self, record: ProbeRecord) -> None:
        """Count a probe that ended."""
        self._probes.labels(result=record.result, reason=record.reason).inc()

    def reconciled(self, result: str, seconds: float) -> None:
        """Count one look at an object."""
        self._looks.labels(result=result).inc()
        self._look_times.observe(seconds)

    def request(self, verb: str, code: str, seconds: float) -> None:
        """Count one request to the API server."""
        self._requests.labels(verb=verb, code=code).inc()
        self._request_times.labels(verb=verb).observe(seconds)

    def _counter(self, name: str) -> Counter:
        metric = metric_named(name)
        return Counter(metric.name, metric.help, metric.labels, registry=self.registry)

    def _gauge(self, name: str) -> Gauge:
        metric = metric_named(name)
        return Gauge(metric.name, metric.help, metric.labels, registry=self.registry)

    def _histogram(self, name: str, buckets: tuple[float, ...]) -> Histogram:
        metric = metric_named(name)
        return Histogram(
            metric.name, metric.help, metric.labels, buckets=buckets, registry=self.registry
        )


def metric_named(name: str) -> Metric:
    """Return a metric of the catalogue."""
    return next(metric for metric in CATALOGUE if metric.name == name)

"""Metrics of the MailSyncs themselves, taken from their status when they are asked for.

Nothing is counted up, so a restarted operator says the same, and what was deleted is gone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from typing_extensions import override

from mailsync_api.conditions import ConditionType
from mailsync_api.status import MailSyncStatus, TLSStatus
from mailsync_operator import conditions
from mailsync_operator.gate import endpoint_state
from mailsync_operator.metrics import CATALOGUE, metric_named
from mailsync_operator.observe import read_status

if TYPE_CHECKING:
    from mailsync_operator.snapshot import MailSyncObject
    from mailsync_operator.view import ClusterView

__all__ = ["ResourceCollector", "Sample", "samples"]

_NO_STATE: Final = "Unknown"


@dataclass(frozen=True, slots=True)
class Sample:
    """One value; the labels after namespace and name, in the catalogue's order."""

    metric: str
    labels: tuple[str, ...]
    value: float


@dataclass(frozen=True, slots=True)
class _Row:
    version: int
    state: str
    samples: tuple[Sample, ...]


def samples(
    mailsync: MailSyncObject, status: MailSyncStatus, hosts: tuple[str, str]
) -> Iterator[Sample]:
    """Return the values of one MailSync; ``hosts`` are its source and destination."""
    yield Sample("mailsync_info", (*hosts, str(mailsync.spec.get("mode", "Sync"))), 1)
    for condition in status.conditions:
        labels = (condition.type, condition.status.value, condition.reason)
        yield Sample("mailsync_status_condition", labels, 1)
    yield from _progress(status)
    if status.last_sync_time is not None:
        when = status.last_sync_time.timestamp()
        yield Sample("mailsync_last_success_timestamp_seconds", (), when)
    if status.next_sync_time is not None:
        when = status.next_sync_time.timestamp()
        yield Sample("mailsync_next_run_timestamp_seconds", (), when)
    if status.last_run is not None:
        seconds = status.last_run.duration_seconds
        yield Sample("mailsync_last_run_duration_seconds", (), seconds)
    yield Sample("mailsync_consecutive_failures", (), status.consecutive_failures)
    yield from _tls(status.tls or TLSStatus())


def _of(value: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = value.get(key)
    return found if isinstance(found, Mapping) else {}


def _progress(status: MailSyncStatus) -> Iterator[Sample]:
    progress = status.progress
    if progress is None:
        return
    for state, value in (
        ("total", progress.messages.total),
        ("completed", progress.messages.completed),
        ("copied", progress.copied_messages),
        ("skipped", progress.skipped),
    ):
        yield Sample("mailsync_status_messages", (state,), value)
    yield Sample("mailsync_status_bytes", ("total",), progress.bytes.total)
    yield Sample("mailsync_status_bytes", ("completed",), progress.bytes.completed)


def _tls(tls: TLSStatus) -> Iterator[Sample]:
    for side in ("source", "destination"):
        facts = getattr(tls, side)
        if facts is None:
            continue
        labels = (side, facts.mode, facts.protocol or "", facts.cipher or "", facts.verified)
        yield Sample("mailsync_tls_info", labels, 1)
        if isinstance(facts.not_after_time, datetime):
            name = "mailsync_certificate_expiry_timestamp_seconds"
            yield Sample(name, (side,), facts.not_after_time.timestamp())


class ResourceCollector(Collector):
    """Collects from the operator's view at scrape time; what has not changed is not read again."""

    def __init__(self, view: ClusterView, *, per_object: bool) -> None:
        self._view = view
        self._per_object = per_object
        self._rows: dict[str, _Row] = {}

    @override
    def collect(self) -> Iterable[GaugeMetricFamily]:
        found = {obj.uid: obj for obj in self._view.mailsyncs()}
        self._rows = {uid: self._row(uid, obj) for uid, obj in found.items()}
        families = {
            metric.name: GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
            for metric in CATALOGUE
            if metric.per_object
        }
        if self._per_object:
            for uid, obj in found.items():
                for sample in self._rows[uid].samples:
                    labels = (obj.namespace, obj.name, *sample.labels)
                    families[sample.metric].add_metric(labels, sample.value)
            yield from families.values()
        info = metric_named("mailsync_objects")
        states = GaugeMetricFamily(info.name, info.help, labels=info.labels)
        for state, count in sorted(Counter(row.state for row in self._rows.values()).items()):
            states.add_metric((state,), count)
        yield states

    def _row(self, uid: str, obj: MailSyncObject) -> _Row:
        known = self._rows.get(uid)
        if known is not None and known.version == obj.resource_version:
            return known
        status = read_status(obj.status)
        succeeded = conditions.of(status, ConditionType.SUCCEEDED)
        state = succeeded.reason if succeeded else _NO_STATE
        kept: tuple[Sample, ...] = ()
        if self._per_object:
            hosts = self._host(obj, "source"), self._host(obj, "destination")
            kept = tuple(samples(obj, status, hosts))
        return _Row(obj.resource_version, state, kept)

    def _host(self, obj: MailSyncObject, side: str) -> str:
        """Return a side's host, of its MailEndpoint as that was when the MailSync last changed."""
        account = _of(obj.spec, side)
        if "host" in account:
            return str(account["host"])
        name = str(_of(account, "endpointRef").get("name", ""))
        endpoint = self._view.endpoint((obj.namespace, name))
        server = endpoint_state(endpoint).server if endpoint else None
        return server.host if server else ""

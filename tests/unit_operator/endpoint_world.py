"""An operator, a MailEndpoint and MailSyncs that refer to it, on a cluster in memory."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from typing_extensions import override

from mailsync_api.conditions import EndpointConditionType
from mailsync_api.endpointstatus import MailEndpointStatus, ProbeRecord
from mailsync_api.exitcodes import ExitCode
from mailsync_api.probe import ProbeVerdict
from mailsync_operator.builders.job import Engine
from mailsync_operator.endpoints.reconcile import EndpointReconciler
from mailsync_operator.events import EventRecorder
from mailsync_operator.snapshot import Key
from tests.support.builders import endpoint_manifest
from tests.unit_operator.endpoint_objects import said, told
from tests.unit_operator.test_reconcile import KEY, World

__all__ = ["ENDPOINT", "REFERRING", "EndpointWorld"]

ENDPOINT = ("default", "old")
REFERRING: dict[str, Any] = {"source": {"host": None, "endpointRef": {"name": "old"}}}


class ProbeMeter:
    def __init__(self) -> None:
        self.records: list[ProbeRecord] = []

    def probed(self, record: ProbeRecord) -> None:
        self.records.append(record)


class EndpointWorld(World):
    """One MailEndpoint, and one MailSync that copies from it."""

    def __init__(self, **spec: Any) -> None:
        self.probes = ProbeMeter()
        super().__init__(**REFERRING)
        self.add_endpoint(**spec)

    @override
    def restart(self) -> None:
        super().restart()
        cluster = self.cluster
        self.endpoints = EndpointReconciler(
            cluster,
            cluster,
            engine=Engine("engine:1"),
            recorder=EventRecorder(cluster, instance="test", clock=lambda: cluster.now),
            meter=self.probes,
            clock=lambda: cluster.now,
        )

    @override
    def doubt(self, key: Key) -> None:
        self.endpoints.doubt(key)

    def add_endpoint(self, **spec: Any) -> None:
        body = endpoint_manifest(*reversed(ENDPOINT), **spec)
        body["metadata"]["generation"] = 1
        self.cluster.put("MailEndpoint", body)

    def look_at_endpoint(self) -> float | None:
        async def once() -> float | None:
            return await self.endpoints.reconcile(ENDPOINT)

        return asyncio.run(once())

    def settle_endpoint(self) -> float | None:
        """Look until nothing is to be done at once; return when to look again."""
        for _ in range(5):
            again = self.look_at_endpoint()
            if again != 0:
                return again
        pytest.fail("it never comes to rest")

    def change_endpoint(self, **spec: Any) -> None:
        body = self.cluster.objects["MailEndpoint", *ENDPOINT]
        body["metadata"]["generation"] += 1
        self.cluster.put("MailEndpoint", body | {"spec": endpoint_manifest(**spec)["spec"]})

    @property
    def endpoint_status(self) -> MailEndpointStatus:
        body = self.cluster.objects["MailEndpoint", *ENDPOINT]
        return MailEndpointStatus.model_validate(body["status"])

    def said(self, kind: EndpointConditionType) -> tuple[str, str]:
        return said(self.endpoint_status, kind)

    @property
    def probe_jobs(self) -> list[str]:
        return [name for name in self.jobs if "-probe-" in name]

    @property
    def run_jobs(self) -> list[str]:
        return [name for name in self.jobs if "-probe-" not in name]

    def end_probe(self, verdict: ProbeVerdict | None = None) -> None:
        """Let the probe that is under way end so."""
        verdict = verdict or told()
        self.cluster.start_pod()
        self.settle_endpoint()
        self.pass_time(2)
        self.cluster.end_pod(int(verdict.exit_code), verdict)
        failed = verdict.exit_code is not ExitCode.DONE
        self.cluster.end_job("Failed" if failed else "Complete", "PodFailurePolicy")
        self.settle_endpoint()

    def probe(self, verdict: ProbeVerdict | None = None) -> None:
        """Start a probe, as one is due, and let it end so."""
        self.settle_endpoint()
        assert self.endpoint_status.current_probe is not None, "no probe is due"
        self.end_probe(verdict)

    def next_probe(self, verdict: ProbeVerdict | None = None) -> None:
        """Let time pass until the next probe is due, and let it end so."""
        due = self.endpoint_status.next_probe_time
        assert due is not None
        self.cluster.now = max(self.cluster.now, due + timedelta(seconds=1))
        self.probe(verdict)

    @property
    def event_reasons(self) -> list[str]:
        return [
            event["reason"]
            for event in self.cluster.all_of("Event")
            if event["involvedObject"]["kind"] == "MailEndpoint"
        ]


assert KEY[0] == ENDPOINT[0], "references stay in the namespace"

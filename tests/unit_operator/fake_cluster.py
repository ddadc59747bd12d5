"""A cluster in memory: the requests that the operator makes, and what clusters do by themselves.

Objects are kept as the API server's JSON. ``lag`` holds the watches back, as they are in life.
"""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, TypeVar

from mailsync_api import names
from mailsync_api.base import format_time
from mailsync_api.probe import ProbeVerdict
from mailsync_api.report import Verdict
from mailsync_operator.errors import (
    AlreadyExistsError,
    ClusterError,
    ConflictError,
    NotFoundError,
)
from mailsync_operator.snapshot import (
    ApiObject,
    EndpointObject,
    JobSnapshot,
    Key,
    MailSyncObject,
    PodEvent,
    PodSnapshot,
)

T = TypeVar("T", bound=ApiObject)
Body = dict[str, Any]


class FakeCluster:
    def __init__(self, now: datetime) -> None:
        self.now = now
        self.objects: dict[tuple[str, str, str], Body] = {}
        self.seen: dict[tuple[str, str, str], Body] = {}
        self.logs: dict[str, str] = {}
        self.event_texts: list[str] = []
        self.calls: Counter[str] = Counter()
        self.errors: dict[str, ClusterError] = {}
        self.lag = False
        self._version = 100
        self._uids = 0

    # --- what a user and the cluster do ---

    def put(self, kind: str, body: Mapping[str, Any]) -> Body:
        """Store an object, new or changed."""
        stored = copy.deepcopy(dict(body))
        meta = stored.setdefault("metadata", {})
        key = (kind, str(meta["namespace"]), str(meta["name"]))
        self._version += 1
        meta["resourceVersion"] = str(self._version)
        if "uid" not in meta:
            self._uids += 1
            meta["uid"] = f"uid-{self._uids}"
        meta.setdefault("creationTimestamp", format_time(self.now))
        self.objects[key] = stored
        self._show()
        return stored

    def catch_up(self) -> None:
        """Let the watches bring everything."""
        self.seen = copy.deepcopy(self.objects)

    def _show(self) -> None:
        if not self.lag:
            self.catch_up()

    def all_of(self, kind: str) -> list[Body]:
        return [body for key, body in self.objects.items() if key[0] == kind]

    def start_pod(self, *, running: bool = True) -> Body:
        """Do what Job controller and kubelet do: start a pod for the newest Job."""
        [*_, job] = self.all_of("Job")
        labels = job["spec"]["template"]["metadata"]["labels"]
        number = sum(1 for pod in self.all_of("Pod") if pod["metadata"]["labels"] == labels)
        state = {"running": {"startedAt": format_time(self.now)}}
        waiting = {"waiting": {"reason": "ContainerCreating"}}
        return self.put(
            "Pod",
            {
                "metadata": {
                    "name": f"{job['metadata']['name']}-{number}",
                    "namespace": job["metadata"]["namespace"],
                    "labels": labels,
                    "annotations": job["spec"]["template"]["metadata"]["annotations"],
                },
                "spec": {"nodeName": "node"},
                "status": {
                    "phase": "Running" if running else "Pending",
                    "containerStatuses": [
                        {"name": names.ENGINE_CONTAINER, "state": state if running else waiting}
                    ],
                },
            },
        )

    def end_pod(
        self, exit_code: int, message: str | Verdict | ProbeVerdict = "", log: str = ""
    ) -> None:
        """End the newest pod's engine."""
        [*_, pod] = self.all_of("Pod")
        text = message if isinstance(message, str) else ""
        if not isinstance(message, str):
            text = message.to_termination_message()
        ended = {
            "exitCode": exit_code,
            "reason": "Completed" if exit_code == 0 else "Error",
            "message": text,
            "startedAt": format_time(self.now),
            "finishedAt": format_time(self.now),
        }
        pod["status"] = {
            "phase": "Succeeded" if exit_code == 0 else "Failed",
            "containerStatuses": [{"name": names.ENGINE_CONTAINER, "state": {"terminated": ended}}],
        }
        self.logs[pod["metadata"]["name"]] = log
        self.put("Pod", pod)

    def end_job(self, outcome: str, reason: str = "") -> None:
        """End the newest Job."""
        [*_, job] = self.all_of("Job")
        job["status"] = {
            "conditions": [
                {
                    "type": outcome,
                    "status": "True",
                    "reason": reason,
                    "lastTransitionTime": format_time(self.now),
                }
            ]
        }
        self.put("Job", job)

    def remove(self, kind: str, namespace: str, name: str) -> None:
        del self.objects[kind, namespace, name]
        self._show()

    # --- the watches ---

    def mailsync(self, key: Key) -> MailSyncObject | None:
        body = self.seen.get(("MailSync", *key))
        return MailSyncObject.from_body(body) if body else None

    def mailsyncs(self) -> Iterator[MailSyncObject]:
        for key, body in self.seen.items():
            if key[0] == "MailSync":
                yield MailSyncObject.from_body(body)

    def endpoint(self, key: Key) -> EndpointObject | None:
        body = self.seen.get(("MailEndpoint", *key))
        return EndpointObject.from_body(body) if body else None

    def endpoints(self) -> Iterator[EndpointObject]:
        for key, body in self.seen.items():
            if key[0] == "MailEndpoint":
                yield EndpointObject.from_body(body)

    def jobs(self, uid: str) -> tuple[JobSnapshot, ...]:
        found = (JobSnapshot.from_body(b) for k, b in self.seen.items() if k[0] == "Job")
        return tuple(job for job in found if job.owner_uid == uid)

    def jobs_at(self, endpoint: Key) -> tuple[JobSnapshot, ...]:
        found = (JobSnapshot.from_body(b) for k, b in self.seen.items() if k[0] == "Job")
        namespace, name = endpoint
        return tuple(job for job in found if job.namespace == namespace and name in job.endpoints)

    def pods(self, uid: str) -> tuple[PodSnapshot, ...]:
        found = (PodSnapshot.from_body(b) for k, b in self.seen.items() if k[0] == "Pod")
        return tuple(pod for pod in found if pod.owner_uid == uid)

    # --- the requests ---

    def _called(self, name: str) -> None:
        self.calls[name] += 1
        if name in self.errors:
            raise self.errors[name]

    def _get(self, kind: str, namespace: str, name: str) -> Body:
        try:
            return self.objects[kind, namespace, name]
        except KeyError:
            raise NotFoundError(f"{kind} {namespace}/{name}") from None

    async def apply_status(self, obj: T, status: Mapping[str, Any]) -> T:
        self._called("apply_status")
        body = self._get(obj.kind, *obj.key)
        meta = body["metadata"]
        if (meta["uid"], int(meta["resourceVersion"])) != (obj.uid, obj.resource_version):
            raise ConflictError("the object has been modified")
        stored = self.put(obj.kind, body | {"status": json.loads(json.dumps(status))})
        return type(obj).from_body(stored)

    async def create_job(self, namespace: str, body: Mapping[str, Any]) -> JobSnapshot:
        self._called("create_job")
        if ("Job", namespace, body["metadata"]["name"]) in self.objects:
            raise AlreadyExistsError(f"jobs {body['metadata']['name']} already exists")
        return JobSnapshot.from_body(self.put("Job", body))

    async def get_job(self, namespace: str, name: str) -> JobSnapshot | None:
        self._called("get_job")
        body = self.objects.get(("Job", namespace, name))
        return JobSnapshot.from_body(body) if body else None

    async def patch_job(self, namespace: str, name: str, spec: Mapping[str, Any]) -> None:
        self._called("patch_job")
        body = self._get("Job", namespace, name)
        self.put("Job", body | {"spec": body["spec"] | dict(spec)})

    async def delete_job(self, namespace: str, name: str) -> None:
        self._called("delete_job")
        if ("Job", namespace, name) in self.objects:
            self.remove("Job", namespace, name)

    async def list_pods(
        self, namespace: str, *, owner_uid: str, label: str = names.UID_LABEL
    ) -> tuple[PodSnapshot, ...]:
        self._called("list_pods")
        bodies = (b for b in self.all_of("Pod") if b["metadata"]["labels"].get(label) == owner_uid)
        found = (PodSnapshot.from_body(body) for body in bodies)
        return tuple(pod for pod in found if pod.namespace == namespace)

    async def object_events(self, namespace: str, uid: str) -> tuple[PodEvent, ...]:
        self._called("object_events")
        # Events outlive what they are about, so its being gone is no error.
        found = [body for body in self.objects.values() if body["metadata"]["uid"] == uid]
        assert all(body["metadata"]["namespace"] == namespace for body in found)
        reason = "FailedCreate" if "Error creating" in "".join(self.event_texts) else "FailedMount"
        return tuple(PodEvent(reason, text, self.now) for text in self.event_texts)

    async def pod_log(
        self,
        namespace: str,
        pod: str,
        *,
        tail_lines: int | None = None,
        limit_bytes: int | None = None,
    ) -> str:
        self._called("pod_log")
        self._get("Pod", namespace, pod)
        text = self.logs.get(pod, "")
        if tail_lines is not None:
            text = "".join(text.splitlines(keepends=True)[-tail_lines:])
        return text[:limit_bytes]

    async def apply_config_map(self, namespace: str, body: Mapping[str, Any]) -> None:
        self._called("apply_config_map")
        assert body["metadata"]["namespace"] == namespace
        self.put("ConfigMap", body)

    async def create_event(self, namespace: str, body: Mapping[str, Any]) -> None:
        self._called("create_event")
        if ("Event", namespace, body["metadata"]["name"]) in self.objects:
            raise AlreadyExistsError("event")
        self.put("Event", body)

    async def patch_event(self, namespace: str, name: str, body: Mapping[str, Any]) -> None:
        self._called("patch_event")
        self.put("Event", self._get("Event", namespace, name) | dict(body))

    async def event_count(self, namespace: str, name: str) -> int:
        self._called("event_count")
        return int(self._get("Event", namespace, name)["count"])

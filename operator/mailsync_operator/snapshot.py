"""What the operator keeps of its resources, Jobs, pods and Events: small frozen records, no bodies.

Everything is made from the plain JSON of the API server, with no assumption that optional fields
are there: a watch delivers objects in any stage of their life.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, ClassVar, Final, NamedTuple, Self, TypeAlias

from mailsync_api import names
from mailsync_api.status import RunType

__all__ = [
    "ApiObject",
    "Body",
    "EndpointObject",
    "JobOutcome",
    "JobSnapshot",
    "Key",
    "MailSyncObject",
    "PodEvent",
    "PodPhase",
    "PodSnapshot",
    "Termination",
    "Work",
    "owner",
]

_KINDS: Final = {
    names.KIND_MAILSYNC: names.NAME_ANNOTATION,
    names.KIND_MAILENDPOINT: names.ENDPOINT_NAME_ANNOTATION,
}
"""Whose Jobs and pods are ours, and the annotation with the name of their owner."""

Body: TypeAlias = Mapping[str, Any]
"""An object as the API server sends it."""

Key: TypeAlias = tuple[str, str]
"""An object's namespace and name."""


class Work(NamedTuple):
    """An object that is to be looked at."""

    kind: str
    key: Key


def _map(value: Any, key: str) -> Mapping[str, Any]:  # noqa: ANN401  any JSON
    found = value.get(key) if isinstance(value, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _list(value: Any, key: str) -> list[Any]:  # noqa: ANN401  any JSON
    found = value.get(key) if isinstance(value, Mapping) else None
    return list(found) if found else []


def _time(value: Any) -> datetime | None:  # noqa: ANN401  any JSON
    if not isinstance(value, str):
        return None
    try:
        return datetime.fromisoformat(value).astimezone(UTC)
    except ValueError:
        return None


def _number(value: Any) -> int:  # noqa: ANN401  any JSON
    try:
        return int(value)
    except (TypeError, ValueError):
        return 0


@dataclass(frozen=True, slots=True)
class ApiObject:
    """One of our resources as last seen.

    Spec and status are kept as JSON text, which takes a fifth of the memory.
    """

    kind: ClassVar[str]
    plural: ClassVar[str]

    namespace: str
    name: str
    uid: str
    generation: int
    resource_version: int
    """Compared as a number: comparable by the Kubernetes API since 1.35, in practice always."""
    deleting: bool
    spec_json: str
    status_json: str

    @property
    def key(self) -> Key:
        """The namespace and name."""
        return self.namespace, self.name

    @property
    def spec(self) -> dict[str, Any]:
        """The spec as sent by the API server."""
        value: dict[str, Any] = json.loads(self.spec_json)
        return value

    @property
    def status(self) -> dict[str, Any]:
        """The status as sent by the API server."""
        value: dict[str, Any] = json.loads(self.status_json)
        return value

    @classmethod
    def from_body(cls, body: Body) -> Self:
        """Return the record of an object."""
        meta = _map(body, "metadata")
        return cls(
            namespace=str(meta.get("namespace", "")),
            name=str(meta.get("name", "")),
            uid=str(meta.get("uid", "")),
            generation=_number(meta.get("generation")),
            resource_version=_number(meta.get("resourceVersion")),
            deleting=bool(meta.get("deletionTimestamp")),
            spec_json=_compact(_map(body, "spec")),
            status_json=_compact(_map(body, "status")),
        )


class MailSyncObject(ApiObject):
    """A MailSync."""

    __slots__ = ()
    kind = names.KIND_MAILSYNC
    plural = names.PLURAL_MAILSYNC


class EndpointObject(ApiObject):
    """A MailEndpoint."""

    __slots__ = ()
    kind = names.KIND_MAILENDPOINT
    plural = names.PLURAL_MAILENDPOINT


def _compact(value: Mapping[str, Any]) -> str:
    return json.dumps(dict(value), separators=(",", ":"), ensure_ascii=False)


class JobOutcome(StrEnum):
    """How a Job ended.

    The early signs (SuccessCriteriaMet, FailureTarget) are no end: pods may still run then.
    """

    COMPLETE = "Complete"
    FAILED = "Failed"


@dataclass(frozen=True, slots=True)
class JobSnapshot:
    """A Job of ours."""

    namespace: str
    name: str
    uid: str
    resource_version: int
    owner_uid: str
    owner_name: str
    run: int
    """The number of the run or probe."""
    spec_hash: str | None
    servers_hash: str | None
    generation: int
    """Of the MailEndpoint's spec that a probe goes by; 0 for a run."""
    manual: str | None
    created: datetime
    suspended: bool
    ttl_seconds: int | None
    pods: int
    """Pods that were ever counted: active, succeeded and failed."""
    active: int = 0
    """Pods that wait or run, and are not being deleted."""
    secrets_version: int | None = None
    run_type: RunType | None = None
    """None for a probe."""
    endpoints: tuple[str, ...] = ()
    """The MailEndpoints that a run goes from and to."""
    outcome: JobOutcome | None = None
    reason: str = ""
    message: str = ""
    ended: datetime | None = None

    @classmethod
    def from_body(cls, body: Body) -> JobSnapshot:
        """Return the record of a Job."""
        meta, spec, status = _map(body, "metadata"), _map(body, "spec"), _map(body, "status")
        annotations = _map(meta, "annotations")
        owner = _controller(meta)
        outcome, reason, message, ended = _job_end(status)
        return cls(
            namespace=str(meta.get("namespace", "")),
            name=str(meta.get("name", "")),
            uid=str(meta.get("uid", "")),
            resource_version=_number(meta.get("resourceVersion")),
            owner_uid=str(owner.get("uid", "")),
            owner_name=str(owner.get("name", "")),
            run=_number(_map(meta, "labels").get(names.RUN_LABEL)),
            spec_hash=annotations.get(names.SPEC_HASH_ANNOTATION),
            servers_hash=annotations.get(names.SERVERS_HASH_ANNOTATION),
            generation=_number(annotations.get(names.GENERATION_ANNOTATION)),
            manual=annotations.get(names.TRIGGER_ANNOTATION),
            created=_time(meta.get("creationTimestamp")) or datetime.fromtimestamp(0, UTC),
            suspended=bool(spec.get("suspend", False)),
            ttl_seconds=spec.get("ttlSecondsAfterFinished"),
            pods=sum(_number(status.get(field)) for field in ("active", "succeeded", "failed")),
            active=_number(status.get("active")),
            secrets_version=_number(annotations.get(names.SECRETS_VERSION_ANNOTATION)) or None,
            run_type=_run_type(annotations.get(names.RUN_TYPE_ANNOTATION)),
            endpoints=_words(annotations.get(names.ENDPOINTS_ANNOTATION)),
            outcome=outcome,
            reason=reason,
            message=message,
            ended=ended,
        )


def _words(value: str | None) -> tuple[str, ...]:
    return tuple(value.split(",")) if value else ()


def _run_type(value: str | None) -> RunType | None:
    return RunType(value) if value in set(RunType) else None


def _job_end(status: Mapping[str, Any]) -> tuple[JobOutcome | None, str, str, datetime | None]:
    for condition in _list(status, "conditions"):
        if condition.get("status") == "True" and condition.get("type") in set(JobOutcome):
            return (
                JobOutcome(condition["type"]),
                str(condition.get("reason", "")),
                str(condition.get("message", "")),
                _time(condition.get("lastTransitionTime")),
            )
    return None, "", "", None


def _controller(meta: Mapping[str, Any]) -> Mapping[str, Any]:
    for owner in _list(meta, "ownerReferences"):
        if owner.get("controller") and owner.get("kind") in _KINDS:
            return owner  # type: ignore[no-any-return]  # JSON
    return {}


class PodPhase(StrEnum):
    """A pod's phase."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True)
class Termination:
    """How the engine's container ended."""

    exit_code: int
    reason: str
    """The kubelet's word: Completed, Error, OOMKilled, ..."""
    message: str
    """The termination message: the engine's verdict, if it could write one."""
    ended: datetime | None


@dataclass(frozen=True, slots=True)
class PodSnapshot:
    """A pod of ours."""

    namespace: str
    name: str
    uid: str
    owner_uid: str
    """The UID of the MailSync or MailEndpoint, from the label."""
    run: int
    created: datetime
    phase: PodPhase
    deleting: bool
    node: str
    unschedulable: str
    """Why it has no node; empty if it has one, or if that is not decided yet."""
    waiting_reason: str
    """Why the container does not run: ContainerCreating, ErrImagePull, ...; empty if it does."""
    waiting_message: str
    started: datetime | None
    """When the engine's container started, whether or not it still runs."""
    status_reason: str
    """Why the pod as a whole failed: Evicted, NodeLost, ..."""
    status_message: str
    termination: Termination | None

    @property
    def running(self) -> bool:
        """Whether the engine runs in it now."""
        return self.started is not None and self.termination is None and not self.over

    @property
    def over(self) -> bool:
        """Whether it ended for good."""
        return self.phase in {PodPhase.SUCCEEDED, PodPhase.FAILED}

    @classmethod
    def from_body(cls, body: Body) -> PodSnapshot:
        """Return the record of a pod."""
        meta, status = _map(body, "metadata"), _map(body, "status")
        labels = _map(meta, "labels")
        state = _engine_state(status)
        waiting, running = _waiting(state, status), _map(state, "running")
        ended = _map(state, "terminated")
        phase = str(status.get("phase", PodPhase.UNKNOWN))
        return cls(
            namespace=str(meta.get("namespace", "")),
            name=str(meta.get("name", "")),
            uid=str(meta.get("uid", "")),
            owner_uid=str(labels.get(names.UID_LABEL) or labels.get(names.ENDPOINT_UID_LABEL, "")),
            run=_number(labels.get(names.RUN_LABEL)),
            created=_time(meta.get("creationTimestamp")) or datetime.fromtimestamp(0, UTC),
            phase=PodPhase(phase) if phase in set(PodPhase) else PodPhase.UNKNOWN,
            deleting=bool(meta.get("deletionTimestamp")),
            node=str(_map(body, "spec").get("nodeName", "")),
            unschedulable=_unschedulable(status),
            waiting_reason=str(waiting.get("reason", "")),
            waiting_message=str(waiting.get("message", "")),
            started=_time(running.get("startedAt")) or _time(ended.get("startedAt")),
            status_reason=str(status.get("reason", "")),
            status_message=str(status.get("message", "")),
            termination=_termination(ended),
        )


def _engine_state(status: Mapping[str, Any]) -> Mapping[str, Any]:
    for container in _list(status, "containerStatuses"):
        if container.get("name") == names.ENGINE_CONTAINER:
            return _map(container, "state")
    return {}


def _waiting(state: Mapping[str, Any], status: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what the engine waits for: perhaps its tunnel's container, which comes before it."""
    own = _map(state, "waiting")
    if own.get("reason") == "PodInitializing":
        for container in _list(status, "initContainerStatuses"):
            before = _map(_map(container, "state"), "waiting")
            if before.get("reason"):
                return before
    return own


def _termination(ended: Mapping[str, Any]) -> Termination | None:
    if not ended:
        return None
    return Termination(
        exit_code=_number(ended.get("exitCode")),
        reason=str(ended.get("reason", "")),
        message=str(ended.get("message", "")),
        ended=_time(ended.get("finishedAt")),
    )


def _unschedulable(status: Mapping[str, Any]) -> str:
    for condition in _list(status, "conditions"):
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return str(condition.get("message") or condition.get("reason") or "not scheduled")
    return ""


@dataclass(frozen=True, slots=True)
class PodEvent:
    """An Event about a pod."""

    reason: str
    message: str
    last_seen: datetime | None

    @classmethod
    def from_body(cls, body: Body) -> PodEvent:
        """Return the record of a core/v1 Event."""
        return cls(
            reason=str(body.get("reason", "")),
            message=str(body.get("message", "")),
            last_seen=_time(_map(body, "series").get("lastObservedTime"))
            or _time(body.get("lastTimestamp"))
            or _time(body.get("eventTime"))
            or _time(_map(body, "metadata").get("creationTimestamp")),
        )


def owner(body: Body) -> Work | None:
    """Return which resource a Job or pod belongs to; None if to none of ours."""
    meta = _map(body, "metadata")
    namespace, annotations = str(meta.get("namespace", "")), _map(meta, "annotations")
    controller = _controller(meta)
    if controller.get("name"):
        return Work(str(controller["kind"]), (namespace, str(controller["name"])))
    for kind, annotation in _KINDS.items():
        if annotations.get(annotation):
            return Work(kind, (namespace, str(annotations[annotation])))
    return None

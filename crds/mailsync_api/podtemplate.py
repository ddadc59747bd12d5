"""What a user may set on the pods: where and with what they run, never what they run."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from mailsync_api.base import ApiModel
from mailsync_api.scalars import ObjectName
from mailsync_api.schema import preserve_unknown

__all__ = ["LocalObjectReference", "PodTemplate", "Resources", "Toleration"]

Quantity = Annotated[
    str, Field(max_length=32, pattern=r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$")
]
LabelKey = Annotated[str, Field(min_length=1, max_length=317)]
LabelValue = Annotated[str, Field(max_length=63)]
AnnotationValue = Annotated[str, Field(max_length=4096)]
ResourceName = Annotated[str, Field(min_length=1, max_length=253)]


class Resources(ApiModel):
    """Compute resources of the engine's container, as in a pod."""

    requests: Annotated[dict[ResourceName, Quantity], Field(max_length=8)] | None = None
    """What the container is guaranteed, for example cpu: 100m, memory: 128Mi."""
    limits: Annotated[dict[ResourceName, Quantity], Field(max_length=8)] | None = None
    """What the container may use at most."""


class TolerationOperator(StrEnum):
    """How a toleration compares."""

    EXISTS = "Exists"
    EQUAL = "Equal"


class TaintEffect(StrEnum):
    """A taint's effect."""

    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


class Toleration(ApiModel):
    """A taint that the pods tolerate, as in a pod."""

    key: Annotated[str, Field(max_length=317)] | None = None
    """The taint's key; absent for all keys."""
    operator: TolerationOperator = TolerationOperator.EQUAL
    """Exists or Equal."""
    value: LabelValue | None = None
    """The taint's value, for Equal."""
    effect: TaintEffect | None = None
    """The taint's effect; absent for all effects."""
    toleration_seconds: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    """How long a NoExecute taint is tolerated, in seconds."""


class LocalObjectReference(ApiModel):
    """An object of the same namespace."""

    name: ObjectName
    """The object's name."""


class PodTemplate(ApiModel):
    """What the pods of this MailSync get in addition: where they run, not what they run."""

    labels: Annotated[dict[LabelKey, LabelValue], Field(max_length=32)] | None = None
    """Labels on the Job and its pods."""
    annotations: Annotated[dict[LabelKey, AnnotationValue], Field(max_length=32)] | None = None
    """Annotations on the Job and its pods."""
    resources: Resources | None = None
    """Compute resources of the engine's container."""
    node_selector: Annotated[dict[LabelKey, LabelValue], Field(max_length=32)] | None = None
    """Labels that a node must have."""
    tolerations: Annotated[list[Toleration], Field(max_length=32)] | None = None
    """Taints that the pods tolerate."""
    affinity: Annotated[dict[str, Any], Field(json_schema_extra=preserve_unknown())] | None = None
    """Scheduling constraints, as in a pod (core/v1 Affinity)."""
    topology_spread_constraints: (
        Annotated[
            list[Annotated[dict[str, Any], Field(json_schema_extra=preserve_unknown())]],
            Field(max_length=16),
        ]
        | None
    ) = None
    """How pods are spread, as in a pod (core/v1 TopologySpreadConstraint)."""
    priority_class_name: ObjectName | None = None
    """The pods' PriorityClass."""
    service_account_name: ObjectName | None = None
    """The pods' ServiceAccount; no token of it is mounted."""
    image_pull_secrets: Annotated[list[LocalObjectReference], Field(max_length=16)] | None = None
    """Secrets for the registry of the engine's image."""
    runtime_class_name: ObjectName | None = None
    """The pods' RuntimeClass."""

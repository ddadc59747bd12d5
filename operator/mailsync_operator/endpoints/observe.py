"""What one decision about a MailEndpoint is made from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mailsync_api.endpointstatus import ActiveSyncs
from mailsync_operator.observe import find_job, pods_of

if TYPE_CHECKING:
    from datetime import datetime

    from mailsync_api.endpointstatus import MailEndpointStatus
    from mailsync_api.mailendpoint import MailEndpointSpec
    from mailsync_operator.snapshot import EndpointObject, JobSnapshot, PodEvent, PodSnapshot

__all__ = ["EndpointObservation"]


@dataclass(frozen=True, slots=True)
class EndpointObservation:
    """The state of one MailEndpoint and of its probes, at ``now``."""

    now: datetime
    endpoint: EndpointObject
    status: MailEndpointStatus
    spec: MailEndpointSpec | None
    spec_error: str = ""
    """Why the spec cannot be used; empty if it can."""
    jobs: tuple[JobSnapshot, ...] = ()
    """All Jobs of this object."""
    pods: tuple[PodSnapshot, ...] = ()
    """All pods of this object, of any probe."""
    pod_events: tuple[PodEvent, ...] = ()
    """Events about the pod that does not start yet, or about the Job that has none."""
    active: ActiveSyncs = field(default_factory=ActiveSyncs)
    """What runs from or to it."""
    doubted: datetime | None = None
    """When a run last failed of what a probe finds too."""

    def job(self, number: int) -> JobSnapshot | None:
        """Return the Job of a probe."""
        return find_job(self.jobs, number)

    def pods_of(self, number: int) -> tuple[PodSnapshot, ...]:
        """Return the pods of a probe, the oldest first."""
        return pods_of(self.pods, number)

"""What one decision is made from: everything read, nothing decided."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ValidationError

from mailsync_api.spec import Accounts, MailSyncSpec
from mailsync_api.status import MailSyncStatus, Progress, TLSFacts

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from mailsync_api.endpoint import Server, Side
    from mailsync_operator.cluster.secrets import SecretsSeen
    from mailsync_operator.gate import EndpointState
    from mailsync_operator.snapshot import JobSnapshot, MailSyncObject, PodEvent, PodSnapshot

__all__ = [
    "Feed",
    "Observation",
    "find_job",
    "pods_of",
    "read",
    "read_accounts",
    "read_spec",
    "read_status",
    "read_written",
]

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Feed:
    """What the running engine said last."""

    run: int
    progress: Progress | None = None
    tls: tuple[tuple[Side, TLSFacts], ...] = ()


@dataclass(frozen=True, slots=True)
class Observation:
    """The state of one MailSync and of all that belongs to it, at ``now``."""

    now: datetime
    mailsync: MailSyncObject
    status: MailSyncStatus
    spec: MailSyncSpec | None
    spec_error: str = ""
    """Why the spec cannot be used; empty if it can."""
    accounts: Accounts | None = None
    """Both accounts, complete; None where the spec cannot be used, or a MailEndpoint is missing."""
    endpoints: Mapping[str, EndpointState] = field(default_factory=dict)
    """Those MailEndpoints that the spec refers to and that exist, by name."""
    jobs: tuple[JobSnapshot, ...] = ()
    """All Jobs of this object."""
    pods: tuple[PodSnapshot, ...] = ()
    """All pods of this object, of any run."""
    pod_events: tuple[PodEvent, ...] = ()
    """Events about the pod that does not start yet, or about the Job that has none."""
    feed: Feed | None = None
    turn: str = ""
    """Why it must wait for its turn at a MailEndpoint, for people; empty if it need not."""
    secrets: SecretsSeen | None = None
    """What is known of its Secrets, where they are watched."""

    def job(self, run: int) -> JobSnapshot | None:
        """Return the Job of a run."""
        return find_job(self.jobs, run)

    def pods_of(self, run: int) -> tuple[PodSnapshot, ...]:
        """Return the pods of a run, the oldest first."""
        return pods_of(self.pods, run)


def find_job(jobs: tuple[JobSnapshot, ...], run: int) -> JobSnapshot | None:
    """Return the Job of a run or probe."""
    return next((job for job in jobs if job.run == run), None)


def pods_of(pods: tuple[PodSnapshot, ...], run: int) -> tuple[PodSnapshot, ...]:
    """Return the pods of a run or probe, the oldest first."""
    own = (pod for pod in pods if pod.run == run)
    return tuple(sorted(own, key=lambda pod: (pod.created, pod.name)))


def read(model: type[M], raw: dict[str, object]) -> tuple[M | None, str]:
    """Return a spec, or None with a text that names each bad field and its value.

    The CRD refuses nearly all of it on the way in; some rules (a regular expression's syntax) are
    not expressible there, and an object may be older than a rule.
    """
    try:
        return model.model_validate(raw), ""
    except ValidationError as error:
        return None, "; ".join(_field_error(item) for item in error.errors()[:5])


def read_spec(raw: dict[str, object]) -> tuple[MailSyncSpec | None, str]:
    """Return the spec of a MailSync, or None with a text that names each bad field."""
    return read(MailSyncSpec, raw)


def read_accounts(spec: MailSyncSpec, servers: Mapping[str, Server]) -> tuple[Accounts | None, str]:
    """Return both accounts of a spec, or None with a text that says what is missing."""
    try:
        return Accounts.of(spec, servers), ""
    except ValueError as error:
        return None, str(error)


def _field_error(item: object) -> str:
    assert isinstance(item, dict)  # noqa: S101  pydantic's ErrorDetails
    path = "spec"
    for part in item["loc"]:
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    value = item.get("input")
    shown = f" (is {str(value)[:100]!r})" if isinstance(value, str | int | float | bool) else ""
    text = str(item["msg"]).removeprefix("Value error, ")
    return f"{path}: {text}{shown}"


def read_status(raw: dict[str, object]) -> MailSyncStatus:
    """Return the status of a MailSync."""
    return read_written(MailSyncStatus, raw)


def read_written(model: type[M], raw: dict[str, object]) -> M:
    """Return a status, without those fields that this release does not understand.

    After a downgrade, or a hand at work, the rest must still hold: the number of the last run is
    what keeps runs apart.
    """
    data = dict(raw)
    for _ in range(len(data) + 1):
        try:
            return model.model_validate(data)
        except ValidationError as error:
            for item in error.errors():
                if item["loc"]:
                    data.pop(str(item["loc"][0]), None)
    return model()

"""Credentials that no unfinished migration needs any more: which, from the resources alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mailsync_api.conditions import ConditionStatus, ConditionType
from mailsync_api.references import secret_names

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mailsync_operator.snapshot import Body, Key

__all__ = ["Unneeded", "unneeded"]


@dataclass(frozen=True, slots=True)
class Unneeded:
    """A Secret that only finished MailSyncs refer to."""

    namespace: str
    secret: str
    used_by: tuple[str, ...]
    """The MailSyncs, by name."""
    since: str
    """When the last of them finished (RFC 3339)."""

    @property
    def key(self) -> Key:
        """The namespace and name."""
        return self.namespace, self.secret

    def to_wire(self) -> dict[str, Any]:
        """Return it in JSON's types."""
        return {
            "namespace": self.namespace,
            "secret": self.secret,
            "usedBy": list(self.used_by),
            "since": self.since,
        }


def unneeded(mailsyncs: Iterable[Body], others: Iterable[Body] = ()) -> list[Unneeded]:
    """Return the Secrets with credentials that only finished MailSyncs refer to, in order.

    Parameters
    ----------
    others
        Objects that are never finished: MailEndpoints.
    """
    done: dict[Key, dict[str, str]] = {}
    needed: set[Key] = set()
    for body in mailsyncs:
        meta, spec = body["metadata"], body.get("spec") or {}
        namespace, since = str(meta.get("namespace", "")), _finished(body)
        if since is None:
            needed |= {(namespace, secret) for secret in secret_names(spec)}
            continue
        for secret in secret_names(spec, cas=False):
            done.setdefault((namespace, secret), {})[str(meta["name"])] = since
    for body in others:
        namespace = str(body["metadata"].get("namespace", ""))
        needed |= {(namespace, secret) for secret in secret_names(body.get("spec") or {})}
    return [
        Unneeded(*key, used_by=tuple(sorted(done[key])), since=max(done[key].values()))
        for key in sorted(done.keys() - needed)
    ]


def _finished(body: Body) -> str | None:
    """Return when a MailSync finished for good; None if it has not."""
    status = body.get("status") or {}
    if status.get("currentRun") or status.get("nextSyncTime"):
        return None
    if status.get("observedGeneration") != body["metadata"].get("generation"):
        return None  # it was changed since, and may have to run again
    for condition in status.get("conditions") or []:
        if condition["type"] == ConditionType.SUCCEEDED:
            done = condition["status"] == ConditionStatus.TRUE
            return str(condition["lastTransitionTime"]) if done else None
    return None

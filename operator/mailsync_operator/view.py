"""What the watches brought: the operator's picture of the cluster, read only."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from mailsync_api import names
from mailsync_operator.snapshot import ApiObject, Work

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from mailsync_operator.snapshot import (
        EndpointObject,
        JobSnapshot,
        Key,
        MailSyncObject,
        PodSnapshot,
    )

__all__ = ["ClusterView", "IndexView", "Indices"]

T = TypeVar("T", bound=ApiObject)


class ClusterView(Protocol):
    """What is known without asking."""

    def mailsync(self, key: Key) -> MailSyncObject | None:
        """Return a MailSync, None if there is none of that name."""

    def mailsyncs(self) -> Iterator[MailSyncObject]:
        """Return all MailSyncs."""

    def endpoint(self, key: Key) -> EndpointObject | None:
        """Return a MailEndpoint, None if there is none of that name."""

    def endpoints(self) -> Iterator[EndpointObject]:
        """Return all MailEndpoints."""

    def jobs(self, uid: str) -> tuple[JobSnapshot, ...]:
        """Return the Jobs of a MailSync or MailEndpoint."""

    def jobs_at(self, endpoint: Key) -> tuple[JobSnapshot, ...]:
        """Return the Jobs of runs from or to a MailEndpoint."""

    def pods(self, uid: str) -> tuple[PodSnapshot, ...]:
        """Return the pods of a MailSync or MailEndpoint."""


@dataclass(frozen=True, slots=True)
class Indices:
    """What kopf keeps up to date."""

    mailsyncs: Mapping[Any, Any]
    """By namespace and name."""
    endpoints: Mapping[Any, Any]
    """The same."""
    users: Mapping[Any, Any]
    """The keys of MailSyncs, by namespace and name of a MailEndpoint that they refer to."""
    jobs: Mapping[Any, Any]
    """By the UID of their MailSync or MailEndpoint."""
    pods: Mapping[Any, Any]
    """The same."""
    jobs_at: Mapping[Any, Any] = field(default_factory=dict)
    """Jobs of runs, by namespace and name of a MailEndpoint that they go from or to."""
    secret_users: Mapping[Any, Any] | None = None
    """The keys of MailSyncs, by namespace and name of a Secret; None where none are watched."""


class IndexView:
    """The view on these indices."""

    def __init__(self, indices: Indices) -> None:
        self._indices = indices
        self._gone: frozenset[str] = frozenset()

    def forget_missing(self, before: frozenset[str], listed: frozenset[str]) -> list[Work]:
        """Drop what was known before a list was asked for and is not in it.

        A watch that begins anew after an interruption brings what is there, and says nothing of
        what is gone. Return what nobody has any more.
        """
        self._gone = before - listed
        lost = {Work(obj.kind, obj.key) for obj in self._all() if obj.uid in self._gone}
        return sorted(
            work
            for work in lost
            if self._newest(self._index_of(work.kind).get(work.key, ())) is None
        )

    def uids(self) -> frozenset[str]:
        """Return the UIDs of all MailSyncs and MailEndpoints that are known."""
        return frozenset(obj.uid for obj in self._all())

    def mailsync(self, key: Key) -> MailSyncObject | None:
        """Return a MailSync, None if there is none of that name."""
        return self._newest(self._indices.mailsyncs.get(key, ()))

    def mailsyncs(self) -> Iterator[MailSyncObject]:
        """Return all MailSyncs."""
        for key in list(self._indices.mailsyncs):
            found = self.mailsync(key)
            if found is not None:
                yield found

    def endpoint(self, key: Key) -> EndpointObject | None:
        """Return a MailEndpoint, None if there is none of that name."""
        return self._newest(self._indices.endpoints.get(key, ()))

    def endpoints(self) -> Iterator[EndpointObject]:
        """Return all MailEndpoints."""
        for key in list(self._indices.endpoints):
            found = self.endpoint(key)
            if found is not None:
                yield found

    def users(self, endpoint: Key) -> frozenset[Key]:
        """Return which MailSyncs refer to a MailEndpoint, whether it exists or not."""
        return frozenset(self._indices.users.get(endpoint, ()))

    def users_of_secret(self, secret: Key) -> frozenset[Key]:
        """Return which MailSyncs refer to a Secret, where Secrets are watched."""
        known = self._indices.secret_users
        return frozenset(known.get(secret, ()) if known is not None else ())

    def jobs(self, uid: str) -> tuple[JobSnapshot, ...]:
        """Return the Jobs of a MailSync or MailEndpoint."""
        return tuple(self._indices.jobs.get(uid, ()))

    def jobs_at(self, endpoint: Key) -> tuple[JobSnapshot, ...]:
        """Return the Jobs of runs from or to a MailEndpoint."""
        return tuple(self._indices.jobs_at.get(endpoint, ()))

    def pods(self, uid: str) -> tuple[PodSnapshot, ...]:
        """Return the pods of a MailSync or MailEndpoint."""
        return tuple(self._indices.pods.get(uid, ()))

    def _all(self) -> Iterator[ApiObject]:
        for index in (self._indices.mailsyncs, self._indices.endpoints):
            yield from chain.from_iterable(index[key] for key in list(index))

    def _index_of(self, kind: str) -> Mapping[Any, Any]:
        own = kind == names.KIND_MAILENDPOINT
        return self._indices.endpoints if own else self._indices.mailsyncs

    def _newest(self, found: Iterable[T]) -> T | None:
        # For a moment an object and its recreated namesake are both there: the newer one counts.
        kept = (item for item in found if item.uid not in self._gone)
        return max(kept, key=lambda item: item.resource_version, default=None)

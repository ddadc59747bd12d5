"""What the watches brought: the operator's picture of the cluster, read only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mailsync_operator.snapshot import JobSnapshot, Key, MailSyncObject, PodSnapshot

__all__ = ["ClusterView", "IndexView"]


class ClusterView(Protocol):
    """What is known without asking."""

    def mailsync(self, key: Key) -> MailSyncObject | None:
        """Return a MailSync, None if there is none of that name."""

    def mailsyncs(self) -> Iterator[MailSyncObject]:
        """Return all MailSyncs."""

    def jobs(self, uid: str) -> tuple[JobSnapshot, ...]:
        """Return the Jobs of a MailSync."""

    def pods(self, uid: str) -> tuple[PodSnapshot, ...]:
        """Return the pods of a MailSync."""


class IndexView:
    """The view on three indices: by namespace and name, and twice by the MailSync's UID."""

    def __init__(
        self, mailsyncs: Mapping[Any, Any], jobs: Mapping[Any, Any], pods: Mapping[Any, Any]
    ) -> None:
        self._mailsyncs = mailsyncs
        self._jobs = jobs
        self._pods = pods

    def mailsync(self, key: Key) -> MailSyncObject | None:
        """Return a MailSync, None if there is none of that name."""
        # For a moment an object and its recreated namesake are both there: the newer one counts.
        found: list[MailSyncObject] = list(self._mailsyncs.get(key, ()))
        return max(found, key=lambda item: item.resource_version, default=None)

    def mailsyncs(self) -> Iterator[MailSyncObject]:
        """Return all MailSyncs."""
        for key in list(self._mailsyncs):
            found = self.mailsync(key)
            if found is not None:
                yield found

    def jobs(self, uid: str) -> tuple[JobSnapshot, ...]:
        """Return the Jobs of a MailSync."""
        return tuple(self._jobs.get(uid, ()))

    def pods(self, uid: str) -> tuple[PodSnapshot, ...]:
        """Return the pods of a MailSync."""
        return tuple(self._pods.get(uid, ()))

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
        self._gone: frozenset[str] = frozenset()

    def forget_missing(self, before: frozenset[str], listed: frozenset[str]) -> list[Key]:
        """Drop what was known before a list was asked for and is not in it.

        A watch that begins anew after an interruption brings what is there, and says nothing of
        what is gone. Return the keys that nobody has any more.
        """
        self._gone = before - listed
        lost = {
            key for key in self._mailsyncs for obj in self._mailsyncs[key] if obj.uid in self._gone
        }
        return sorted(key for key in lost if self.mailsync(key) is None)

    def uids(self) -> frozenset[str]:
        """Return the UIDs of all MailSyncs that are known."""
        return frozenset(obj.uid for key in self._mailsyncs for obj in self._mailsyncs[key])

    def mailsync(self, key: Key) -> MailSyncObject | None:
        """Return a MailSync, None if there is none of that name."""
        # For a moment an object and its recreated namesake are both there: the newer one counts.
        found: list[MailSyncObject] = [
            item for item in self._mailsyncs.get(key, ()) if item.uid not in self._gone
        ]
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

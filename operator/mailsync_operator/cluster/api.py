"""What the operator asks of the API server, one function for each request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from mailsync_api import names
from mailsync_operator.errors import NotFoundError
from mailsync_operator.snapshot import JobSnapshot, MailSyncObject, PodEvent, PodSnapshot

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mailsync_operator.cluster.transport import Transport

__all__ = ["KubernetesApi"]

_MERGE: Final = "application/merge-patch+json"
_METADATA: Final = (
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1, application/json"
)


class KubernetesApi:
    """The requests; every one may raise a ``ClusterError``."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    # --- MailSyncs ---

    async def count_mailsyncs(self, namespaces: tuple[str, ...]) -> int:
        """Return how many MailSyncs there are, without reading them all."""
        paths = [_mailsyncs(namespace) for namespace in namespaces] or [_mailsyncs()]
        count = 0
        for path in paths:
            found = await self._transport.call("GET", path, query={"limit": "1"})
            count += len(found.get("items") or [])
            count += int(found.get("metadata", {}).get("remainingItemCount") or 0)
        return count

    async def mailsync_uids(self, namespaces: tuple[str, ...]) -> frozenset[str]:
        """Return the UIDs of all MailSyncs; only their metadata is transferred."""
        uids: set[str] = set()
        for path in [_mailsyncs(namespace) for namespace in namespaces] or [_mailsyncs()]:
            query = {"limit": "500"}
            while True:
                page = await self._transport.call("GET", path, query=query, accept=_METADATA)
                uids |= {str(item["metadata"]["uid"]) for item in page.get("items") or []}
                following = page.get("metadata", {}).get("continue")
                if not following:
                    break
                query = {"limit": "500", "continue": str(following)}
        return frozenset(uids)

    async def apply_status(
        self, mailsync: MailSyncObject, status: Mapping[str, Any]
    ) -> MailSyncObject:
        """Write the whole status of an object, if it is still the one that was read.

        Raises
        ------
        ConflictError
            It changed, or was made anew, since it was read.
        NotFoundError
            It is gone.
        """
        body = {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND_MAILSYNC,
            "metadata": {
                "name": mailsync.name,
                "namespace": mailsync.namespace,
                "uid": mailsync.uid,
                "resourceVersion": str(mailsync.resource_version),
            },
            "status": dict(status),
        }
        path = f"{_mailsyncs(mailsync.namespace)}/{quote(mailsync.name)}/status"
        written = await self._transport.apply(path, body, manager=names.FIELD_MANAGER)
        return MailSyncObject.from_body(written)

    # --- Jobs and pods ---

    async def create_job(self, namespace: str, body: Mapping[str, Any]) -> JobSnapshot:
        """Create a Job."""
        query = {"fieldManager": names.FIELD_MANAGER, "fieldValidation": "Strict"}
        made = await self._transport.call("POST", _jobs(namespace), query=query, body=body)
        return JobSnapshot.from_body(made)

    async def get_job(self, namespace: str, name: str) -> JobSnapshot | None:
        """Return a Job; None if there is none of that name."""
        try:
            return JobSnapshot.from_body(
                await self._transport.call("GET", f"{_jobs(namespace)}/{quote(name)}")
            )
        except NotFoundError:
            return None

    async def patch_job(self, namespace: str, name: str, spec: Mapping[str, Any]) -> None:
        """Change fields of a Job's spec."""
        await self._transport.call(
            "PATCH",
            f"{_jobs(namespace)}/{quote(name)}",
            query={"fieldManager": names.FIELD_MANAGER},
            body={"spec": dict(spec)},
            content_type=_MERGE,
        )

    async def delete_job(self, namespace: str, name: str) -> None:
        """Delete a Job with its pods; it may be gone already."""
        try:
            await self._transport.call(
                "DELETE",
                f"{_jobs(namespace)}/{quote(name)}",
                body={"propagationPolicy": "Background"},
            )
        except NotFoundError:
            return

    async def list_pods(self, namespace: str, *, owner_uid: str) -> tuple[PodSnapshot, ...]:
        """Return the pods of a MailSync."""
        found = await self._transport.call(
            "GET",
            f"/api/v1/namespaces/{quote(namespace)}/pods",
            query={"labelSelector": f"{names.UID_LABEL}={owner_uid}"},
        )
        return tuple(PodSnapshot.from_body(item) for item in found.get("items") or [])

    async def pod_log(
        self,
        namespace: str,
        pod: str,
        *,
        tail_lines: int | None = None,
        limit_bytes: int | None = None,
    ) -> str:
        """Return the engine's log, or a part of it."""
        query = {"container": names.ENGINE_CONTAINER}
        if tail_lines is not None:
            query["tailLines"] = str(tail_lines)
        if limit_bytes is not None:
            query["limitBytes"] = str(limit_bytes)
        path = f"/api/v1/namespaces/{quote(namespace)}/pods/{quote(pod)}/log"
        return await self._transport.text(path, query=query)

    # --- Events and ConfigMaps ---

    async def object_events(self, namespace: str, uid: str) -> tuple[PodEvent, ...]:
        """Return the Events about one object."""
        found = await self._transport.call(
            "GET",
            _events(namespace),
            query={"fieldSelector": f"involvedObject.uid={uid}", "limit": "50"},
        )
        return tuple(PodEvent.from_body(item) for item in found.get("items") or [])

    async def event_count(self, namespace: str, name: str) -> int:
        """Return how often an Event happened; 0 if it is gone."""
        query = {"fieldSelector": f"metadata.name={name}"}
        found = await self._transport.call("GET", _events(namespace), query=query)
        return max((int(item.get("count") or 1) for item in found.get("items") or []), default=0)

    async def create_event(self, namespace: str, body: Mapping[str, Any]) -> None:
        """Create an Event."""
        await self._transport.call("POST", _events(namespace), body=body)

    async def patch_event(self, namespace: str, name: str, body: Mapping[str, Any]) -> None:
        """Change an Event.

        Raises
        ------
        NotFoundError
            It has expired.
        """
        path = f"{_events(namespace)}/{quote(name)}"
        await self._transport.call("PATCH", path, body=body, content_type=_MERGE)

    async def apply_config_map(self, namespace: str, body: Mapping[str, Any]) -> None:
        """Make a ConfigMap what it should be."""
        name = quote(str(body["metadata"]["name"]))
        path = f"/api/v1/namespaces/{quote(namespace)}/configmaps/{name}"
        await self._transport.apply(path, body, manager=names.FIELD_MANAGER)


def _mailsyncs(namespace: str | None = None) -> str:
    scope = f"/namespaces/{quote(namespace)}" if namespace else ""
    return f"/apis/{names.GROUP}/{names.VERSION}{scope}/{names.PLURAL_MAILSYNC}"


def _jobs(namespace: str) -> str:
    return f"/apis/batch/v1/namespaces/{quote(namespace)}/jobs"


def _events(namespace: str) -> str:
    return f"/api/v1/namespaces/{quote(namespace)}/events"

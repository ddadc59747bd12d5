"""What the operator asks of the API server, one function for each request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote

from mailsync_api import names
from mailsync_operator.errors import NotFoundError
from mailsync_operator.snapshot import ApiObject, JobSnapshot, PodEvent, PodSnapshot

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mailsync_operator.cluster.transport import Transport

__all__ = ["KubernetesApi"]

T = TypeVar("T", bound=ApiObject)
_MERGE: Final = "application/merge-patch+json"
_METADATA: Final = (
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1, application/json"
)


class KubernetesApi:
    """The requests; every one may raise a ``ClusterError``."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    # --- our resources ---

    async def count(self, plural: str, namespaces: tuple[str, ...]) -> int:
        """Return how many objects of a kind there are, without reading them all."""
        paths = _paths(plural, namespaces)
        count = 0
        for path in paths:
            found = await self._transport.call("GET", path, query={"limit": "1"})
            count += len(found.get("items") or [])
            count += int(found.get("metadata", {}).get("remainingItemCount") or 0)
        return count

    async def uids(self, plural: str, namespaces: tuple[str, ...]) -> frozenset[str]:
        """Return the UIDs of all objects of a kind; only their metadata is transferred."""
        uids: set[str] = set()
        for path in _paths(plural, namespaces):
            query = {"limit": "500"}
            while True:
                page = await self._transport.call("GET", path, query=query, accept=_METADATA)
                uids |= {str(item["metadata"]["uid"]) for item in page.get("items") or []}
                following = page.get("metadata", {}).get("continue")
                if not following:
                    break
                query = {"limit": "500", "continue": str(following)}
        return frozenset(uids)

    async def apply_status(self, obj: T, status: Mapping[str, Any]) -> T:
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
            "kind": obj.kind,
            "metadata": {
                "name": obj.name,
                "namespace": obj.namespace,
                "uid": obj.uid,
                "resourceVersion": str(obj.resource_version),
            },
            "status": dict(status),
        }
        path = f"{_path(obj.plural, obj.namespace)}/{quote(obj.name)}/status"
        written = await self._transport.apply(path, body, manager=names.FIELD_MANAGER)
        return type(obj).from_body(written)

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

    async def list_pods(
        self, namespace: str, *, owner_uid: str, label: str = names.UID_LABEL
    ) -> tuple[PodSnapshot, ...]:
        """Return the pods of a MailSync, or of what else the label stands for."""
        found = await self._transport.call(
            "GET",
            f"/api/v1/namespaces/{quote(namespace)}/pods",
            query={"labelSelector": f"{label}={owner_uid}"},
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


def _path(plural: str, namespace: str | None = None) -> str:
    scope = f"/namespaces/{quote(namespace)}" if namespace else ""
    return f"/apis/{names.GROUP}/{names.VERSION}{scope}/{plural}"


def _paths(plural: str, namespaces: tuple[str, ...]) -> list[str]:
    return [_path(plural, namespace) for namespace in namespaces] or [_path(plural)]


def _jobs(namespace: str) -> str:
    return f"/apis/batch/v1/namespaces/{quote(namespace)}/jobs"


def _events(namespace: str) -> str:
    return f"/api/v1/namespaces/{quote(namespace)}/events"

"""Adapters from kopf to the work queue: watch, index, enqueue, and nothing else.

No create, update, delete, timer or daemon handlers, so kopf writes no finalizers and annotations,
and a namespace with MailSyncs can always be deleted.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final

import kopf

from mailsync_api import names
from mailsync_api.references import secret_names
from mailsync_operator.gate import endpoint_names
from mailsync_operator.snapshot import (
    ApiObject,
    Body,
    EndpointObject,
    JobSnapshot,
    Key,
    MailSyncObject,
    PodSnapshot,
    Work,
    owner,
)
from mailsync_operator.view import IndexView, Indices

if TYPE_CHECKING:
    from mailsync_operator.runtime import Runtime

__all__ = ["build_registry", "configure"]

_OURS: Final = (
    f"{names.MANAGED_BY_LABEL}={names.FIELD_MANAGER},"
    f"{names.COMPONENT_LABEL}={names.ENGINE_CONTAINER}"
)
"""Jobs and pods of runs and probes alike: a selector knows no "one of these two labels"."""
_MAILSYNCS: Final = (names.GROUP, names.VERSION, names.PLURAL_MAILSYNC)
_ENDPOINTS: Final = (names.GROUP, names.VERSION, names.PLURAL_MAILENDPOINT)
_JOBS: Final = ("batch", "v1", "jobs")
_PODS: Final = ("", "v1", "pods")


def build_registry(runtime: Runtime) -> kopf.OperatorRegistry:
    """Return kopf's registry with the handlers of this operator."""
    registry = kopf.OperatorRegistry()
    kopf.on.login(registry=registry, errors=kopf.ErrorsMode.PERMANENT)(kopf.login_via_client)
    _add_life(registry, runtime)
    _add_indices(registry)
    if runtime.settings.watch_secrets:
        _add_secret_users(registry)
    _add_events(registry, runtime)
    return registry


def configure(settings: kopf.OperatorSettings) -> None:
    """Make kopf do what is wanted of it, and no more."""
    settings.peering.standalone = True
    settings.posting.enabled = False
    settings.scanning.disabled = True  # neither namespaces nor CRDs are watched
    settings.networking.request_timeout = 30.0
    settings.watching.chunk_size = 500
    settings.watching.connect_timeout = 30.0
    settings.watching.inactivity_timeout = 70.0
    # Without it every pod of the cluster would come through here.
    settings.watching.label_selectors[_JOBS] = _OURS
    settings.watching.label_selectors[_PODS] = _OURS
    # With indices, a limit is a deadlock as soon as there are more objects than it allows: each
    # one's worker waits until all objects are indexed, and those beyond the limit never are.
    settings.queueing.worker_limit = None
    # Our handlers only enqueue, so a worker need not stay for more of the same object.
    settings.queueing.idle_timeout = 0.1
    settings.execution.max_workers = 2
    settings.persistence.finalizer = f"{names.GROUP}/unused"


def _add_life(registry: kopf.OperatorRegistry, runtime: Runtime) -> None:
    @kopf.on.startup(registry=registry, errors=kopf.ErrorsMode.PERMANENT)
    async def startup(settings: kopf.OperatorSettings, **kwargs: Any) -> None:  # noqa: ANN401  kopf's
        configure(settings)
        indices = Indices(**{f.name: kwargs[f.name] for f in fields(Indices) if f.name in kwargs})
        await runtime.start(IndexView(indices))

    @kopf.on.cleanup(registry=registry)
    async def cleanup(**_: Any) -> None:  # noqa: ANN401  kopf's arguments
        await runtime.stop()

    @kopf.on.probe(registry=registry, id="queue", errors=kopf.ErrorsMode.PERMANENT)
    async def probe(**_: Any) -> dict[str, int]:  # noqa: ANN401  kopf's arguments
        return runtime.check()


def _add_indices(registry: kopf.OperatorRegistry) -> None:
    @kopf.index(*_MAILSYNCS, registry=registry, id="mailsyncs")
    async def mailsyncs(body: Body, **_: Any) -> dict[Key, MailSyncObject]:  # noqa: ANN401  kopf's
        found = MailSyncObject.from_body(body)
        return {found.key: found}

    @kopf.index(*_ENDPOINTS, registry=registry, id="endpoints")
    async def endpoints(body: Body, **_: Any) -> dict[Key, EndpointObject]:  # noqa: ANN401  kopf's
        found = EndpointObject.from_body(body)
        return {found.key: found}

    @kopf.index(*_MAILSYNCS, registry=registry, id="users")
    async def users(body: Body, **_: Any) -> dict[Key, Key]:  # noqa: ANN401  kopf's
        found = MailSyncObject.from_body(body)
        return {(found.namespace, name): found.key for name in endpoint_names(found.spec)}

    @kopf.index(*_JOBS, registry=registry, id="jobs")
    async def jobs(body: Body, **_: Any) -> dict[str, JobSnapshot]:  # noqa: ANN401  kopf's
        found = JobSnapshot.from_body(body)
        return {found.owner_uid: found}

    @kopf.index(*_JOBS, registry=registry, id="jobs_at")
    async def jobs_at(body: Body, **_: Any) -> dict[Key, JobSnapshot]:  # noqa: ANN401  kopf's
        found = JobSnapshot.from_body(body)
        return {(found.namespace, name): found for name in found.endpoints}

    @kopf.index(*_PODS, registry=registry, id="pods")
    async def pods(body: Body, **_: Any) -> dict[str, PodSnapshot]:  # noqa: ANN401  kopf's
        found = PodSnapshot.from_body(body)
        return {found.owner_uid: found}


def _add_secret_users(registry: kopf.OperatorRegistry) -> None:
    @kopf.index(*_MAILSYNCS, registry=registry, id="secret_users")
    async def users(body: Body, **_: Any) -> dict[Key, Key]:  # noqa: ANN401  kopf's
        found = MailSyncObject.from_body(body)
        return {(found.namespace, name): found.key for name in secret_names(found.spec)}


def _add_events(registry: kopf.OperatorRegistry, runtime: Runtime) -> None:
    @kopf.on.event(*_MAILSYNCS, registry=registry, id="mailsync")
    async def mailsync(body: Body, **_: Any) -> None:  # noqa: ANN401  kopf's arguments
        runtime.add(_work(MailSyncObject.from_body(body)))

    @kopf.on.event(*_ENDPOINTS, registry=registry, id="endpoint")
    async def endpoint(body: Body, **_: Any) -> None:  # noqa: ANN401  kopf's arguments
        work = _work(EndpointObject.from_body(body))
        runtime.add(work)
        runtime.endpoint_seen(work.key)

    async def owned(body: Body, **_: Any) -> None:  # noqa: ANN401  kopf's arguments
        work = owner(body)
        if work is not None:
            runtime.add(work)

    async def job(body: Body, **_: Any) -> None:  # noqa: ANN401  kopf's arguments
        await owned(body)
        found = JobSnapshot.from_body(body)
        for name in found.endpoints:
            runtime.job_seen((found.namespace, name))

    kopf.on.event(*_JOBS, registry=registry, id="job")(job)
    kopf.on.event(*_PODS, registry=registry, id="pod")(owned)


def _work(obj: ApiObject) -> Work:
    return Work(obj.kind, obj.key)

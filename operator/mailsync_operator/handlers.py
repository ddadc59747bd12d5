"""Adapters from kopf to the work queue: watch, index, enqueue, and nothing else.

No create, update, delete, timer or daemon handlers, so kopf writes no finalizers and annotations,
and a namespace with MailSyncs can always be deleted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import kopf

from mailsync_api import names
from mailsync_operator.snapshot import (
    Body,
    JobSnapshot,
    Key,
    MailSyncObject,
    PodSnapshot,
    owner_key,
)
from mailsync_operator.view import IndexView

if TYPE_CHECKING:
    from mailsync_operator.runtime import Runtime

__all__ = ["build_registry", "configure"]

_OURS: Final = f"{names.MANAGED_BY_LABEL}={names.FIELD_MANAGER},{names.UID_LABEL}"
_MAILSYNCS: Final = (names.GROUP, names.VERSION, names.PLURAL_MAILSYNC)
_JOBS: Final = ("batch", "v1", "jobs")
_PODS: Final = ("", "v1", "pods")


def build_registry(runtime: Runtime) -> kopf.OperatorRegistry:
    """Return kopf's registry with the handlers of this operator."""
    registry = kopf.OperatorRegistry()
    kopf.on.login(registry=registry, errors=kopf.ErrorsMode.PERMANENT)(kopf.login_via_client)
    _add_life(registry, runtime)
    _add_indices(registry)
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
        await runtime.start(IndexView(kwargs["mailsyncs"], kwargs["jobs"], kwargs["pods"]))

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

    @kopf.index(*_JOBS, registry=registry, id="jobs")
    async def jobs(body: Body, **_: Any) -> dict[str, JobSnapshot]:  # noqa: ANN401  kopf's
        found = JobSnapshot.from_body(body)
        return {found.owner_uid: found}

    @kopf.index(*_PODS, registry=registry, id="pods")
    async def pods(body: Body, **_: Any) -> dict[str, PodSnapshot]:  # noqa: ANN401  kopf's
        found = PodSnapshot.from_body(body)
        return {found.owner_uid: found}


def _add_events(registry: kopf.OperatorRegistry, runtime: Runtime) -> None:
    @kopf.on.event(*_MAILSYNCS, registry=registry, id="mailsync")
    async def mailsync(body: Body, **_: Any) -> None:  # noqa: ANN401  kopf's arguments
        runtime.add(MailSyncObject.from_body(body).key)

    async def owned(body: Body, **_: Any) -> None:  # noqa: ANN401  kopf's arguments
        key = owner_key(body)
        if key is not None:
            runtime.add(key)

    kopf.on.event(*_JOBS, registry=registry, id="job")(owned)
    kopf.on.event(*_PODS, registry=registry, id="pod")(owned)

"""One look at one MailEndpoint: observe, decide, apply, and write the status if it changed."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final, Protocol

from pydantic import ValidationError

from mailsync_api import names
from mailsync_api.endpointstatus import ActiveSyncs, MailEndpointStatus, ProbeRecord
from mailsync_api.mailendpoint import MailEndpointSpec
from mailsync_api.status import RunType
from mailsync_operator.actions import DeleteJob
from mailsync_operator.apply import JobRefusedError
from mailsync_operator.builders.job import to_object
from mailsync_operator.builders.probe import build_probe_job
from mailsync_operator.endings import last_ended_pod
from mailsync_operator.endpoints.decide import CreateProbe, decide_probe, probe_refused
from mailsync_operator.endpoints.observe import EndpointObservation
from mailsync_operator.endpoints.transitions import endpoint_transitions
from mailsync_operator.errors import AlreadyExistsError, NotFoundError, RefusedError
from mailsync_operator.newest import Newest
from mailsync_operator.observe import read, read_written
from mailsync_operator.turns import active_at

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from mailsync_operator.builders.job import Engine
    from mailsync_operator.endpoints.decide import EndpointDecision
    from mailsync_operator.events import EventRecorder
    from mailsync_operator.snapshot import EndpointObject, JobSnapshot, Key, PodEvent, PodSnapshot
    from mailsync_operator.view import ClusterView

__all__ = ["EndpointApi", "EndpointReconciler", "ProbeMeter"]

ACTIVE_SECONDS: Final = 5.0
"""How often the number of runs is written at most: thousands may start and end."""

RESYNC_SECONDS: Final = 60.0
"""A Job that is older than this is read directly at each look: a watch may have lost its end."""
NO_POD_SECONDS: Final = 3.0
"""A Job younger than this need not have a pod yet."""


class EndpointApi(Protocol):
    """The requests that are needed."""

    async def apply_status(self, obj: EndpointObject, status: Mapping[str, Any]) -> EndpointObject:
        """Write the whole status of an object, if it is still the one that was read."""

    async def create_job(self, namespace: str, body: Mapping[str, Any]) -> JobSnapshot:
        """Create a Job."""

    async def get_job(self, namespace: str, name: str) -> JobSnapshot | None:
        """Return a Job; None if there is none of that name."""

    async def delete_job(self, namespace: str, name: str) -> None:
        """Delete a Job with its pods; it may be gone already."""

    async def list_pods(
        self, namespace: str, *, owner_uid: str, label: str = names.UID_LABEL
    ) -> tuple[PodSnapshot, ...]:
        """Return the pods of what the label stands for."""

    async def object_events(self, namespace: str, uid: str) -> tuple[PodEvent, ...]:
        """Return the Events about one object."""


class ProbeMeter(Protocol):
    """Counts probes."""

    def probed(self, record: ProbeRecord) -> None:
        """Count a probe that ended."""


class EndpointReconciler:
    """Brings each MailEndpoint a step forward.

    It remembers nothing that the cluster does not know, except what it wrote itself and the
    watches have not brought back yet.
    """

    def __init__(  # noqa: PLR0913  the seams at which tests put fakes
        self,
        view: ClusterView,
        api: EndpointApi,
        *,
        engine: Engine,
        recorder: EventRecorder,
        meter: ProbeMeter,
        clock: Callable[[], datetime],
    ) -> None:
        self._view = view
        self._api = api
        self._engine = engine
        self._recorder = recorder
        self._meter = meter
        self._clock = clock
        self._newest: Newest[EndpointObject] = Newest()
        self._doubts: dict[Key, datetime] = {}
        self._wrote: dict[Key, datetime] = {}

    async def reconcile(self, key: Key) -> float | None:
        """Look at one MailEndpoint. Return after how many seconds to look again, None for never.

        Raises
        ------
        ClusterError
            Something could not be done; looking again later may help.
        """
        endpoint = self._newest.of(key, self._view.endpoint(key))
        if endpoint is None:
            self._newest.forget(key)
            self._doubts.pop(key, None)
            self._wrote.pop(key, None)
            return None
        obs = await self._observe(endpoint)
        decision = decide_probe(obs)
        try:
            await self._create(obs, decision)
        except JobRefusedError as error:
            decision = probe_refused(obs, str(error))
        if decision.status is None:
            return decision.requeue_after
        if self._is_too_soon(obs, decision.status):
            return ACTIVE_SECONDS
        try:
            await self._write(obs, decision.status)
        except NotFoundError:
            return None  # it was deleted; its Jobs go with it
        for action in decision.actions:
            if isinstance(action, DeleteJob):
                await self._api.delete_job(endpoint.namespace, action.name)
        return decision.requeue_after

    def doubt(self, key: Key) -> None:
        """Have a server probed before its time, as a run failed of it.

        An operator that is killed forgets it, and the next period comes anyway.
        """
        self._doubts[key] = self._clock().replace(microsecond=0)

    def _is_too_soon(self, obs: EndpointObservation, status: MailEndpointStatus) -> bool:
        """Whether only the number of runs has changed, and was written a moment ago."""
        same = status.model_copy(update={"active": obs.status.active})
        wrote = self._wrote.get(obs.endpoint.key)
        return (
            status.active != obs.status.active
            and same.to_wire() == obs.endpoint.status
            and wrote is not None
            and (obs.now - wrote).total_seconds() < ACTIVE_SECONDS
        )

    # --- observe ---

    async def _observe(self, endpoint: EndpointObject) -> EndpointObservation:
        spec, error = read(MailEndpointSpec, endpoint.spec)
        obs = EndpointObservation(
            now=self._clock().replace(microsecond=0),
            endpoint=endpoint,
            status=read_written(MailEndpointStatus, endpoint.status),
            spec=spec,
            spec_error=error,
            jobs=self._view.jobs(endpoint.uid),
            pods=self._view.pods(endpoint.uid),
            active=_active(self._view, endpoint.key),
            doubted=self._doubts.get(endpoint.key),
        )
        if endpoint.deleting:
            return obs
        return await self._with_pods(await self._with_job(obs))

    async def _with_job(self, obs: EndpointObservation) -> EndpointObservation:
        """Read the probe's Job directly where the watch may not know it yet, or no longer."""
        probe = obs.status.current_probe
        if probe is None:
            return obs
        seen = obs.job(probe.number)
        if seen is not None and (
            seen.outcome is not None or (obs.now - seen.created).total_seconds() < RESYNC_SECONDS
        ):
            return obs
        job = await self._api.get_job(obs.endpoint.namespace, probe.job_name)
        others = [job for job in obs.jobs if job.run != probe.number]
        if job is not None and job.owner_uid == obs.endpoint.uid:
            others.append(job)
        return dataclasses.replace(obs, jobs=tuple(others))

    async def _with_pods(self, obs: EndpointObservation) -> EndpointObservation:
        """Read what the watches do not bring: why a pod does not start, and how the last ended."""
        namespace, probe = obs.endpoint.namespace, obs.status.current_probe
        job = obs.job(probe.number) if probe else None
        if probe is None or job is None:
            return obs
        pods = obs.pods_of(probe.number)
        if job.outcome is not None:
            if pods and last_ended_pod(pods) is pods[-1]:
                return obs
            label = names.ENDPOINT_UID_LABEL
            read_pods = await self._api.list_pods(
                namespace, owner_uid=obs.endpoint.uid, label=label
            )
            return dataclasses.replace(obs, pods=read_pods)
        if not pods:
            if (obs.now - job.created).total_seconds() < NO_POD_SECONDS:
                return obs
            about = job.uid
        elif pods[-1].started is not None or pods[-1].over or not pods[-1].node:
            return obs
        else:
            about = pods[-1].uid
        events = await self._api.object_events(namespace, about)
        return dataclasses.replace(obs, pod_events=events)

    # --- apply ---

    async def _create(self, obs: EndpointObservation, decision: EndpointDecision) -> None:
        created = [each for each in decision.actions if isinstance(each, CreateProbe)]
        for action in created:
            assert obs.spec is not None  # noqa: S101  no probe starts without a spec
            endpoint, probe = obs.endpoint, action.probe
            try:
                body = to_object(
                    build_probe_job(endpoint, obs.spec, probe=probe, engine=self._engine)
                )
                await self._api.create_job(endpoint.namespace, body)
            except AlreadyExistsError:  # made before, and not yet told
                found = await self._api.get_job(endpoint.namespace, probe.job_name)
                if found is None or found.owner_uid != endpoint.uid:
                    text = f'a Job "{probe.job_name}" that is not ours is in the way'
                    raise JobRefusedError(text) from None
            except ValidationError as error:
                first = error.errors()[0]
                path = ".".join(str(part) for part in first["loc"])
                text = f"spec.probe.podTemplate: {path}: {first['msg']}"
                raise JobRefusedError(text) from error
            except RefusedError as error:
                raise JobRefusedError(str(error)) from error

    async def _write(self, obs: EndpointObservation, status: MailEndpointStatus) -> None:
        endpoint, wire = obs.endpoint, status.to_wire()
        if wire == endpoint.status:
            return
        written = await self._api.apply_status(endpoint, wire)
        self._newest.wrote(written)
        self._wrote[endpoint.key] = obs.now
        last, before = status.last_probe, obs.status.last_probe
        if last is not None and (before is None or before.number != last.number):
            self._meter.probed(last)
        for transition in endpoint_transitions(obs.status, status):
            await self._recorder.record(written, transition)


def _active(view: ClusterView, endpoint: Key) -> ActiveSyncs:
    counts = active_at(view, endpoint)
    return ActiveSyncs(initial=counts[RunType.INITIAL], delta=counts[RunType.DELTA])

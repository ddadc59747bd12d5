"""One look at one MailSync: observe, decide, apply, and write the status if it changed."""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from mailsync_api.references import secret_names
from mailsync_operator.actions import CreateJob, Decision
from mailsync_operator.apply import Applier, JobRefusedError
from mailsync_operator.decide import decide, refused
from mailsync_operator.endings import last_ended_pod
from mailsync_operator.errors import NotFoundError
from mailsync_operator.gate import ENDPOINT_CODES, endpoint_names, endpoint_state
from mailsync_operator.newest import Newest
from mailsync_operator.observe import Observation, read_accounts, read_spec, read_status
from mailsync_operator.snapshot import (
    JobSnapshot,
    Key,
    MailSyncObject,
    PodEvent,
    PodSnapshot,
)
from mailsync_operator.transitions import Transition, transitions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime

    from mailsync_api.status import MailSyncStatus
    from mailsync_operator.cluster.secrets import SecretsSeen
    from mailsync_operator.events import EventRecorder
    from mailsync_operator.gate import EndpointState
    from mailsync_operator.progress import ProgressPoller
    from mailsync_operator.turns import Turns
    from mailsync_operator.view import ClusterView

__all__ = ["ReadApi", "Reconciler", "SecretVersions", "TransitionMeter"]

RESYNC_SECONDS: Final = 240.0
"""How often, at most, a running Job is read directly: a watch that was interrupted may have lost
its end."""
NO_POD_SECONDS: Final = 3.0
"""A Job younger than this need not have a pod yet."""
_log = logging.getLogger(__name__)
S = TypeVar("S", JobSnapshot, PodSnapshot)


class ReadApi(Protocol):
    """The requests that are needed to observe."""

    async def get_job(self, namespace: str, name: str) -> JobSnapshot | None:
        """Return a Job; None if there is none of that name."""

    async def list_pods(self, namespace: str, *, owner_uid: str) -> tuple[PodSnapshot, ...]:
        """Return the pods of a MailSync."""

    async def object_events(self, namespace: str, uid: str) -> tuple[PodEvent, ...]:
        """Return the Events about one object."""


class TransitionMeter(Protocol):
    """Counts transitions."""

    def transition(self, mailsync: MailSyncObject, transition: Transition) -> None:
        """Count one."""


class SecretVersions(Protocol):
    """Knows when Secrets changed, where that may be known."""

    def seen(self, namespace: str, names: Iterable[str]) -> SecretsSeen | None:
        """Return what is known of these Secrets; None for nothing yet."""


class Reconciler:
    """Brings each MailSync a step forward.

    It remembers nothing that the cluster does not know, except what it wrote itself and the
    watches have not brought back yet.
    """

    def __init__(  # noqa: PLR0913  the seams at which tests put fakes
        self,
        view: ClusterView,
        api: ReadApi,
        *,
        applier: Applier,
        poller: ProgressPoller,
        recorder: EventRecorder,
        meter: TransitionMeter,
        clock: Callable[[], datetime],
        doubt: Callable[[Key], None],
        turns: Turns,
        secrets: SecretVersions | None = None,
    ) -> None:
        self._view = view
        self._api = api
        self._applier = applier
        self._poller = poller
        self._recorder = recorder
        self._meter = meter
        self._clock = clock
        self._doubt = doubt
        self._turns = turns
        self._secrets = secrets
        self._newest: Newest[MailSyncObject] = Newest()
        self._created: dict[Key, JobSnapshot] = {}
        self._read_at: dict[Key, datetime] = {}

    async def reconcile(self, key: Key) -> float | None:
        """Look at one MailSync. Return after how many seconds to look again, None for never.

        Raises
        ------
        ClusterError
            Something could not be done; looking again later may help.
        """
        mailsync = self._newest.of(key, self._view.mailsync(key))
        if mailsync is None:
            self._forget(key)
            return None
        obs = await self._observe(mailsync)
        self._follow(obs)
        # Nothing else is looked at from here until the slot is taken: no await.
        ask = self._turns.ask(obs)
        obs = dataclasses.replace(obs, turn=self._turns.why_wait(ask))
        decision = decide(obs)
        self._turns.settle(key, ask, decision)
        try:
            decision = await self._applier.carry_out(obs, decision)
        except JobRefusedError as error:
            self._turns.give_back(key)
            decision = refused(obs, str(error))
        if decision.status is None:
            return decision.requeue_after
        self._remember_job(key, decision)
        try:
            await self._write(obs, decision.status)
        except NotFoundError:
            return None  # it was deleted; its Jobs go with it
        await self._applier.tidy(obs, decision)
        return decision.requeue_after

    # --- observe ---

    async def _observe(self, mailsync: MailSyncObject) -> Observation:
        spec, error = read_spec(mailsync.spec)
        accounts = None
        endpoints = dict(self._endpoints(mailsync))
        if spec is not None:
            servers = {name: state.server for name, state in endpoints.items() if state.server}
            accounts, error = read_accounts(spec, servers)
        obs = Observation(
            now=self._clock().replace(microsecond=0),
            mailsync=mailsync,
            status=read_status(mailsync.status),
            spec=spec,
            spec_error=error,
            accounts=accounts,
            endpoints=endpoints,
            jobs=self._view.jobs(mailsync.uid),
            pods=self._view.pods(mailsync.uid),
            feed=self._poller.feed(mailsync.uid),
            secrets=self._secrets.seen(mailsync.namespace, secret_names(mailsync.spec))
            if self._secrets
            else None,
        )
        if mailsync.deleting:
            return obs
        obs = await self._with_job(obs)
        obs = await self._with_pods(obs)
        return await self._with_events(obs)

    def _endpoints(self, mailsync: MailSyncObject) -> Iterator[tuple[str, EndpointState]]:
        for name in endpoint_names(mailsync.spec):
            found = self._view.endpoint((mailsync.namespace, name))
            if found is not None and not found.deleting:
                yield name, endpoint_state(found)

    async def _with_job(self, obs: Observation) -> Observation:
        """Read the run's Job directly where the watch may not know it yet, or no longer."""
        run = obs.status.current_run
        if run is None:
            created = self._created.get(obs.mailsync.key)
            known = obs.status.last_run.number if obs.status.last_run else 0
            if created and created.owner_uid == obs.mailsync.uid and created.run > known:
                return dataclasses.replace(obs, jobs=_laid_over(obs.jobs, [created]))
            return obs
        seen = obs.job(run.number)
        if seen is not None and (seen.outcome is not None or not self._is_old(obs)):
            return obs
        self._read_at[obs.mailsync.key] = obs.now
        job = await self._api.get_job(obs.mailsync.namespace, run.job_name)
        others = [job for job in obs.jobs if job.run != run.number]
        if job is not None and job.owner_uid == obs.mailsync.uid:
            others.append(job)
        return dataclasses.replace(obs, jobs=tuple(others))

    def _is_old(self, obs: Observation) -> bool:
        last = self._read_at.setdefault(obs.mailsync.key, obs.now)
        return (obs.now - last).total_seconds() >= RESYNC_SECONDS

    async def _with_pods(self, obs: Observation) -> Observation:
        """Read the pods directly where the Job is over and its pod's end is not known yet."""
        run = obs.status.current_run
        job = obs.job(run.number) if run else None
        if run is None or job is None or job.outcome is None:
            return obs
        pods = obs.pods_of(run.number)
        if pods and last_ended_pod(pods) is pods[-1]:
            return obs
        read = await self._api.list_pods(obs.mailsync.namespace, owner_uid=obs.mailsync.uid)
        return dataclasses.replace(obs, pods=_laid_over(obs.pods, read))

    async def _with_events(self, obs: Observation) -> Observation:
        run = obs.status.current_run
        job = obs.job(run.number) if run else None
        if run is None or job is None or job.outcome is not None or job.suspended:
            return obs
        pods = obs.pods_of(run.number)
        if not pods:
            if (obs.now - job.created).total_seconds() < NO_POD_SECONDS:
                return obs
            about = job.uid
        elif pods[-1].started is not None or pods[-1].over or not pods[-1].node:
            return obs
        else:
            about = pods[-1].uid
        events = await self._api.object_events(obs.mailsync.namespace, about)
        return dataclasses.replace(obs, pod_events=events)

    def _follow(self, obs: Observation) -> None:
        """Have the log of the running pod followed, and of no other."""
        run = obs.status.current_run
        pods = obs.pods_of(run.number) if run else ()
        uid = obs.mailsync.uid
        if run is not None and pods and pods[-1].running:
            self._poller.follow(uid, obs.mailsync.key, pod=pods[-1].name, run=run.number)
        elif run is None or not pods:
            self._poller.forget(uid)

    # --- write ---

    async def _write(self, obs: Observation, status: MailSyncStatus) -> None:
        mailsync, wire = obs.mailsync, status.to_wire()
        if wire == mailsync.status:
            return
        written = await self._applier.write_status(mailsync, wire)
        self._newest.wrote(written)
        self._tell_doubts(obs, status)
        for transition in transitions(obs.status, status):
            self._meter.transition(written, transition)
            await self._recorder.record(written, transition)

    def _tell_doubts(self, obs: Observation, status: MailSyncStatus) -> None:
        """Have the servers probed that a run may have failed of, before thousands do."""
        last, before = status.last_run, obs.status.last_run
        if last is None or (before is not None and before.number == last.number):
            return
        if last.exit_code in ENDPOINT_CODES:
            for name in obs.endpoints:
                self._doubt((obs.mailsync.namespace, name))

    def _remember_job(self, key: Key, decision: Decision) -> None:
        if any(isinstance(action, CreateJob) for action in decision.actions):
            created = self._applier.last_created(key)
            if created is not None:
                self._created[key] = created
        elif decision.status is not None and decision.status.current_run is None:
            self._created.pop(key, None)
            self._read_at.pop(key, None)

    def _forget(self, key: Key) -> None:
        self._turns.give_back(key)
        written = self._newest.forget(key)
        if written is not None:
            self._poller.forget(written.uid)
        self._created.pop(key, None)
        self._read_at.pop(key, None)


def _laid_over(known: tuple[S, ...], newer: Iterable[S]) -> tuple[S, ...]:
    """Return all, each in its newer form."""
    by_uid = {item.uid: item for item in known} | {item.uid: item for item in newer}
    return tuple(by_uid.values())

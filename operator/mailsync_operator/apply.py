"""Carries out what was decided. Every step may be repeated: killed half-way, the next goes on."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, Protocol

from pydantic import ValidationError

from mailsync_operator.actions import (
    CollectReport,
    CreateJob,
    Decision,
    DeleteJob,
    SetJobLifetime,
    SuspendJob,
)
from mailsync_operator.builders.job import Engine, build_job, to_object
from mailsync_operator.errors import (
    AlreadyExistsError,
    ClusterError,
    NotFoundError,
    RefusedError,
)
from mailsync_operator.gate import terms_of
from mailsync_operator.naming import report_name
from mailsync_operator.report import find_report, report_config_map

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mailsync_api.report import Report
    from mailsync_operator.observe import Observation
    from mailsync_operator.snapshot import JobSnapshot, Key, MailSyncObject

__all__ = ["Applier", "JobRefusedError", "WriteApi"]

_LOG_STEPS: Final = (50, 1000, 20000)
"""Lines of the log's end that are read for the report, until it is found. The kubelet's lines have
16 KiB at most, so a long report is many of them."""
_LOG_BYTES: Final = 64 * 1024 * 1024
_log = logging.getLogger(__name__)


class JobRefusedError(Exception):
    """The API server does not accept the Job; a person must change something."""


class WriteApi(Protocol):
    """The requests that are needed."""

    async def apply_status(
        self, mailsync: MailSyncObject, status: Mapping[str, Any]
    ) -> MailSyncObject:
        """Write the whole status of an object, if it is still the one that was read."""

    async def create_job(self, namespace: str, body: Mapping[str, Any]) -> JobSnapshot:
        """Create a Job."""

    async def get_job(self, namespace: str, name: str) -> JobSnapshot | None:
        """Return a Job; None if there is none of that name."""

    async def patch_job(self, namespace: str, name: str, spec: Mapping[str, Any]) -> None:
        """Change fields of a Job's spec."""

    async def delete_job(self, namespace: str, name: str) -> None:
        """Delete a Job with its pods; it may be gone already."""

    async def pod_log(
        self,
        namespace: str,
        pod: str,
        *,
        tail_lines: int | None = None,
        limit_bytes: int | None = None,
    ) -> str:
        """Return a part of a log."""

    async def apply_config_map(self, namespace: str, body: Mapping[str, Any]) -> None:
        """Make a ConfigMap what it should be."""


class Applier:
    """The effects of decisions."""

    def __init__(self, api: WriteApi, *, engine: Engine) -> None:
        self._api = api
        self._engine = engine
        self._created: dict[Key, JobSnapshot] = {}

    async def carry_out(self, obs: Observation, decision: Decision) -> Decision:
        """Do what the status will tell of, and return the decision with what came out of it.

        Raises
        ------
        JobRefusedError
            The Job was not accepted.
        ClusterError
            Something else could not be done.
        """
        for action in decision.actions:
            match action:
                case CreateJob():
                    await self._create(obs, action)
                case SuspendJob():
                    await self._patch(obs, action.name, {"suspend": action.suspend})
                case CollectReport():
                    decision = await self._collect(obs, action, decision)
                case DeleteJob() | SetJobLifetime():
                    pass  # only once the run is safely in the status
        return decision

    async def tidy(self, obs: Observation, decision: Decision) -> None:
        """Do what may only be done after the status was written."""
        for action in decision.actions:
            match action:
                case DeleteJob():
                    await self._api.delete_job(obs.mailsync.namespace, action.name)
                case SetJobLifetime():
                    lifetime = {"ttlSecondsAfterFinished": action.seconds}
                    await self._patch(obs, action.name, lifetime)
                case _:
                    pass

    async def write_status(
        self, mailsync: MailSyncObject, status: Mapping[str, Any]
    ) -> MailSyncObject:
        """Write a status. Return the object as it is then."""
        return await self._api.apply_status(mailsync, status)

    def last_created(self, key: Key) -> JobSnapshot | None:
        """Return the Job that was created last for a MailSync, once."""
        return self._created.pop(key, None)

    async def _create(self, obs: Observation, action: CreateJob) -> None:
        assert obs.spec is not None  # noqa: S101  no run starts without a spec
        assert obs.accounts is not None  # noqa: S101  nor without accounts
        mailsync = obs.mailsync
        try:
            body = to_object(
                build_job(
                    mailsync,
                    obs.spec,
                    obs.accounts,
                    run=action.run,
                    spec_hash=action.spec_hash,
                    engine=self._engine,
                    terms=terms_of(obs.spec, obs.endpoints),
                    copied_lately=obs.status.copied_lately,
                    now=obs.now,
                )
            )
            made = await self._api.create_job(mailsync.namespace, body)
        except AlreadyExistsError:
            found = await self._api.get_job(mailsync.namespace, action.run.job_name)
            if found is None or found.owner_uid != mailsync.uid:
                text = f'a Job "{action.run.job_name}" that is not ours is in the way'
                raise JobRefusedError(text) from None
            made = found
        except ValidationError as error:
            first = error.errors()[0]
            path = ".".join(str(part) for part in first["loc"])
            raise JobRefusedError(f"spec.podTemplate: {path}: {first['msg']}") from error
        except RefusedError as error:
            raise JobRefusedError(str(error)) from error
        self._created[mailsync.key] = made

    async def _patch(self, obs: Observation, name: str, spec: Mapping[str, Any]) -> None:
        try:
            await self._api.patch_job(obs.mailsync.namespace, name, spec)
        except NotFoundError:
            _log.debug("Job %s/%s is gone", obs.mailsync.namespace, name)

    async def _collect(
        self, obs: Observation, action: CollectReport, decision: Decision
    ) -> Decision:
        """Keep the report. A lost one costs details only: the verdict is in the pod's status."""
        mailsync = obs.mailsync
        try:
            report = await self._find_report(mailsync.namespace, action.pod)
            if report is None:
                return decision
            body = report_config_map(mailsync, report, run=action.run)
            await self._api.apply_config_map(mailsync.namespace, body)
        except ClusterError as error:
            _log.warning(
                "the report of pod %s/%s is lost: %s", mailsync.namespace, action.pod, error
            )
            return decision
        assert decision.status is not None  # noqa: S101  a run that ended is told
        name = report_name(name=mailsync.name, uid=mailsync.uid)
        status = decision.status.model_copy(update={"report_name": name})
        return Decision(decision.actions, status, decision.requeue_after)

    async def _find_report(self, namespace: str, pod: str) -> Report | None:
        for lines in _LOG_STEPS:
            text = await self._api.pod_log(namespace, pod, tail_lines=lines, limit_bytes=_LOG_BYTES)
            report = find_report(text)
            if report is not None or text.count("\n") < lines // 2:
                return report
        return None

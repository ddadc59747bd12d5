"""The Job of one run.

The client's models are validated, so a misspelt field fails here and not on the API server.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from kubernetes.aio.client import models as k8s

from mailsync_api import names
from mailsync_api.endpoint import Side
from mailsync_api.exitcodes import fail_job_codes
from mailsync_api.job import job_input
from mailsync_operator.builders.pod import engine_pod_spec
from mailsync_operator.house import JOB_LIFETIME_SECONDS
from mailsync_operator.naming import report_name, servers_hash

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from mailsync_api.limits import Terms
    from mailsync_api.spec import Accounts, MailSyncSpec
    from mailsync_api.status import CopiedBytes, CurrentRun
    from mailsync_operator.snapshot import ApiObject, MailSyncObject

__all__ = ["Engine", "build_job", "owner_reference", "pod_failure_policy", "to_object"]

_DISRUPTION: Final = "DisruptionTarget"


@dataclass(frozen=True, slots=True)
class Engine:
    """Which image the pods run; always the operator's own release."""

    image: str
    pull_policy: str = "IfNotPresent"


def to_object(model: Any) -> dict[str, Any]:  # noqa: ANN401  any model of the client
    """Return the JSON form of a model of the Kubernetes client."""
    value: dict[str, Any] = json.loads(model.to_json())
    return value


def build_job(  # noqa: PLR0913  what one Job is made of
    mailsync: MailSyncObject,
    spec: MailSyncSpec,
    accounts: Accounts,
    *,
    run: CurrentRun,
    spec_hash: str,
    engine: Engine,
    terms: Mapping[Side, Terms] | None = None,
    copied_lately: Sequence[CopiedBytes] = (),
    now: datetime | None = None,
) -> k8s.V1Job:
    """Return the Job of this run: one pod at a time, tried again by exit code.

    Parameters
    ----------
    terms, copied_lately, now
        As ``job_input`` takes them.
    """
    labels = _labels(mailsync, spec, run=run)
    annotations = _annotations(mailsync, spec, accounts, run=run, spec_hash=spec_hash)
    wanted = job_input(
        spec,
        accounts,
        namespace=mailsync.namespace,
        name=mailsync.name,
        run=run.number,
        run_type=run.type,
        terms=terms,
        copied_lately=copied_lately,
        now=now,
    )
    # JSON without absent fields: the pod's environment is what `kubectl describe` shows.
    text = json.dumps(wanted.to_wire(), separators=(",", ":"), ensure_ascii=False)
    return k8s.V1Job(
        api_version="batch/v1",
        kind="Job",
        metadata=k8s.V1ObjectMeta(
            name=run.job_name,
            namespace=mailsync.namespace,
            labels=labels,
            annotations=annotations,
            owner_references=[owner_reference(mailsync)],
        ),
        spec=k8s.V1JobSpec(
            completions=1,
            parallelism=1,
            # What a pod may copy of a daily limit is counted when the Job is made: another pod of
            # the same Job would begin with as much again.
            backoff_limit=0 if wanted.pace.daily else spec.retry.backoff_limit,
            active_deadline_seconds=spec.active_deadline_seconds,
            ttl_seconds_after_finished=max(spec.ttl_seconds_after_finished, JOB_LIFETIME_SECONDS),
            # A terminating pod may still be writing: never two engines on one mailbox.
            pod_replacement_policy="Failed",
            pod_failure_policy=pod_failure_policy(fail_job_codes()),
            template=k8s.V1PodTemplateSpec(
                metadata=k8s.V1ObjectMeta(labels=labels, annotations=annotations),
                spec=engine_pod_spec(
                    spec,
                    accounts,
                    image=engine.image,
                    pull_policy=engine.pull_policy,
                    text=text,
                    state=report_name(name=mailsync.name, uid=mailsync.uid),
                ),
            ),
        ),
    )


def _labels(mailsync: MailSyncObject, spec: MailSyncSpec, *, run: CurrentRun) -> dict[str, str]:
    # Ours win: the operator finds its Jobs and pods by them.
    return (spec.pod_template.labels or {}) | {
        names.NAME_LABEL: "mailsync",
        names.COMPONENT_LABEL: names.ENGINE_CONTAINER,
        names.MANAGED_BY_LABEL: names.FIELD_MANAGER,
        names.UID_LABEL: mailsync.uid,
        names.RUN_LABEL: str(run.number),
    }


def _annotations(
    mailsync: MailSyncObject,
    spec: MailSyncSpec,
    accounts: Accounts,
    *,
    run: CurrentRun,
    spec_hash: str,
) -> dict[str, str]:
    ours = {names.NAME_ANNOTATION: mailsync.name, names.SPEC_HASH_ANNOTATION: spec_hash}
    servers = servers_hash(spec, accounts)
    if servers is not None:
        ours[names.SERVERS_HASH_ANNOTATION] = servers
    ours[names.RUN_TYPE_ANNOTATION] = run.type.value
    refs = [ref.name for side in Side if (ref := spec.account(side).endpoint_ref)]
    if refs:
        ours[names.ENDPOINTS_ANNOTATION] = ",".join(dict.fromkeys(refs))
    if run.manual is not None:
        ours[names.TRIGGER_ANNOTATION] = run.manual
    if run.secrets_version is not None:
        ours[names.SECRETS_VERSION_ANNOTATION] = str(run.secrets_version)
    return (spec.pod_template.annotations or {}) | ours


def owner_reference(obj: ApiObject) -> k8s.V1OwnerReference:
    """Return the reference that makes the Job go when its owner goes."""
    return k8s.V1OwnerReference(
        api_version=names.API_VERSION,
        kind=obj.kind,
        name=obj.name,
        uid=obj.uid,
        controller=True,
        # Blocking the owner's deletion would need the right to set its finalizers.
        block_owner_deletion=False,
    )


def pod_failure_policy(final: Iterable[int]) -> k8s.V1PodFailurePolicy:
    """Return what the Job does with pods that failed; ``final`` exit codes end it."""
    rules = [
        # A drained node or a preemption is no failure of the run.
        k8s.V1PodFailurePolicyRule(
            action="Ignore",
            on_pod_conditions=[
                k8s.V1PodFailurePolicyOnPodConditionsPattern(type=_DISRUPTION, status="True")
            ],
        ),
        # Another attempt would end the same way: wrong password, TLS policy, quota, ...
        k8s.V1PodFailurePolicyRule(
            action="FailJob",
            on_exit_codes=k8s.V1PodFailurePolicyOnExitCodesRequirement(
                container_name=names.ENGINE_CONTAINER,
                operator="In",
                values=sorted(final),
            ),
        ),
    ]
    return k8s.V1PodFailurePolicy(rules=rules)

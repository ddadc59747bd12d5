"""The Job of one probe: a pod that connects to the server, and does not log in."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from kubernetes.aio.client import models as k8s

from mailsync_api import names
from mailsync_api.exitcodes import ExitCode
from mailsync_api.probe import ProbeInput
from mailsync_operator.builders.job import Engine, owner_reference, pod_failure_policy
from mailsync_operator.builders.pod import probe_pod_spec
from mailsync_operator.naming import server_hash

if TYPE_CHECKING:
    from mailsync_api.endpointstatus import CurrentProbe
    from mailsync_api.mailendpoint import MailEndpointSpec
    from mailsync_operator.snapshot import EndpointObject

__all__ = ["build_probe_job"]

_BACKOFF_LIMIT: Final = 2
"""Pods that died; an answer of the server is never asked for twice."""
_DEADLINE_SECONDS: Final = 300
_LIFETIME_SECONDS: Final = 86400
"""The next probe deletes it, usually; an operator that is down for a while must not lose it."""
_FINAL: Final = frozenset(ExitCode) - {ExitCode.DONE, ExitCode.INTERNAL, ExitCode.TERMINATED}
"""Exit codes with which a probe has its result; a failure is a result too."""


def build_probe_job(
    endpoint: EndpointObject, spec: MailEndpointSpec, *, probe: CurrentProbe, engine: Engine
) -> k8s.V1Job:
    """Return the Job of this probe."""
    server = spec.server
    wanted = ProbeInput(namespace=endpoint.namespace, name=endpoint.name, server=server)
    text = json.dumps(wanted.to_wire(), separators=(",", ":"), ensure_ascii=False)
    template = spec.probe.pod_template
    labels = (template.labels or {}) | {
        names.NAME_LABEL: "mailsync",
        names.COMPONENT_LABEL: names.ENGINE_CONTAINER,
        names.MANAGED_BY_LABEL: names.FIELD_MANAGER,
        names.ENDPOINT_UID_LABEL: endpoint.uid,
        names.RUN_LABEL: str(probe.number),
    }
    annotations = (template.annotations or {}) | {
        names.ENDPOINT_NAME_ANNOTATION: endpoint.name,
        names.GENERATION_ANNOTATION: str(probe.generation),
        names.SERVERS_HASH_ANNOTATION: server_hash(server),
    }
    if probe.manual is not None:
        annotations[names.TRIGGER_ANNOTATION] = probe.manual
    pod = probe_pod_spec(spec, image=engine.image, pull_policy=engine.pull_policy, text=text)
    return k8s.V1Job(
        api_version="batch/v1",
        kind="Job",
        metadata=k8s.V1ObjectMeta(
            name=probe.job_name,
            namespace=endpoint.namespace,
            labels=labels,
            annotations=annotations,
            owner_references=[owner_reference(endpoint)],
        ),
        spec=k8s.V1JobSpec(
            completions=1,
            parallelism=1,
            backoff_limit=_BACKOFF_LIMIT,
            active_deadline_seconds=_DEADLINE_SECONDS,
            ttl_seconds_after_finished=_LIFETIME_SECONDS,
            pod_replacement_policy="Failed",
            pod_failure_policy=pod_failure_policy(_FINAL),
            template=k8s.V1PodTemplateSpec(
                metadata=k8s.V1ObjectMeta(labels=labels, annotations=annotations), spec=pod
            ),
        ),
    )

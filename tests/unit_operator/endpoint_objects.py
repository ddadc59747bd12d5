"""Builders of MailEndpoints, their Jobs and verdicts, for tests of the operator."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from mailsync_api.conditions import Condition, EndpointConditionType
from mailsync_api.endpoint import TLSMode, TLSVerify
from mailsync_api.endpointstatus import MailEndpointStatus, ProbeRecord
from mailsync_api.exitcodes import EXIT_TABLE, ExitCode
from mailsync_api.mailendpoint import MailEndpointSpec
from mailsync_api.probe import CertificateFacts, EndpointFacts, ProbeVerdict
from mailsync_api.status import RunResult, TLSFacts
from mailsync_operator import conditions
from mailsync_operator.naming import server_hash
from mailsync_operator.snapshot import EndpointObject
from tests.support.builders import endpoint_manifest
from tests.unit_operator.objects import NOW, at

ENDPOINT_UID = "6f7c1f0e-0000-4000-8000-0000000000e1"


def endpoint_object(
    name: str = "old",
    *,
    generation: int = 1,
    version: int = 10,
    status: MailEndpointStatus | None = None,
    **spec: Any,
) -> EndpointObject:
    body = endpoint_manifest(name, **spec)
    body["metadata"] |= {
        "uid": ENDPOINT_UID,
        "generation": generation,
        "resourceVersion": str(version),
    }
    return EndpointObject.from_body(body | {"status": status.to_wire() if status else {}})


def facts(
    *,
    ends: float = 90 * 86400,
    secured: bool = True,
    verified: TLSVerify = TLSVerify.FULL,
    **changes: Any,
) -> EndpointFacts:
    """Return what a probe of a good server finds; its certificate ends so many seconds later."""
    tls = TLSFacts(
        mode=TLSMode.IMPLICIT if secured else TLSMode.NONE,
        secured=secured,
        verified=verified if secured else TLSVerify.NONE,
        protocol="TLSv1.3" if secured else None,
        cipher="C" if secured else None,
        not_after_time=at(ends),
    )
    given: dict[str, Any] = {
        "tls": tls,
        "certificate": CertificateFacts(subject="CN=imap", not_after_time=at(ends)),
        "names": ["imap.old.example.org"],
        "capabilities": ["IMAP4rev1", "AUTH=PLAIN"],
        "auth_mechanisms": ["PLAIN"],
        "server_id": "Dovecot",
        "latency_milliseconds": 3,
    }
    return EndpointFacts(**(given | changes))


def told(code: ExitCode = ExitCode.DONE, **changes: Any) -> ProbeVerdict:
    """Return a verdict."""
    info = EXIT_TABLE[code]
    given: dict[str, Any] = {"exit_code": code, "reason": info.reason, "message": info.meaning}
    if code is ExitCode.DONE:
        given["facts"] = facts()
    return ProbeVerdict(**(given | changes))


def expired(*, ended: float = -60) -> ProbeVerdict:
    """Return the verdict on a certificate that ended so many seconds after NOW."""
    certificate = CertificateFacts(subject="CN=imap", not_after_time=at(ended))
    return told(
        ExitCode.TLS_POLICY,
        reason="CertificateExpired",
        message="the certificate has expired",
        facts=EndpointFacts(certificate=certificate),
    )


def probe_record(**changes: Any) -> ProbeRecord:
    spec = MailEndpointSpec.model_validate(endpoint_manifest()["spec"])
    given: dict[str, Any] = {
        "number": 1,
        "job_name": "old-probe-1",
        "start_time": NOW,
        "completion_time": at(5),
        "generation": 1,
        "result": RunResult.SUCCEEDED,
        "reason": "Completed",
        "exit_code": 0,
        "server_hash": server_hash(spec.server),
    }
    return ProbeRecord(**(given | changes))


def condition_of(status: MailEndpointStatus | None, kind: EndpointConditionType) -> Condition:
    assert status is not None
    found = conditions.of(status, kind)
    assert found is not None, f"{kind} is not set"
    return found


def said(status: MailEndpointStatus | None, kind: EndpointConditionType) -> tuple[str, str]:
    """Return a condition's status and reason."""
    found = condition_of(status, kind)
    return found.status.value, found.reason


def ready_status(*, since: datetime = NOW, **changes: Any) -> MailEndpointStatus:
    """Return the status of a MailEndpoint of generation 1 whose first probe met the policy."""
    ready = Condition(
        type=EndpointConditionType.READY,
        status="True",
        reason="ProbeMetPolicy",
        last_transition_time=since,
    )
    given: dict[str, Any] = {
        "observed_generation": 1,
        "conditions": [ready],
        "last_probe": probe_record(),
    }
    return MailEndpointStatus(**(given | changes))

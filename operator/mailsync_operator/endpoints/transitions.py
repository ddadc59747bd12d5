"""What changed between two statuses of a MailEndpoint: the source of its Events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailsync_api.conditions import (
    ConditionStatus,
    EndpointConditionType,
    EventReason,
    Reason,
)
from mailsync_operator import conditions
from mailsync_operator.endpoints.ending import Outcome, outcome
from mailsync_operator.transitions import Transition

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mailsync_api.conditions import Condition
    from mailsync_api.endpointstatus import MailEndpointStatus

__all__ = ["endpoint_transitions"]


def endpoint_transitions(
    old: MailEndpointStatus, new: MailEndpointStatus
) -> tuple[Transition, ...]:
    """Return the changes from one status to the next."""
    return (*_probe_failed(old, new), *_readiness(old, new), *_certificate(old, new))


def _changed(
    old: MailEndpointStatus, new: MailEndpointStatus, kind: EndpointConditionType
) -> Condition | None:
    """Return the condition if its status or reason is another than before."""
    now, before = conditions.of(new, kind), conditions.of(old, kind)
    if now is None or before is None:
        return now
    return now if (now.status, now.reason) != (before.status, before.reason) else None


def _probe_failed(old: MailEndpointStatus, new: MailEndpointStatus) -> Iterator[Transition]:
    last = new.last_probe
    if last is None or (old.last_probe is not None and old.last_probe.number == last.number):
        return
    if outcome(last.exit_code) is Outcome.NOTHING:
        text = f"probe {last.number}: {last.reason}: {last.message}"
        yield Transition(EventReason.PROBE_FAILED, text, warning=True)


def _readiness(old: MailEndpointStatus, new: MailEndpointStatus) -> Iterator[Transition]:
    tls = _changed(old, new, EndpointConditionType.TLS_SECURED)
    insecure = tls is not None and tls.status is ConditionStatus.FALSE
    if insecure and tls is not None:
        text = f"{tls.reason}: {tls.message}"
        yield Transition(EventReason.TLS_NOT_SECURED, text, warning=True)
    ready = _changed(old, new, EndpointConditionType.READY)
    if ready is None:
        return
    if ready.status is ConditionStatus.TRUE:
        yield Transition(EventReason.ENDPOINT_READY, f"{new.address}: {ready.message}")
    elif ready.status is ConditionStatus.FALSE and not insecure:
        reachable = conditions.of(new, EndpointConditionType.REACHABLE)
        reason = EventReason.ENDPOINT_REFUSED
        if ready.reason == Reason.INVALID_CONFIGURATION:
            reason = EventReason.INVALID_SPEC
        elif reachable is not None and reachable.status is ConditionStatus.FALSE:
            reason = EventReason.ENDPOINT_UNREACHABLE
        yield Transition(reason, f"{ready.reason}: {ready.message}", warning=True)


def _certificate(old: MailEndpointStatus, new: MailEndpointStatus) -> Iterator[Transition]:
    expiring = _changed(old, new, EndpointConditionType.CERTIFICATE_EXPIRING)
    if expiring is not None and expiring.status is ConditionStatus.TRUE:
        yield Transition(EventReason.CERTIFICATE_EXPIRING, expiring.message, warning=True)

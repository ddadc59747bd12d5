"""Whether a MailSync's MailEndpoints let a run start, and why not.

A run that is under way is left alone: it finds out by itself what its servers do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from mailsync_api.conditions import ConditionStatus, EndpointConditionType, Reason
from mailsync_api.endpoint import Side
from mailsync_api.endpointstatus import MailEndpointStatus
from mailsync_api.exitcodes import ExitCode, RetryClass, exit_info
from mailsync_api.mailendpoint import MailEndpointSpec
from mailsync_operator import conditions
from mailsync_operator.observe import read, read_written

if TYPE_CHECKING:
    from datetime import datetime

    from mailsync_api.endpoint import Server
    from mailsync_api.limits import Terms
    from mailsync_api.spec import MailSyncSpec
    from mailsync_operator.snapshot import EndpointObject

__all__ = [
    "ENDPOINT_CODES",
    "EndpointState",
    "Hold",
    "endpoint_names",
    "endpoint_state",
    "find_hold",
    "terms_of",
]

ENDPOINT_CODES: Final = frozenset(
    {ExitCode.UNREACHABLE, ExitCode.CONNECTION_LOST, ExitCode.TLS_POLICY, ExitCode.PROTOCOL}
)
"""What a run may end with that a probe of the server finds too."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Why no run starts."""

    reason: str
    message: str
    person: bool = False
    """Whether only a person can help."""


@dataclass(frozen=True, slots=True)
class EndpointState:
    """What a MailEndpoint means to those that refer to it."""

    server: Server | None
    """None where its spec cannot be used."""
    note: str = ""
    """What to know before a login there."""
    terms: Terms | None = None
    """What it asks of those who copy from or to it."""
    hold: Hold | None = None
    """Why no run starts; None if one may."""
    ready_since: datetime | None = None
    """Since when it is ready."""


def endpoint_names(spec: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the MailEndpoints that the spec of a MailSync, as sent, refers to."""
    found: dict[str, None] = {}
    for side in Side:
        node: Any = spec
        for key in (side.value, "endpointRef", "name"):
            node = node.get(key) if isinstance(node, Mapping) else None
        if isinstance(node, str):
            found[node] = None
    return tuple(found)


def endpoint_state(endpoint: EndpointObject) -> EndpointState:
    """Return what a MailEndpoint says by its spec and status."""
    spec, error = read(MailEndpointSpec, endpoint.spec)
    if spec is None:
        return EndpointState(None, hold=Hold(Reason.INVALID_CONFIGURATION, error, person=True))
    info, terms = spec.info, spec.terms(endpoint.name)
    note = f"{info.title}: {info.note}" if info.note else ""
    if spec.probe.suspend:
        return EndpointState(spec.server, note, terms)
    status = read_written(MailEndpointStatus, endpoint.status)
    ready = conditions.of(status, EndpointConditionType.READY)
    if ready is None or status.observed_generation != endpoint.generation:
        hold = Hold(Reason.ENDPOINT_NOT_READY, "it has not been probed yet")
        return EndpointState(spec.server, note, terms, hold)
    if ready.status is ConditionStatus.TRUE:
        return EndpointState(spec.server, note, terms, ready_since=ready.last_transition_time)
    if ready.status is ConditionStatus.UNKNOWN:
        hold = Hold(Reason.ENDPOINT_NOT_READY, ready.message or "it has not been probed yet")
        return EndpointState(spec.server, note, terms, hold)
    return EndpointState(
        spec.server, note, terms, Hold(ready.reason, ready.message, person=_needs_a_person(status))
    )


def _needs_a_person(status: MailEndpointStatus) -> bool:
    last = status.last_probe
    code = last.exit_code if last is not None else None
    return code is not None and exit_info(code).retry is RetryClass.PERSON


def find_hold(spec: MailSyncSpec, endpoints: Mapping[str, EndpointState]) -> Hold | None:
    """Return why no run of this spec starts; None if one may."""
    found: list[tuple[Side, Hold]] = []
    for side in Side:
        ref = spec.account(side).endpoint_ref
        if ref is None:
            continue
        state = endpoints.get(ref.name)
        if state is None:
            text = f'there is no MailEndpoint "{ref.name}" (spec.{side}.endpointRef): create it'
            found.append((side, Hold(Reason.ENDPOINT_NOT_FOUND, text)))
        elif state.hold is not None:
            found.append((side, _about(ref.name, side, state.hold)))
    if not found:
        return None
    # The worst one names the reason.
    _, worst = max(found, key=lambda each: each[1].person)
    return Hold(
        worst.reason, "; ".join(dict.fromkeys(hold.message for _, hold in found)), worst.person
    )


def terms_of(spec: MailSyncSpec, endpoints: Mapping[str, EndpointState]) -> dict[Side, Terms]:
    """Return what the MailEndpoints of a spec ask for, by side."""
    found: dict[Side, Terms] = {}
    for side in Side:
        ref = spec.account(side).endpoint_ref
        state = endpoints.get(ref.name) if ref else None
        if state is not None and state.terms is not None:
            found[side] = state.terms
    return found


def _about(name: str, side: Side, hold: Hold) -> Hold:
    if hold.reason == Reason.ENDPOINT_NOT_READY:
        text = f'MailEndpoint "{name}" of the {side} is not ready yet: {hold.message}'
    else:
        text = f'MailEndpoint "{name}" of the {side} is not ready ({hold.reason}): {hold.message}'
    return Hold(hold.reason, text, hold.person)

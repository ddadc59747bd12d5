"""Conditions laid over those that are there: times change with the status only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from mailsync_api.conditions import Condition, ConditionStatus, ConditionType, Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

__all__ = ["Claim", "HasConditions", "false", "merge", "of", "true", "unknown"]

_MESSAGE_LIMIT: Final = 32768


class HasConditions(Protocol):
    """The status of any resource."""

    @property
    def conditions(self) -> Sequence[Condition]:
        """What is said of it."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What is to be said of one condition."""

    type: str
    status: ConditionStatus
    reason: str
    message: str = ""


def true(kind: str, reason: str, message: str = "") -> Claim:
    """Claim that the condition holds."""
    return Claim(kind, ConditionStatus.TRUE, reason, message)


def false(kind: str, reason: str, message: str = "") -> Claim:
    """Claim that the condition does not hold."""
    return Claim(kind, ConditionStatus.FALSE, reason, message)


def unknown(kind: str, reason: str, message: str = "") -> Claim:
    """Claim that it is not known yet."""
    return Claim(kind, ConditionStatus.UNKNOWN, reason, message)


def of(status: HasConditions, kind: str) -> Condition | None:
    """Return a condition of a status; None before the first visit."""
    return next((c for c in status.conditions if c.type == kind), None)


def merge(
    old: Iterable[Condition],
    claims: Iterable[Claim],
    *,
    now: datetime,
    generation: int,
    kinds: Iterable[str] = tuple(ConditionType),
) -> list[Condition]:
    """Return all conditions, in the order of ``kinds``, with what is claimed now; later claims win.

    A condition that nothing is claimed of stays; one that nobody ever claimed is Unknown.
    """
    known = {condition.type: condition for condition in old}
    latest = {claim.type: claim for claim in claims}
    result = []
    for kind in kinds:
        before, claim = known.get(kind), latest.get(kind)
        if claim is None:
            if before is not None:
                result.append(before)
                continue
            claim = unknown(kind, Reason.NOT_YET_KNOWN)
        same = before is not None and before.status == claim.status
        result.append(
            Condition(
                type=kind,
                status=claim.status,
                reason=claim.reason,
                message=claim.message[:_MESSAGE_LIMIT],
                last_transition_time=before.last_transition_time if same and before else now,
                observed_generation=generation,
            )
        )
    return result

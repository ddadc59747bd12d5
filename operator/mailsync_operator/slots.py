"""Who may run now where a MailEndpoint allows so many runs at once. Pure.

Whoever decides about more than single MailSyncs finds the order here: what is asked for, what runs,
and how much room there is go in, those who may start come out.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from mailsync_api.status import RunType
    from mailsync_operator.snapshot import Key

__all__ = ["Active", "Ask", "first_full", "granted"]

Active: TypeAlias = "Mapping[Key, Mapping[RunType, int]]"
"""How many runs of each type are under way at each MailEndpoint."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A MailSync that is due, and what it needs a slot of."""

    key: Key
    run_type: RunType
    room: tuple[tuple[Key, int], ...]
    """Its MailEndpoints, each with how many runs of this type it allows at once."""
    since: datetime
    """Since when it has been waiting."""


def granted(asks: Iterable[Ask], active: Active) -> list[Ask]:
    """Return who may start, in the order of their turns.

    Who has waited longest comes first. One that has to wait for one of its MailEndpoints does not
    keep those away who need only the other.
    """
    taken = {key: Counter(counts) for key, counts in active.items()}
    found = []
    for ask in sorted(asks, key=lambda ask: (ask.since, ask.key)):
        if first_full(ask, taken) is None:
            found.append(ask)
            for endpoint, _ in ask.room:
                taken.setdefault(endpoint, Counter())[ask.run_type] += 1
    return found


def first_full(ask: Ask, active: Active) -> tuple[Key, int] | None:
    """Return which of its MailEndpoints has no room, and how many runs that allows."""
    for endpoint, most in ask.room:
        if active.get(endpoint, {}).get(ask.run_type, 0) >= most:
            return endpoint, most
    return None

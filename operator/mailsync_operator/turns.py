"""Gives the slots of MailEndpoints to MailSyncs, one look at a time.

What runs is read from the Jobs in the cluster, so that a restart changes nothing. Only what was
granted a moment ago, and the watch has not brought back yet, is remembered; and who waits, who asks
again after a restart.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Protocol

from mailsync_api.conditions import ConditionType, Reason
from mailsync_api.endpoint import Side
from mailsync_api.status import RunType
from mailsync_operator import conditions
from mailsync_operator.actions import CreateJob
from mailsync_operator.rest import run_type
from mailsync_operator.slots import Ask, first_full, granted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mailsync_api.limits import EndpointLimits
    from mailsync_operator.actions import Decision
    from mailsync_operator.observe import Observation
    from mailsync_operator.snapshot import JobSnapshot, Key

__all__ = ["JobsAt", "Turns", "active_at"]


class JobsAt(Protocol):
    """What is known of Jobs without asking."""

    def jobs_at(self, endpoint: Key) -> tuple[JobSnapshot, ...]:
        """Return the Jobs of runs from or to a MailEndpoint."""


def active_at(view: JobsAt, endpoint: Key) -> Counter[RunType]:
    """Return how many runs of each type are under way at a MailEndpoint."""
    return Counter(
        job.run_type for job in view.jobs_at(endpoint) if job.outcome is None and job.run_type
    )


class Turns:
    """Remembers who waits, and who has just been let through.

    All of it happens between two awaits of the event loop, so that two workers never give the same
    slot away.
    """

    def __init__(self, view: JobsAt, *, wake: Callable[[Key], None]) -> None:
        self._view = view
        self._wake = wake
        self._waiting: dict[Key, Ask] = {}
        self._granted: dict[Key, tuple[Ask, str]] = {}
        """What was let through, with the name of its Job."""

    def ask(self, obs: Observation) -> Ask | None:
        """Return what a MailSync needs if it starts; None where it shares nothing."""
        if obs.spec is None or obs.status.current_run is not None:
            return None
        wanted = run_type(obs)
        room: dict[Key, int] = {}
        for side in Side:
            ref = obs.spec.account(side).endpoint_ref
            state = obs.endpoints.get(ref.name) if ref else None
            if ref is None or state is None or state.terms is None:
                continue
            most = _most(state.terms.limits, wanted)
            if most is not None:
                room[obs.mailsync.namespace, ref.name] = most
        key = obs.mailsync.key
        known = self._waiting.get(key)
        since = known.since if known else obs.now
        return Ask(key, wanted, tuple(room.items()), since) if room else None

    def why_wait(self, ask: Ask | None) -> str:
        """Return why a MailSync must wait for its turn, for people; empty if it need not."""
        if ask is None or ask.key in self._granted:
            return ""
        active = {endpoint: self._active(endpoint) for endpoint, _ in ask.room}
        full = first_full(ask, active)
        if full is not None:
            (_, name), most = full
            runs = "first" if ask.run_type is RunType.INITIAL else "further"
            return f'MailEndpoint "{name}" allows {most} {runs} runs at once, and so many run'
        others = [each for each in self._waiting.values() if each.key != ask.key]
        turns = self._turns([*others, ask])
        if ask in turns:
            return ""
        for each in turns:
            self._wake(each.key)
        return "others that have waited longer have their turn first"

    def settle(self, key: Key, ask: Ask | None, decision: Decision) -> None:
        """Take note of what was decided about a MailSync."""
        status = decision.status
        created = next((each for each in decision.actions if isinstance(each, CreateJob)), None)
        if ask is not None and created is not None:
            self._waiting.pop(key, None)
            self._granted[key] = ask, created.run.job_name
            return
        state = conditions.of(status, ConditionType.SUCCEEDED) if status else None
        if ask is not None and state is not None and state.reason == Reason.QUEUED:
            self._waiting.setdefault(key, ask)
            return
        self._waiting.pop(key, None)
        if status is None or status.current_run is None:
            self.give_back(key)

    def give_back(self, key: Key) -> None:
        """Take note that a MailSync was let through and did not start, or is gone."""
        self._waiting.pop(key, None)
        given = self._granted.pop(key, None)
        for endpoint, _ in given[0].room if given else ():
            self.changed(endpoint)

    def changed(self, endpoint: Key) -> None:
        """Have those looked at whose turn it is at a MailEndpoint."""
        if any(endpoint in dict(each.room) for each in self._waiting.values()):
            for each in self._turns(list(self._waiting.values())):
                self._wake(each.key)

    def _turns(self, asks: list[Ask]) -> list[Ask]:
        endpoints = {endpoint for each in asks for endpoint, _ in each.room}
        return granted(asks, {endpoint: self._active(endpoint) for endpoint in endpoints})

    def _active(self, endpoint: Key) -> Counter[RunType]:
        counts = active_at(self._view, endpoint)
        known = {job.name for job in self._view.jobs_at(endpoint)}
        counts.update(each.run_type for each, name in self._given_at(endpoint) if name not in known)
        return counts

    def _given_at(self, endpoint: Key) -> Iterator[tuple[Ask, str]]:
        return (each for each in self._granted.values() if endpoint in dict(each[0].room))


def _most(limits: EndpointLimits, wanted: RunType) -> int | None:
    if wanted is RunType.INITIAL:
        return limits.max_concurrent_initial_syncs
    return limits.max_concurrent_delta_syncs

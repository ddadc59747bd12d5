"""A decision in the making: collects fields, claims and actions, and becomes one status."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from mailsync_api.endpoint import Side
from mailsync_api.status import MailSyncStatus, Progress, Tally, TLSFacts, TLSStatus
from mailsync_operator import claims, conditions
from mailsync_operator.actions import Action, Decision

if TYPE_CHECKING:
    from mailsync_api.report import Verdict
    from mailsync_operator.conditions import Claim
    from mailsync_operator.observe import Observation

__all__ = ["PROGRESS_SECONDS", "Draft"]

PROGRESS_SECONDS: Final = 10
"""Progress alone is written at most this often, in seconds; a change of state at once."""


class Draft:
    """The status as it will be, and what is to be done."""

    def __init__(self, obs: Observation) -> None:
        self.obs = obs
        self.status: MailSyncStatus = obs.status
        self._claims: list[Claim] = []
        self._actions: list[Action] = []
        self._requeue: float | None = None

    def set(self, **fields: Any) -> None:  # noqa: ANN401  fields of MailSyncStatus
        """Change fields of the status."""
        self.status = self.status.model_copy(update=fields)

    def claim(self, *new: Claim) -> None:
        """Say something of conditions; the last word counts."""
        self._claims.extend(new)

    def do(self, action: Action) -> None:
        """Ask for an action."""
        self._actions.append(action)

    def requeue(self, seconds: float) -> None:
        """Look again after so many seconds at the latest."""
        self._requeue = seconds if self._requeue is None else min(seconds, self._requeue)

    def nothing(self) -> Decision:
        """Return the decision to do nothing."""
        return Decision((), None, None)

    @property
    def logged_in(self) -> bool:
        """Whether the running engine has logged in to both sides, and counted the folders."""
        feed, run = self.obs.feed, self.status.current_run
        if feed is None or run is None or feed.run != run.number or feed.progress is None:
            return False
        return feed.progress.folders.total > 0

    def adopt_feed(self, run: int) -> None:
        """Take over what the running engine said last."""
        feed = self.obs.feed
        if feed is None or feed.run != run:
            return
        if feed.progress is not None:
            self.set(progress=feed.progress)
        for side, facts in feed.tls:
            self._set_tls(side, facts)

    def adopt_verdict(self, verdict: Verdict) -> None:
        """Take over the engine's last word: figures and TLS facts."""
        for side, facts in (
            (Side.SOURCE, verdict.tls.source),
            (Side.DESTINATION, verdict.tls.destination),
        ):
            if facts is not None:
                self._set_tls(side, facts)
        totals, before = verdict.totals, self.status.progress or Progress()
        done = int(verdict.exit_code) == 0
        if not done and not totals.messages:
            return  # it ended before it counted anything: what the log said last is better
        completed = totals.copied + totals.already_present
        self.set(
            progress=Progress(
                folders=Tally(
                    total=totals.folders,
                    completed=totals.folders if done else before.folders.completed,
                ),
                messages=Tally(total=totals.messages, completed=completed),
                bytes=Tally(
                    total=totals.bytes_total,
                    completed=totals.bytes_total if done else before.bytes.completed,
                ),
                copied_messages=totals.copied,
                skipped=totals.skipped,
                percent=100 if done else before.percent,
                # Once it is over: the average of the whole run.
                messages_per_second=round(completed / max(verdict.duration_seconds, 1)),
                bytes_per_second=round(totals.bytes_copied / max(verdict.duration_seconds, 1)),
                update_time=self.obs.now,
            )
        )

    def _set_tls(self, side: Side, facts: TLSFacts) -> None:
        before = self.status.tls or TLSStatus()
        self.set(tls=before.model_copy(update={side.value: facts}))
        self.claim(*claims.tls_facts(self.status.tls or before))

    def finish(self) -> Decision:
        """Return the decision."""
        self.set(
            observed_generation=self.obs.mailsync.generation,
            conditions=conditions.merge(
                self.obs.status.conditions,
                self._claims,
                now=self.obs.now,
                generation=self.obs.mailsync.generation,
            ),
        )
        self._hold_progress_back()
        return Decision(tuple(self._actions), self.status, self._requeue)

    def _hold_progress_back(self) -> None:
        before, new = self.obs.status.progress, self.status.progress
        if before is None or new is None or before.update_time is None or new == before:
            return
        if self.status.model_copy(update={"progress": before}) != self.obs.status:
            return  # written anyway
        next_time = before.update_time + timedelta(seconds=PROGRESS_SECONDS)
        # A node whose clock is ahead must not silence the progress for as long.
        if before.update_time <= self.obs.now < next_time:
            self.set(progress=before)
            self.requeue((next_time - self.obs.now).total_seconds())

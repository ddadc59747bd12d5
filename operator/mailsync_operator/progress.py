"""Follows running engines by their logs, outside of reconciling.

It polls every running pod's log, often while something happens and less often while nothing does,
a few pods at a time. What cannot be read is tried again later; nothing depends on it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from mailsync_api.endpoint import Side
from mailsync_api.report import ProgressLine, SessionLine, parse_line
from mailsync_operator.errors import ClusterError
from mailsync_operator.observe import Feed
from mailsync_operator.queue import WorkQueue

if TYPE_CHECKING:
    from collections.abc import Callable

    from mailsync_api.status import Progress, TLSFacts
    from mailsync_operator.snapshot import Key

__all__ = ["LogApi", "ProgressPoller", "read_log"]

FIRST_INTERVAL: Final = 2.0
MIN_INTERVAL: Final = 5.0
MAX_INTERVAL: Final = 30.0
_GROWTH: Final = 1.5
_CONCURRENCY: Final = 4
_HEAD_BYTES: Final = 32 * 1024
_TAIL_LINES: Final = 40
_TAIL_BYTES: Final = 256 * 1024
_log = logging.getLogger(__name__)


class LogApi(Protocol):
    """The request that is needed."""

    async def pod_log(
        self,
        namespace: str,
        pod: str,
        *,
        tail_lines: int | None = None,
        limit_bytes: int | None = None,
    ) -> str:
        """Return a part of a log."""


@dataclass(slots=True)
class _Target:
    key: Key
    pod: str
    run: int
    interval: float = FIRST_INTERVAL
    tls: dict[Side, TLSFacts] = field(default_factory=dict)
    progress: Progress | None = None

    def feed(self) -> Feed:
        """Return what is known."""
        return Feed(self.run, self.progress, tuple(sorted(self.tls.items())))


class _NoMeter:
    def reconciled(self, result: str, seconds: float) -> None:
        """Count nothing: these looks are no reconciling."""


def read_log(text: str) -> tuple[Progress | None, dict[Side, TLSFacts]]:
    """Return the last progress and each side's TLS facts in a part of a log."""
    progress, tls = None, {}
    for line in text.splitlines():
        match parse_line(line):
            case ProgressLine(progress=found):
                progress = found
            case SessionLine(side=side, tls=facts):
                tls[side] = facts
            case _:
                pass
    return progress, tls


class ProgressPoller:
    """Reads the logs of running pods; ``news`` is called with the MailSync whose feed changed."""

    def __init__(self, api: LogApi, *, news: Callable[[Key], None]) -> None:
        self._api = api
        self._news = news
        self._targets: dict[str, _Target] = {}
        self._queue: WorkQueue[str] = WorkQueue(self._poll, workers=_CONCURRENCY, meter=_NoMeter())

    def start(self) -> None:
        """Start polling."""
        self._queue.start()

    async def stop(self) -> None:
        """Stop polling; what is being read is dropped."""
        await self._queue.stop(grace=0.0)

    @property
    def alive(self) -> bool:
        """Whether it polls."""
        return self._queue.alive

    def follow(self, uid: str, key: Key, *, pod: str, run: int) -> None:
        """Follow this pod for the MailSync with that UID, instead of any other."""
        target = self._targets.get(uid)
        if target is not None and (target.pod, target.run) == (pod, run):
            return
        fresh = _Target(key=key, pod=pod, run=run)
        if target is not None and target.run == run:  # another attempt of the same run
            fresh.progress = target.progress
        self._targets[uid] = fresh
        self._queue.add(uid)

    def forget(self, uid: str) -> None:
        """Follow it no more."""
        if self._targets.pop(uid, None) is not None:
            self._queue.forget(uid)

    def feed(self, uid: str) -> Feed | None:
        """Return what the engine of a MailSync said last."""
        target = self._targets.get(uid)
        return target.feed() if target is not None else None

    async def _poll(self, uid: str) -> float | None:
        target = self._targets.get(uid)
        if target is None:
            return None
        before = target.feed()
        try:
            await self._read(target)
        except ClusterError as error:
            _log.debug("the log of pod %s/%s: %s", target.key[0], target.pod, error)
        if self._targets.get(uid) is not target:
            return None  # followed no more, or another pod, while it was read
        if target.feed() != before:
            target.interval = MIN_INTERVAL
            self._news(target.key)
        else:
            target.interval = min(target.interval * _GROWTH, MAX_INTERVAL)
        return target.interval

    async def _read(self, target: _Target) -> None:
        namespace = target.key[0]
        if len(target.tls) < len(Side):
            # Who logged in how is said at the start; a tail alone would miss it.
            text = await self._api.pod_log(namespace, target.pod, limit_bytes=_HEAD_BYTES)
            self._take(target, text)
            if len(text.encode()) < _HEAD_BYTES:
                return  # that was all of it
        text = await self._api.pod_log(
            namespace, target.pod, tail_lines=_TAIL_LINES, limit_bytes=_TAIL_BYTES
        )
        self._take(target, text)

    def _take(self, target: _Target, text: str) -> None:
        progress, tls = read_log(text)
        target.progress = progress or target.progress
        target.tls.update(tls)

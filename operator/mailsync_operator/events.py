"""Writes Events, and counts repeats instead of writing them again."""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final, Protocol

from mailsync_operator.builders.event import build_event, event_name, event_repeat
from mailsync_operator.errors import AlreadyExistsError, ClusterError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from mailsync_operator.snapshot import ApiObject
    from mailsync_operator.transitions import Transition

__all__ = ["EventApi", "EventRecorder"]

_REMEMBERED: Final = 4096
_log = logging.getLogger(__name__)


class EventApi(Protocol):
    """The requests that are needed."""

    async def create_event(self, namespace: str, body: dict[str, Any]) -> None:
        """Create an Event."""

    async def patch_event(self, namespace: str, name: str, body: dict[str, Any]) -> None:
        """Change an Event."""

    async def event_count(self, namespace: str, name: str) -> int:
        """Return how often an Event happened."""


class EventRecorder:
    """Tells transitions as Events; a failure is logged and forgotten."""

    def __init__(self, api: EventApi, *, instance: str, clock: Callable[[], datetime]) -> None:
        self._api = api
        self._instance = instance
        self._clock = clock
        self._counts: OrderedDict[tuple[str, str], int] = OrderedDict()

    async def record(self, obj: ApiObject, transition: Transition) -> None:
        """Write an Event, or count it once more."""
        _log.info(
            "%s",
            transition.message,
            extra={
                obj.kind.lower(): f"{obj.namespace}/{obj.name}",
                "event": transition.reason.value,
            },
        )
        try:
            await self._write(obj, transition)
        except ClusterError as error:
            _log.warning("an Event could not be written: %s", error)

    async def _write(self, obj: ApiObject, transition: Transition) -> None:
        key = (obj.namespace, event_name(obj, transition))
        count = self._counts.get(key)
        if count is None:
            count = await self._create(obj, transition)
        else:
            count += 1
            try:
                await self._repeat(key, count)
            except NotFoundError:  # Events expire after an hour by default
                count = await self._create(obj, transition)
        self._counts[key] = count
        self._counts.move_to_end(key)
        while len(self._counts) > _REMEMBERED:
            self._counts.popitem(last=False)

    async def _create(self, obj: ApiObject, transition: Transition) -> int:
        now = self._clock()
        body = build_event(obj, transition, now=now, instance=self._instance)
        try:
            await self._api.create_event(obj.namespace, body)
        except AlreadyExistsError:  # written by an operator before this one
            name = body["metadata"]["name"]
            count = await self._api.event_count(obj.namespace, name) + 1
            await self._repeat((obj.namespace, name), count)
            return count
        return 1

    async def _repeat(self, key: tuple[str, str], count: int) -> None:
        await self._api.patch_event(*key, event_repeat(count=count, now=self._clock()))

"""Events about our resources (core/v1): one object for each thing said, with a count."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

from mailsync_api import names
from mailsync_api.base import format_time
from mailsync_operator.naming import object_stem

if TYPE_CHECKING:
    from datetime import datetime

    from mailsync_operator.snapshot import ApiObject
    from mailsync_operator.transitions import Transition

__all__ = ["build_event", "event_name", "event_repeat"]

_MESSAGE_LIMIT: Final = 1000
"""The API server takes 1024 bytes."""


def event_name(obj: ApiObject, transition: Transition) -> str:
    """Return the name: the same thing said of the same object is the same Event."""
    said = f"{obj.uid}/{transition.reason}/{transition.message}"
    digest = hashlib.sha256(said.encode()).hexdigest()[:16]
    return f"{object_stem(name=obj.name, uid=obj.uid)}.{digest}"


def build_event(
    obj: ApiObject, transition: Transition, *, now: datetime, instance: str
) -> dict[str, Any]:
    """Return a new Event."""
    at = format_time(now)
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": event_name(obj, transition),
            "namespace": obj.namespace,
        },
        "involvedObject": {
            "apiVersion": names.API_VERSION,
            "kind": obj.kind,
            "name": obj.name,
            "namespace": obj.namespace,
            "uid": obj.uid,
        },
        "type": "Warning" if transition.warning else "Normal",
        "reason": transition.reason.value,
        "message": _cut(transition.message),
        "source": {"component": names.FIELD_MANAGER},
        "reportingComponent": names.FIELD_MANAGER,
        "reportingInstance": instance[:128],
        "firstTimestamp": at,
        "lastTimestamp": at,
        "count": 1,
    }


def event_repeat(*, count: int, now: datetime) -> dict[str, Any]:
    """Return the change of an Event that happened once more."""
    return {"count": count, "lastTimestamp": format_time(now)}


def _cut(text: str) -> str:
    data = text.encode()
    if len(data) <= _MESSAGE_LIMIT:
        return text
    return data[: _MESSAGE_LIMIT - 4].decode(errors="ignore") + " ..."

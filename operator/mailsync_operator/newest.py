"""What was written and the watches have not brought back yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from mailsync_operator.snapshot import ApiObject

if TYPE_CHECKING:
    from mailsync_operator.snapshot import Key

__all__ = ["Newest"]

T = TypeVar("T", bound=ApiObject)


class Newest(Generic[T]):
    """Each object in the newest form that is known: the watch's, or what was written last."""

    def __init__(self) -> None:
        self._written: dict[Key, T] = {}

    def of(self, key: Key, seen: T | None) -> T | None:
        """Return the newer of what the watch brought and what was written."""
        written = self._written.get(key)
        if seen is None or written is None:
            return seen
        if written.uid == seen.uid and written.resource_version > seen.resource_version:
            return written
        del self._written[key]
        return seen

    def wrote(self, obj: T) -> None:
        """Remember what was written."""
        self._written[obj.key] = obj

    def forget(self, key: Key) -> T | None:
        """Drop an object that is gone; return what was remembered of it."""
        return self._written.pop(key, None)

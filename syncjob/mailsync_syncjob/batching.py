"""How messages are put together: for one FETCH, and for one MULTIAPPEND. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mailsync_syncjob.compare import Item

__all__ = [
    "LEAST_BYTES",
    "MOST_BYTES",
    "MOST_MESSAGES",
    "MOST_UNDER_WAY",
    "BatchSize",
    "Window",
    "fetch_batches",
]

MOST_MESSAGES: Final = 50
"""In one MULTIAPPEND. What a server does once per command is spread thinly enough by then."""
MOST_BYTES: Final = 4 << 20
"""In one MULTIAPPEND: they are held until it is answered, and sent again if it is refused."""
LEAST_BYTES: Final = 256 << 10
"""What a batch may have on the slowest link."""
_LONG_SECONDS: Final = 10.0
MOST_UNDER_WAY: Final = 32
"""Single messages sent and not yet answered, on one connection."""
_LEAST_UNDER_WAY: Final = 2
_DRAIN_SECONDS: Final = 0.2
_WEIGHT: Final = 0.2
_FETCH_MESSAGES: Final = 200
_FETCH_BYTES: Final = 64 << 20
_GROW_AFTER: Final = 4


@dataclass(slots=True)
class BatchSize:
    """How many messages and bytes the next batch may have.

    A refused batch costs all its messages a second time. So the size is halved where batches are
    refused, down to one message, and doubled again after a few that were not. The bytes are halved
    too where a batch takes long: a broken connection puts all of it in doubt.
    """

    most: int = MOST_MESSAGES
    messages: int = 0
    bytes: int = MOST_BYTES
    _taken: int = 0

    def __post_init__(self) -> None:
        self.messages = self.most

    def full(self, messages: int, size: int) -> bool:
        """Whether a batch of so many messages and bytes is complete."""
        return messages >= self.messages or size >= self.bytes

    def taken(self, seconds: float = 0.0) -> None:
        """Take note that the server has stored a batch, and how long it took."""
        if seconds > _LONG_SECONDS:
            self._taken = 0
            self.bytes = max(self.bytes // 2, LEAST_BYTES)
            return
        self._taken += 1
        if self._taken >= _GROW_AFTER:
            self._taken = 0
            self.messages = min(self.messages * 2, self.most)
            self.bytes = min(self.bytes * 2, MOST_BYTES)

    def refused(self) -> None:
        """Take note that the server has refused a batch."""
        self._taken = 0
        self.messages = max(self.messages // 2, 1)
        self.bytes = max(self.bytes // 2, LEAST_BYTES)


@dataclass(slots=True)
class Window:
    """How many single messages may be under way.

    A server may go on storing what it has received although the connection is gone. What waits for
    it is therefore kept to what it stores in a fraction of the time that any new run takes to
    begin: as many as cover a round trip, no more.
    """

    most: int = MOST_UNDER_WAY
    _seconds: float = 0.0
    """What a message takes the server, as seen of late."""

    @property
    def messages(self) -> int:
        """How many may be under way."""
        if self._seconds * self.most <= _DRAIN_SECONDS:
            return self.most
        return max(int(_DRAIN_SECONDS / self._seconds), _LEAST_UNDER_WAY)

    def answered(self, messages: int, seconds: float) -> None:
        """Take note of so many answers, and how long after the last ones they came."""
        self._seconds += (seconds / messages - self._seconds) * _WEIGHT


def fetch_batches(
    items: Sequence[Item], *, messages: int | None = None, size: int | None = None
) -> Iterator[list[Item]]:
    """Cut what is to be fetched by number and by size; a huge message is alone.

    Parameters
    ----------
    messages, size
        How many of them, and how many bytes, may be fetched at once at most.
    """
    most_messages = min(_FETCH_MESSAGES, messages or _FETCH_MESSAGES)
    most_bytes = min(_FETCH_BYTES, size or _FETCH_BYTES)
    batch: list[Item] = []
    size = 0
    for item in items:
        full = len(batch) >= most_messages or size + item.size > most_bytes
        if batch and full:
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += item.size
    if batch:
        yield batch

"""How messages are put together: for one FETCH, and for one MULTIAPPEND. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mailsync_syncjob.compare import Item

__all__ = ["MOST_BYTES", "MOST_MESSAGES", "BatchSize", "fetch_batches"]

MOST_MESSAGES: Final = 50
"""In one MULTIAPPEND. What a server does once per command is spread thinly enough by then."""
MOST_BYTES: Final = 4 << 20
"""In one MULTIAPPEND: they are held until it is answered, and sent again if it is refused."""
_FETCH_MESSAGES: Final = 200
_FETCH_BYTES: Final = 64 << 20
_GROW_AFTER: Final = 4


@dataclass(slots=True)
class BatchSize:
    """How many messages the next batch may have.

    A refused batch costs all its messages a second time. So the size is halved where batches are
    refused, down to one message, and doubled again after a few that were not.
    """

    most: int = MOST_MESSAGES
    messages: int = 0
    _taken: int = 0

    def __post_init__(self) -> None:
        self.messages = self.most

    def full(self, messages: int, size: int) -> bool:
        """Whether a batch of so many messages and bytes is complete."""
        return messages >= self.messages or size >= MOST_BYTES

    def taken(self) -> None:
        """Take note that the server has stored a batch."""
        self._taken += 1
        if self._taken >= _GROW_AFTER:
            self._taken = 0
            self.messages = min(self.messages * 2, self.most)

    def refused(self) -> None:
        """Take note that the server has refused a batch."""
        self._taken = 0
        self.messages = max(self.messages // 2, 1)


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

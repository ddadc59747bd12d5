"""How the work is shared: when another pair of connections pays, and who copies what.

Whole folders come first. What a folder lacks lies in a ``Supply``, from which its worker takes the
next few messages, and so does any other that has no folder of its own left. Shares are contiguous;
they get smaller towards the end, so that all workers end at about the same time.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mailsync_syncjob.batching import MOST_BYTES, MOST_MESSAGES
from mailsync_syncjob.listing import Selection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mailsync_syncjob.compare import Item

__all__ = ["Shares", "Supply"]


@dataclass(frozen=True, slots=True)
class Shares:
    """What pays. Opening a pair takes some round trips and two logins."""

    pair_messages: int = 2 * MOST_MESSAGES
    """Another pair of connections pays for so many messages to copy."""
    pair_bytes: int = MOST_BYTES
    """It pays for so many bytes, too."""
    least_messages: int = MOST_MESSAGES
    """A share has one batch at least, where there is that much."""
    most_messages: int = 4 * MOST_MESSAGES
    most_bytes: int = 4 * MOST_BYTES

    def pairs(self, messages: int, size: int, *, most: int) -> int:
        """Return how many pairs of connections pay for so much to copy; one at least."""
        wanted = max(-(-messages // self.pair_messages), -(-size // self.pair_bytes))
        return max(1, min(wanted, most))

    def pays(self, messages: int, size: int) -> bool:
        """Whether so much is worth opening its folder on another pair of connections."""
        return messages > self.least_messages or size > self.pair_bytes

    def next(self, sizes: Sequence[int], *, left: int, hands: int) -> int:
        """Return how many of the next messages one worker takes.

        Parameters
        ----------
        sizes
            Of the next messages, at least as many as may be taken.
        left
            How many messages are left in all.
        hands
            How many workers there are.
        """
        fair = -(-left // (2 * max(hands, 1)))
        most = min(max(fair, self.least_messages), self.most_messages, left)
        size = 0
        for count, one in enumerate(sizes[:most]):
            if count and size + one > self.most_bytes:
                return count
            size += one
        return most


class Supply:
    """The messages that a folder lacks, each of which is given away once; for several threads."""

    def __init__(self, items: Sequence[Item], shares: Shares) -> None:
        # A million of them are not held as objects: what is given away is a slice.
        self._items = items
        self._given = 0
        if isinstance(items, Selection):
            self._bytes = items.total_bytes
        else:
            self._bytes = sum(item.size for item in items)
        self._shares = shares
        self._lock = threading.Lock()

    @property
    def messages(self) -> int:
        """How many are left."""
        return len(self._items) - self._given

    @property
    def bytes(self) -> int:
        """How large they are."""
        return self._bytes

    def take(self, hands: int) -> Sequence[Item]:
        """Return the next share for one of so many workers; empty when nothing is left."""
        with self._lock:
            given = self._given
            sizes = [i.size for i in self._items[given : given + self._shares.most_messages]]
            count = self._shares.next(sizes, left=self.messages, hands=hands)
            self._given += count
            self._bytes -= sum(sizes[:count])
            return self._items[given : self._given]

    def close(self) -> None:
        """Give nothing away any more."""
        with self._lock:
            self._items = ()
            self._given = self._bytes = 0

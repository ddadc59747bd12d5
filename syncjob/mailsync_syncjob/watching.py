"""Who follows the work on a folder: its figures, and what was under way when a connection broke."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mailsync_api.report import SkippedMessage
from mailsync_syncjob.errors import CommandRefusedError, FolderGoneError, ThrottledError
from mailsync_syncjob.listing import Selection
from mailsync_syncjob.resume import Sight
from mailsync_syncjob.texts import sanitise
from mailsync_syncjob.tracker import MOST_LISTED, UNNAMED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mailsync_api.state import FolderNumbers
    from mailsync_syncjob.compare import Comparison, Item
    from mailsync_syncjob.errors import EngineError
    from mailsync_syncjob.imap.session import Session
    from mailsync_syncjob.imap.survey import Standing
    from mailsync_syncjob.listing import Listing
    from mailsync_syncjob.tracker import FolderFigures, Tracker

__all__ = ["FolderWatch"]

_MOST_BROKEN: Final = 3
_MOST_HUNG_UP_ON: Final = 3
_MOST_NAMED: Final = 1000
_MOST_KEYWORDS: Final = 1000


class FolderWatch:
    """One worker's view of a folder; implements ``copier.Watch``.

    The figures are shared by all workers that are at the folder. What is in flight is not: it is on
    this worker's connection.
    """

    def __init__(self, figures: FolderFigures, tracker: Tracker) -> None:
        self._figures = figures
        self._tracker = tracker
        self._in_flight: set[int] = set()

    @property
    def destination(self) -> str:
        """The destination folder's name for people."""
        return self._figures.destination

    def tick(self) -> None:
        """Say how far the run is, if it is time to."""
        self._tracker.tick()

    def compared(self, here: Listing, comparison: Comparison) -> None:
        """Take the result of a comparison."""
        listed, matched = Selection(here), comparison.matched.here
        sizes = listed.total_bytes, matched.total_bytes
        with self._figures.lock:
            unlisted = set(self._figures.skipped)
            if unlisted:
                unlisted.difference_update(listed.uids())
            self._figures.compared(
                messages=len(here) + len(unlisted) + self._figures.uncounted,
                bytes_total=sizes[0],
                matched=len(matched),
                matched_bytes=sizes[1],
                extra=comparison.extra,
            )
        self._tracker.tick()

    def found_new(self, new: Listing, numbers: FolderNumbers) -> None:
        """Take the new messages of a folder that is otherwise as it was at these numbers."""
        size = Selection(new).total_bytes
        with self._figures.lock:
            self._figures.compared(
                messages=numbers.source_messages + len(new),
                bytes_total=numbers.size + size,
                matched=numbers.source_messages,
                matched_bytes=numbers.size,
                extra=0,
            )
        self._tracker.tick()

    def saw(
        self, source: Standing, *, listed: int, last_uid: int, destination: Standing | None
    ) -> None:
        """Take how both sides stood before they were listed."""
        with self._figures.lock:
            # What was copied is counted since the first comparison.
            first = self._figures.sight
            there = first.destination if first is not None else destination
            self._figures.sight = Sight(source, listed, last_uid, there)

    def unlisted(self, count: int) -> None:
        """Take note that the source does not list so many of its messages."""
        named = min(count, MOST_LISTED)
        with self._figures.lock:
            self._figures.uncounted = count - named
        for number in range(named):
            self._skip(("unlisted", number), uid=0, size=0, reason="the source does not list it")

    # --- copying; the methods of copier.Watch

    def suspected(self, item: Item) -> bool:
        """Whether a connection broke at this message, alone or with others."""
        return item.uid in self._figures.doubted

    def storing(self, item: Item, *, alone: bool = True) -> None:
        """Remember a message in case that the connection breaks at it."""
        if alone:
            self._in_flight.clear()
        self._in_flight.add(item.uid)

    def copied(self, item: Item, size: int) -> None:  # noqa: ARG002  what the source counts is told
        """Count a message that is stored."""
        self._in_flight.discard(item.uid)
        with self._figures.lock:
            self._figures.hung_up_on = 0
            self._figures.copied += 1
            self._figures.copied_bytes += item.size
        self._tracker.tick()

    def counted(self, messages: int, size: int) -> None:
        """Count messages that a dry run would have stored."""
        with self._figures.lock:
            self._figures.copied += messages
            self._figures.copied_bytes += size
        self._tracker.tick()

    def skipped(self, item: Item, reason: str) -> None:
        """Note a message that cannot be copied."""
        self._skip(item.uid, uid=item.uid, size=item.size, reason=reason)
        self._tracker.tick()

    def vanished(self, item: Item) -> None:
        """Leave out a message that was deleted at the source meanwhile."""
        with self._figures.lock:
            self._figures.messages -= 1
            if self._figures.bytes_total is not None:
                self._figures.bytes_total -= item.size

    def keywords_refused(self, keywords: Sequence[bytes]) -> None:
        """Note keywords that the destination does not keep."""
        with self._figures.lock:
            if len(self._figures.keywords_refused) < _MOST_KEYWORDS:
                self._figures.keywords_refused.update(sanitise(word) for word in keywords)

    def flags_updated(self, count: int) -> None:
        """Count messages that got flags in addition."""
        with self._figures.lock:
            self._figures.flags_updated += count
        self._tracker.tick()

    def _skip(self, key: object, *, uid: int, size: int, reason: str) -> None:
        self._in_flight.discard(uid)
        with self._figures.lock:
            skipped = self._figures.skipped
            skipped[key] = (
                SkippedMessage(folder=self._figures.source, uid=uid, size=size, reason=reason)
                if len(skipped) < MOST_LISTED
                else UNNAMED
            )

    # --- afterwards

    def blame(self, error: EngineError) -> None:
        """Remember what was being stored when a connection broke.

        One message at which it has broken too often is skipped, so that others can still be copied:
        some servers hang up on what they cannot store instead of refusing it. Of several it is not
        known which it was, so that they are stored singly from now on. A server that hangs up on
        each message in turn is gone, and skips nothing.
        """
        in_flight = frozenset(self._in_flight)
        self._in_flight.clear()
        if isinstance(error, FolderGoneError):
            return
        with self._figures.lock:
            self._figures.doubted |= in_flight
            # A server that asks to wait has nothing against the message.
            if len(in_flight) != 1 or isinstance(error, ThrottledError):
                return
            (uid,) = in_flight
            self._figures.broke[uid] += 1
            if self._figures.broke[uid] < _MOST_BROKEN:
                return
            self._figures.hung_up_on += 1
            everything = self._figures.hung_up_on > _MOST_HUNG_UP_ON
        # At every message: it is not the messages that the server cannot bear.
        if not everything:
            reason = f"the connection broke each time that it was stored: {error.message}"
            self._skip(uid, uid=uid, size=0, reason=reason)

    def name_skipped(self, source: Session) -> None:
        """Add the Message-IDs of skipped messages, by which their senders know them."""
        with self._figures.lock:
            uids = [m.uid for m in self._figures.skipped.values() if m.uid and m.message_id is None]
        try:
            headers = source.reader.message_ids(uids[:_MOST_NAMED])
        except CommandRefusedError:
            return  # a source that cannot send a message may not send its header either
        with self._figures.lock:
            for key, message in self._figures.skipped.items():
                if message.uid in headers:
                    _, _, value = headers[message.uid].partition(b":")
                    named = message.model_copy(update={"message_id": sanitise(value)})
                    self._figures.skipped[key] = named

"""Copying with both sides at work: one thread reads ahead, the other stores in batches.

Nothing is decided here about what is copied, and nothing is believed: a batch that the server
refuses is stored message by message as ``SequentialCopier`` does it, and after an answer that never
came the folder is compared anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mailsync_syncjob.batching import MOST_BYTES, BatchSize
from mailsync_syncjob.conveyor import BUFFER_BYTES, Reading
from mailsync_syncjob.copier import SequentialCopier, check_folder
from mailsync_syncjob.errors import CommandRefusedError, OverQuotaError
from mailsync_syncjob.imap.syntax import date_time
from mailsync_syncjob.pace import Pacer

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mailsync_syncjob.compare import Item
    from mailsync_syncjob.conveyor import Conveyor, Parcel
    from mailsync_syncjob.copier import Target, Watch
    from mailsync_syncjob.deadline import Stop
    from mailsync_syncjob.imap.append import Batch
    from mailsync_syncjob.imap.session import Session

__all__ = ["PipelinedCopier"]

_LINGER_SECONDS: Final = 1.0
"""How long a batch waits for its next message."""


class PipelinedCopier:
    """One connection a side; MULTIAPPEND where the destination has it, else one APPEND in flight.

    Parameters
    ----------
    pacer
        How fast it may read; shared with all who copy in the same run.
    size
        How many messages a batch may have; learns from what the server refuses.
    limit
        How many bytes are held at most between the two sides.
    """

    def __init__(  # noqa: PLR0913  what it copies with, and its bounds
        self,
        source: Session,
        destination: Session,
        *,
        stop: Stop,
        pacer: Pacer | None = None,
        size: BatchSize | None = None,
        limit: int = BUFFER_BYTES,
    ) -> None:
        self._source = source
        self._destination = destination
        self._stop = stop
        self._pacer = pacer or Pacer(clock=stop.clock)
        self._single = SequentialCopier(source, destination, stop=stop, pacer=self._pacer)
        self._size = size or BatchSize()
        self._limit = limit

    def copy(self, shares: Iterable[Sequence[Item]], *, target: Target, watch: Watch) -> None:
        """Copy these messages and tell ``watch`` of each."""
        again: list[Item] = []
        with Reading(
            self._source, shares, stop=self._stop, pacer=self._pacer, limit=self._limit
        ) as reading:
            conveyor = reading.conveyor
            parcel = conveyor.take()
            while parcel is not None:
                following = None
                if self._batchable(parcel, watch):
                    following = self._batch(parcel, conveyor, target=target, watch=watch)
                elif not self._alone(parcel, conveyor, target=target, watch=watch):
                    again.append(parcel.item)
                parcel = following or conveyor.take()
        # Only now is the source's connection free to ask for single messages.
        for item in (*reading.left, *again):
            self._single.fetch(item, target=target, watch=watch)

    def _batchable(self, parcel: Parcel, watch: Watch) -> bool:
        return (
            self._destination.writer.batches
            and self._size.messages > 1
            and parcel.held
            and parcel.body.size < MOST_BYTES
            and not watch.suspected(parcel.item)
        )

    def _alone(self, parcel: Parcel, conveyor: Conveyor, *, target: Target, watch: Watch) -> bool:
        stored = self._single.store(parcel.item, parcel.body, target=target, watch=watch)
        if self._size.messages == 1:
            self._size.taken()  # so that batches are tried again, some time
        conveyor.release(parcel)
        return stored

    def _batch(
        self, first: Parcel, conveyor: Conveyor, *, target: Target, watch: Watch
    ) -> Parcel | None:
        """Store this message and what comes after it; return one that must not go with them."""
        parcels = [first]
        following: Parcel | None = None
        stored = False
        with self._stop.storing():
            batch = self._destination.writer.batch(target.raw)
            try:
                self._add(batch, first, target=target, watch=watch)
                while not self._size.full(batch.messages, batch.bytes):
                    parcel = conveyor.take(linger=_LINGER_SECONDS)
                    if parcel is None:
                        break
                    if not self._batchable(parcel, watch):
                        following = parcel
                        break
                    parcels.append(parcel)
                    self._add(batch, parcel, target=target, watch=watch)
                batch.finish()
                stored = True
            except CommandRefusedError as refusal:
                check_folder(refusal)
            except OverQuotaError:
                pass  # some of its messages may still fit
        self._conclude(parcels, stored=stored, target=target, watch=watch)
        conveyor.release(*parcels)
        self._stop.check()
        return following

    def _conclude(
        self, parcels: Sequence[Parcel], *, stored: bool, target: Target, watch: Watch
    ) -> None:
        """Tell of a stored batch; store the messages of a refused one singly."""
        if stored:
            self._size.taken()
            for parcel in parcels:
                watch.copied(parcel.item, parcel.body.size)
            return
        if len(parcels) > 1:
            self._size.refused()
        for parcel in parcels:
            self._single.store(parcel.item, parcel.body, target=target, watch=watch)

    def _add(self, batch: Batch, parcel: Parcel, *, target: Target, watch: Watch) -> None:
        item = parcel.item
        watch.storing(item, alone=False)
        date = date_time(*item.date) if item.date else None
        batch.add(parcel.body, flags=target.rules.kept(item.flags), date=date)

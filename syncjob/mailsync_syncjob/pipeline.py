"""Copying with both sides at work: one thread reads ahead, the other stores many at a time.

Nothing is decided here about what is copied, and nothing is believed: what the server refuses in a
batch, or with others under way, is stored message by message as ``SequentialCopier`` does it, and
after an answer that never came the folder is compared anew.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Final

from mailsync_syncjob.batching import MOST_BYTES
from mailsync_syncjob.conveyor import BUFFER_BYTES, Reading
from mailsync_syncjob.copier import SequentialCopier, check_folder
from mailsync_syncjob.errors import CommandRefusedError, OverQuotaError, ThrottledError
from mailsync_syncjob.imap.syntax import date_time
from mailsync_syncjob.manner import Manner
from mailsync_syncjob.pace import Pacer

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mailsync_syncjob.compare import Item
    from mailsync_syncjob.conveyor import Conveyor, Parcel
    from mailsync_syncjob.copier import Target, Watch
    from mailsync_syncjob.deadline import Stop
    from mailsync_syncjob.flags import FlagRules
    from mailsync_syncjob.imap.append import Batch
    from mailsync_syncjob.imap.session import Session
    from mailsync_syncjob.imap.stream import Refusal, Stream

__all__ = ["PipelinedCopier"]

_LINGER_SECONDS: Final = 1.0
"""How long a batch waits for its next message."""
_PAUSE_SECONDS: Final = 0.02
"""How long an APPEND's end waits for the next one, with which it would save a round trip."""


class PipelinedCopier:
    """One connection a side; MULTIAPPEND where the destination has it, else several APPENDs.

    Parameters
    ----------
    pacer
        How fast it may read; shared with all who copy in the same run.
    manner
        How the destination is stored at; learns from what the server does; shared likewise.
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
        manner: Manner | None = None,
        limit: int = BUFFER_BYTES,
    ) -> None:
        self._source = source
        self._destination = destination
        self._stop = stop
        self._pacer = pacer or Pacer(clock=stop.clock)
        self._single = SequentialCopier(source, destination, stop=stop, pacer=self._pacer)
        self._manner = manner or Manner(clock=stop.clock)
        self._limit = limit

    def copy(self, shares: Iterable[Sequence[Item]], *, target: Target, watch: Watch) -> None:
        """Copy these messages and tell ``watch`` of each."""
        again: list[Item] = []
        coming = iter(shares)
        first = next(coming, ())
        with Reading(
            self._source,
            chain((first,), coming),
            stop=self._stop,
            pacer=self._pacer,
            limit=self._limit,
        ) as reading:
            conveyor = reading.conveyor
            if len(first) > 1:
                # While the first messages are on their way: so it costs no time. One alone is asked
                # for its consent, which takes no longer.
                self._manner.settle(self._destination.writer, side=self._destination.side)
            parcel = conveyor.take()
            while parcel is not None:
                following = None
                if self._batchable(parcel, watch):
                    following = self._batch(parcel, conveyor, target=target, watch=watch)
                elif self._streamable(parcel, watch):
                    following = self._stream(parcel, conveyor, target=target, watch=watch)
                elif not self._alone(parcel, conveyor, target=target, watch=watch):
                    again.append(parcel.item)
                parcel = following or conveyor.take()
        # Only now is the source's connection free to ask for single messages.
        for item in (*reading.left, *again):
            self._single.fetch(item, target=target, watch=watch)

    def _batchable(self, parcel: Parcel, watch: Watch) -> bool:
        return (
            self._destination.writer.batches
            and self._manner.size.messages > 1
            and parcel.held
            and parcel.body.size < MOST_BYTES
            and not watch.suspected(parcel.item)
        )

    def _streamable(self, parcel: Parcel, watch: Watch) -> bool:
        return (
            self._manner.streams
            and parcel.held
            and not watch.suspected(parcel.item)
            and not self._batchable(parcel, watch)
        )

    def _alone(self, parcel: Parcel, conveyor: Conveyor, *, target: Target, watch: Watch) -> bool:
        stored = self._single.store(parcel.item, parcel.body, target=target, watch=watch)
        if self._manner.size.messages == 1:
            self._manner.size.taken()  # so that batches are tried again, some time
        conveyor.release(parcel)
        return stored

    def _batch(
        self, first: Parcel, conveyor: Conveyor, *, target: Target, watch: Watch
    ) -> Parcel | None:
        """Store this message and what comes after it; return one that must not go with them."""
        parcels = [first]
        following: Parcel | None = None
        stored = False
        began = self._manner.now()
        with self._stop.storing():
            batch = self._destination.writer.batch(target.raw)
            try:
                self._add(batch, first, target=target, watch=watch)
                while not self._manner.size.full(batch.messages, batch.bytes):
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
                self._manner.size.taken(self._manner.now() - began)
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
            for parcel in parcels:
                watch.copied(parcel.item, parcel.body.size)
            return
        if len(parcels) > 1:
            self._manner.size.refused()
        for parcel in parcels:
            self._single.store(parcel.item, parcel.body, target=target, watch=watch)

    def _stream(
        self, first: Parcel, conveyor: Conveyor, *, target: Target, watch: Watch
    ) -> Parcel | None:
        """Store this message and what comes after it; return one that must not go with them."""
        destination, manner = self._destination, self._manner
        under_way: dict[int, Parcel] = {}
        refused: list[tuple[Parcel, Refusal]] = []
        parcel: Parcel | None = first
        following: Parcel | None = None
        rules, answered = target.rules, None
        with self._stop.storing(), manner.streaming(destination.side):
            stream = destination.writer.stream(target.raw, seconds=manner.trial_seconds)
            while parcel is not None or stream.messages:
                if parcel is not None:
                    under_way[parcel.item.uid] = parcel
                    self._send(stream, parcel, target=target, watch=watch)
                parcel = None
                if not (refused or following or self._full(stream)):
                    parcel = conveyor.take(linger=_PAUSE_SECONDS)
                if parcel is not None and not self._streamable(parcel, watch):
                    parcel, following = None, parcel
                settled = stream.settled(wait=parcel is None)
                answered = manner.answered(len(settled), since=answered)
                for one in settled:
                    known = under_way.pop(one.key)
                    if one.refusal is None:
                        manner.stored()
                        watch.copied(known.item, known.body.size)
                        conveyor.release(known)
                    else:
                        manner.refused(one.refusal, destination.side)
                        refused.append((known, one.refusal))
        for known, refusal in refused:
            self._refused(known, refusal, rules=rules, target=target, watch=watch)
            conveyor.release(known)
        self._stop.check()
        return following

    def _full(self, stream: Stream) -> bool:
        return stream.messages >= self._manner.window.messages or stream.size >= MOST_BYTES

    def _refused(
        self, parcel: Parcel, refusal: Refusal, *, rules: FlagRules, target: Target, watch: Watch
    ) -> None:
        """Deal with a message that was refused with others under way, now that none is."""
        given: CommandRefusedError | None = None
        match refusal:
            case ThrottledError():
                raise refusal
            case CommandRefusedError():
                check_folder(refusal)
                # BAD may be said of the commands' order, and keywords be known by now to be why.
                if not (refusal.bad or refusal.temporary) and target.rules is rules:
                    given = refusal
            case OverQuotaError():
                pass  # said again if it is still so
        self._single.store(parcel.item, parcel.body, target=target, watch=watch, refusal=given)

    def _send(self, stream: Stream, parcel: Parcel, *, target: Target, watch: Watch) -> None:
        item = parcel.item
        watch.storing(item, alone=False)
        date = date_time(*item.date) if item.date else None
        stream.send(item.uid, parcel.body, flags=target.rules.kept(item.flags), date=date)

    def _add(self, batch: Batch, parcel: Parcel, *, target: Target, watch: Watch) -> None:
        item = parcel.item
        watch.storing(item, alone=False)
        date = date_time(*item.date) if item.date else None
        batch.add(parcel.body, flags=target.rules.kept(item.flags), date=date)

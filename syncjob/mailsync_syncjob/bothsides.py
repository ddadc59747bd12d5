"""Both sides of one folder: read at once, and compared."""

from __future__ import annotations

from array import array
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, TypeVar

from mailsync_syncjob.compare import Comparison, compare, look_alikes
from mailsync_syncjob.errors import CommandRefusedError, ProtocolError
from mailsync_syncjob.flags import FlagRules
from mailsync_syncjob.identity import UNKNOWN, identify_bare
from mailsync_syncjob.imap.fetch import FolderChanged
from mailsync_syncjob.listing import BODY_DIGEST_BYTES, Listing, Selection
from mailsync_syncjob.pace import Pacer
from mailsync_syncjob.resume import only_new

if TYPE_CHECKING:
    from collections.abc import Callable

    from mailsync_api.state import FolderNumbers
    from mailsync_syncjob.deadline import Stop
    from mailsync_syncjob.imap.fetch import Body
    from mailsync_syncjob.imap.selecting import OpenFolder
    from mailsync_syncjob.imap.session import Session
    from mailsync_syncjob.watching import FolderWatch

__all__ = ["BothSides", "Compared"]

_T = TypeVar("_T")
_U = TypeVar("_U")
_V = TypeVar("_V")
_ATTEMPTS: Final = 4
_AT_A_TIME: Final = 500


@dataclass(frozen=True, slots=True)
class Compared:
    """What both sides of a folder have, and what the destination keeps of flags."""

    comparison: Comparison
    rules: FlagRules
    uid_validity: int
    """Of the source: what its UIDs are worth to another session."""


@dataclass(frozen=True, slots=True)
class _Listed:
    """What one side has."""

    items: Listing
    opened: OpenFolder


@dataclass(frozen=True, slots=True)
class _New:
    """What the source has since it was complete."""

    items: Listing
    opened: OpenFolder
    uids: list[int]
    """Also of the last message that was there before."""
    flags_changed: bool
    """Whether those of earlier messages were."""


@dataclass(frozen=True, slots=True)
class _Opening:
    """How a folder is opened."""

    read_only: bool
    messages: int = 0
    """How many it is thought to have; they are asked for at once, which may save a wait."""
    brief: bool = False
    """Whether they are asked for without their headers."""


class BothSides:
    """Reads and compares one folder with the sessions of one worker."""

    def __init__(
        self,
        source: Session,
        destination: Session,
        *,
        watch: FolderWatch,
        stop: Stop,
        pacer: Pacer | None = None,
    ) -> None:
        self._source = source
        self._destination = destination
        self._watch = watch
        self._stop = stop
        self._pacer = pacer or Pacer(clock=stop.clock)

    def open(self, source_raw: bytes, destination_raw: bytes) -> int:
        """Open a folder that somebody else has compared; return the source's UIDVALIDITY."""
        here, _ = self._at_once(
            lambda: self._source.open(source_raw, read_only=True),
            lambda: self._destination.open(destination_raw, read_only=False),
        )
        return here.uid_validity

    def compare(
        self,
        source_raw: bytes,
        destination_raw: bytes | None,
        *,
        read_only: bool,
        expected: tuple[int, int] = (0, 0),
    ) -> Compared:
        """Read both sides and compare them; the folders are selected then.

        Parameters
        ----------
        destination_raw
            None for a folder that does not exist yet, which only a dry run meets.
        expected
            How many messages the sides are thought to have; what they have is what counts.
        """
        if destination_raw is None:
            here = self._read(
                self._source,
                source_raw,
                opening=_Opening(read_only=True, messages=expected[0], brief=True),
                brief=lambda: True,
            )
            return self._told(here, None, compare(here.items, ()), FlagRules(None))
        here, there = self._read_both(
            source_raw, destination_raw, read_only=read_only, expected=expected
        )
        comparison = compare(here.items, there.items)
        ours, theirs = look_alikes(comparison)
        if ours:
            self._await_turn(ours)
            self._at_once(
                lambda: _note_digests(self._source, ours),
                lambda: _note_digests(self._destination, theirs),
            )
            comparison = compare(here.items, there.items)
        # EXAMINE says that no flags can be changed, which a dry run does not ask about.
        rules = FlagRules.of(None if read_only else there.opened.permanent_flags)
        return self._told(here, there, comparison, rules)

    def look_for_new(
        self, source_raw: bytes, destination_raw: bytes, numbers: FolderNumbers, *, read_only: bool
    ) -> Compared | None:
        """Read only what is new at the source; None if more than that may have happened.

        Parameters
        ----------
        numbers
            At which the folder was complete. So far it seems that only new messages came since.
        """
        try:
            new, there = self._at_once(
                lambda: self._read_new(source_raw, numbers),
                lambda: self._destination.open(destination_raw, read_only=read_only),
            )
        except CommandRefusedError:
            return None  # CHANGEDSINCE, or what a comparison is refused as well
        doubt = only_new(
            numbers,
            source=new.opened.standing,
            uids=new.uids,
            flags_changed=new.flags_changed,
            destination=there.standing,
        )
        if doubt is not None:
            return None
        self._watch.found_new(new.items, numbers)
        self._watch.saw(
            new.opened.standing,
            listed=numbers.source_messages + len(new.items),
            last_uid=max(*new.uids, numbers.source_uid_next - 1),
            destination=there.standing,
        )
        rules = FlagRules.of(None if read_only else there.permanent_flags)
        return Compared(compare(new.items, ()), rules, new.opened.uid_validity)

    def _read_new(self, source_raw: bytes, numbers: FolderNumbers) -> _New:
        """Read what came after these numbers, and the last message before it."""
        opened = self._source.open(source_raw, read_only=True)
        reader, before = self._source.reader, numbers.source_messages
        items = Listing()
        uids: list[int] = []
        if opened.exists < before:
            return _New(items, opened, uids, flags_changed=False)
        try:
            changed = reader.changed(before, since=numbers.source_mod_seq)
            for window in () if changed else reader.brief(opened.exists, start=max(before, 1)):
                self._stop.check()
                for one in window:
                    uids.append(one.uid)
                    if len(uids) > min(before, 1):
                        items.add(one.uid, one.size, one.date, one.flags, UNKNOWN)
                self._watch.tick()
        except FolderChanged:
            changed = True  # so that it is read in full
        return _New(items, opened, uids, flags_changed=changed)

    def _await_turn(self, items: Selection) -> None:
        """Let the reading of these bodies count: it is as much for the source as copying them."""
        wait = self._pacer.admit(messages=len(items), size=items.total_bytes)
        self._stop.pause(wait)

    def _told(
        self, here: _Listed, there: _Listed | None, comparison: Comparison, rules: FlagRules
    ) -> Compared:
        self._watch.compared(here.items, comparison)
        self._watch.saw(
            here.opened.standing,
            listed=len(here.items),
            last_uid=max(Selection(here.items).uids(), default=0),
            destination=None if there is None else there.opened.standing,
        )
        return Compared(comparison, rules, here.opened.uid_validity)

    def _read_both(
        self,
        source_raw: bytes,
        destination_raw: bytes,
        *,
        read_only: bool,
        expected: tuple[int, int],
    ) -> tuple[_Listed, _Listed]:
        # With nothing to compare them with, the source's messages need no headers.
        empty: Future[bool] = Future()

        def told(opened: OpenFolder) -> None:
            if not empty.done():
                empty.set_result(opened.exists == 0)

        def there() -> _Listed:
            try:
                return self._read(
                    self._destination,
                    destination_raw,
                    opening=_Opening(read_only, expected[1]),
                    brief=lambda: False,
                    told=told,
                )
            except BaseException as error:
                if not empty.done():
                    empty.set_exception(error)
                raise

        def here() -> _Listed:
            opening = _Opening(read_only=True, messages=expected[0], brief=not expected[1])
            return self._read(self._source, source_raw, opening=opening, brief=empty.result)

        ours, theirs = self._at_once(here, there)
        if theirs.items and empty.result():
            # Somebody has delivered in between.
            ours = self._read(
                self._source,
                source_raw,
                opening=_Opening(read_only=True),
                brief=lambda: False,
            )
        return ours, theirs

    def _at_once(self, source: Callable[[], _T], destination: Callable[[], _U]) -> tuple[_T, _U]:
        """Do something on both connections at once, each in a thread of its own."""
        errors: list[BaseException] = []

        def doing(work: Callable[[], _V], other: Session) -> _V:
            try:
                return work()
            except BaseException as error:
                errors.append(error)
                if not isinstance(error, CommandRefusedError):
                    other.give_up()  # amid an answer, and of no more use
                raise

        with ThreadPoolExecutor(max_workers=2, thread_name_prefix="comparing") as pool:
            ours = pool.submit(doing, source, self._destination)
            theirs = pool.submit(doing, destination, self._source)
        if errors:
            # What one side refused matters less than what made the other one end.
            raise min(errors, key=lambda error: isinstance(error, CommandRefusedError))
        return ours.result(), theirs.result()

    def _read(
        self,
        session: Session,
        raw: bytes,
        *,
        opening: _Opening,
        brief: Callable[[], bool],
        told: Callable[[OpenFolder], object] = lambda _: None,
    ) -> _Listed:
        """Return a folder's messages; without their headers where ``brief`` says so.

        Parameters
        ----------
        told
            Called when the folder is open.
        """
        for attempt in range(_ATTEMPTS):
            opened = session.open(
                raw,
                read_only=opening.read_only,
                expected=0 if attempt else opening.messages,
                brief=opening.brief,
            )
            told(opened)
            try:
                items = self._items(session, opened.exists, brief=brief())
            except FolderChanged:
                continue
            # Fewer than announced: somebody deletes, or the server does not answer for some.
            if len(items) == opened.exists or attempt == _ATTEMPTS - 1:
                self._check_complete(session, opened.exists, listed=len(items))
                return _Listed(items, opened)
        raise ProtocolError(
            f"{session.side}: the folder changes faster than it can be read", side=session.side
        )

    def _items(self, session: Session, count: int, *, brief: bool) -> Listing:
        listing = Listing()
        bare = array("I")
        read = session.reader.brief if brief else session.reader.metadata
        last, ascending = 0, True
        for window in read(count):
            self._stop.check()
            for one in window:
                ascending = ascending and one.uid > last
                last = one.uid
                if not brief and one.identity.bare:
                    bare.append(len(listing))
                listing.add(one.uid, one.size, one.date, one.flags, one.identity)
            self._watch.tick()
        if not ascending:
            _check_uids(session, listing)
        for part in Selection(listing, bare).parts(_AT_A_TIME):
            places = dict(zip(part.uids(), part.places, strict=True))
            for header in session.reader.headers(list(places)):
                listing.identify(places[header.uid], identify_bare(header.chunks()))
        return listing

    def _check_complete(self, session: Session, exists: int, *, listed: int) -> None:
        if listed == exists:
            return
        if session is self._destination:
            # Whatever it hides would be copied again.
            raise ProtocolError(
                f"{session.side}: of {exists} messages in {self._watch.destination} the server "
                f"lists only {listed}",
                side=session.side,
            )
        self._watch.unlisted(exists - listed)


def _check_uids(session: Session, listing: Listing) -> None:
    """See to it that each message has a UID of its own: two of one UID would be taken for one."""
    uids = set(Selection(listing).uids())
    if 0 in uids or len(uids) != len(listing):
        raise ProtocolError(
            f"{session.side}: the server gave several messages one UID, or none", side=session.side
        )


def _note_digests(session: Session, items: Selection) -> None:
    """Take note of all bytes of these messages; the folder is selected."""
    for part in items.parts(_AT_A_TIME):
        places = dict(zip(part.uids(), part.places, strict=True))
        # What the server refuses in company is asked for alone.
        for wanted in (list(places), *([uid] for uid in list(places))):
            if wanted[0] in places:
                with suppress(CommandRefusedError):
                    for body in session.reader.bodies(wanted):
                        items.listing.tell_apart(places.pop(body.uid), _digest(body))


def _digest(body: Body) -> bytes:
    digest = blake2b(digest_size=BODY_DIGEST_BYTES)
    for chunk in body.chunks():
        digest.update(chunk)
    return digest.digest()

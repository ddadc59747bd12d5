"""A folder's messages in little memory, one row of bytes each. Pure.

A folder may hold a million messages, and those of both sides are compared with each other. As
objects they would take a gigabyte; as rows they take 58 bytes each, and objects are made of those
that somebody looks at.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct, calcsize
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias, overload

from typing_extensions import override

from mailsync_syncjob.identity import DIGEST_BYTES, Identity

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator

__all__ = [
    "BODY_DIGEST_BYTES",
    "NO_DIGEST",
    "NO_TIME",
    "Item",
    "Listing",
    "Places",
    "Row",
    "Selection",
]

NO_TIME: Final = -(1 << 63)
"""Stands in a row for a time that is not known."""
NO_DIGEST: Final = bytes(DIGEST_BYTES)
"""Stands in a row for what a message does not have; no digest comes out as zeros."""
BODY_DIGEST_BYTES: Final = 16
"""Of the digests of whole messages."""

_ROW: Final = Struct(f"=IhIq{DIGEST_BYTES}s{DIGEST_BYTES}sqq")
_EXACT: Final = Struct(f"={calcsize('=IhIq')}x{_ROW.size - calcsize('=IhIq')}s")

Places: TypeAlias = "array[int] | range"
"""Messages of a listing, as their places in it, counted from 0."""


@dataclass(frozen=True, slots=True)
class Item:
    """One message of a folder."""

    uid: int
    size: int
    date: tuple[int, int] | None
    """INTERNALDATE: seconds since 1970 and the zone's offset in minutes."""
    flags: tuple[bytes, ...]
    identity: Identity
    digest: bytes | None = None
    """Of all its bytes; only where nothing else tells it from others."""

    @property
    def instant(self) -> int | None:
        """INTERNALDATE as seconds since 1970; servers give it back in other zones."""
        return self.date[0] if self.date else None


class Row(NamedTuple):
    """A message as it is kept: numbers and digests only."""

    uid: int
    zone: int
    flags: int
    """Which of the listing's combinations of flags."""
    sent: int
    message_id: bytes
    headers: bytes
    instant: int
    size: int

    @property
    def bare(self) -> bool:
        """Whether nothing in the headers identifies the message."""
        return self.message_id == NO_DIGEST == self.headers


class Listing(Sequence[Item]):
    """A folder's messages in the order of their numbers.

    Parameters
    ----------
    items
        Messages to begin with.
    """

    __slots__ = ("_digests", "_flags", "_numbers", "_rows")

    def __init__(self, items: Iterable[Item] = ()) -> None:
        self._rows = bytearray()
        self._flags: list[tuple[bytes, ...]] = []
        self._numbers: dict[tuple[bytes, ...], int] = {}
        self._digests: bytearray | None = None
        for item in items:
            self.add(item.uid, item.size, item.date, item.flags, item.identity)
            if item.digest is not None:
                self.tell_apart(len(self) - 1, item.digest)

    @classmethod
    def of(cls, items: Iterable[Item]) -> Listing:
        """Return the messages as a listing, which they may be already."""
        return items if isinstance(items, cls) else cls(items)

    def add(
        self,
        uid: int,
        size: int,
        date: tuple[int, int] | None,
        flags: tuple[bytes, ...],
        identity: Identity,
    ) -> None:
        """Take one more message."""
        number = self._numbers.get(flags)
        if number is None:
            number = self._numbers[flags] = len(self._flags)
            self._flags.append(flags)
        instant, zone = date or (NO_TIME, 0)
        sent = NO_TIME if identity.sent is None else identity.sent
        self._rows += _ROW.pack(
            uid,
            zone,
            number,
            sent,
            identity.message_id or NO_DIGEST,
            identity.headers or NO_DIGEST,
            instant,
            size,
        )
        if self._digests is not None:
            self._digests += bytes(BODY_DIGEST_BYTES)

    def identify(self, place: int, identity: Identity) -> None:
        """Give a message another identity."""
        row = self.row(place)
        _ROW.pack_into(
            self._rows,
            place * _ROW.size,
            *row._replace(
                sent=NO_TIME if identity.sent is None else identity.sent,
                message_id=identity.message_id or NO_DIGEST,
                headers=identity.headers or NO_DIGEST,
            ),
        )

    def tell_apart(self, place: int, digest: bytes) -> None:
        """Note the digest of all of a message's bytes."""
        if self._digests is None:
            self._digests = bytearray(BODY_DIGEST_BYTES * len(self))
        self._digests[place * BODY_DIGEST_BYTES : (place + 1) * BODY_DIGEST_BYTES] = digest

    # --- looking at messages

    @override
    def __len__(self) -> int:
        return len(self._rows) // _ROW.size

    @overload
    def __getitem__(self, index: int) -> Item: ...

    @overload
    def __getitem__(self, index: slice) -> Selection: ...

    @override
    def __getitem__(self, index: int | slice) -> Item | Selection:
        places = range(len(self))[index]
        if isinstance(places, range):
            return Selection(self, places)
        row = self.row(places)
        return Item(
            uid=row.uid,
            size=row.size,
            date=None if row.instant == NO_TIME else (row.instant, row.zone),
            flags=self._flags[row.flags],
            identity=Identity(
                message_id=None if row.message_id == NO_DIGEST else row.message_id,
                headers=None if row.headers == NO_DIGEST else row.headers,
                sent=None if row.sent == NO_TIME else row.sent,
            ),
            digest=self.digest(places),
        )

    def row(self, place: int) -> Row:
        """Return a message as it is kept."""
        return Row._make(_ROW.unpack_from(self._rows, place * _ROW.size))

    def exact(self, place: int) -> bytes:
        """Return what is the same in all rows of equal identity, date and size, and in no other."""
        (key,) = _EXACT.unpack_from(self._rows, place * _ROW.size)
        return bytes(key)

    def digest(self, place: int) -> bytes | None:
        """Return the digest of all of a message's bytes, if it was noted."""
        if self._digests is None:
            return None
        digest = bytes(self._digests[place * BODY_DIGEST_BYTES : (place + 1) * BODY_DIGEST_BYTES])
        return digest if any(digest) else None

    @property
    def told_apart(self) -> bool:
        """Whether the digest of any message's bytes was noted."""
        return self._digests is not None

    def flags_of(self, row: Row) -> tuple[bytes, ...]:
        """Return a message's flags; the same object for all messages with the same ones."""
        return self._flags[row.flags]


class Selection(Sequence[Item]):
    """Some messages of a listing.

    Parameters
    ----------
    places
        Which, in order; all by default.
    """

    __slots__ = ("_listing", "_places")

    def __init__(self, listing: Listing, places: Places | None = None) -> None:
        self._listing = listing
        self._places: Places = range(len(listing)) if places is None else places

    @property
    def places(self) -> Places:
        """Where in the listing its messages are."""
        return self._places

    @property
    def listing(self) -> Listing:
        """What its messages are of."""
        return self._listing

    @override
    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> Item: ...

    @overload
    def __getitem__(self, index: slice) -> Selection: ...

    @override
    def __getitem__(self, index: int | slice) -> Item | Selection:
        if isinstance(index, slice):
            return Selection(self._listing, self._places[index])
        return self._listing[self._places[index]]

    def rows(self) -> Iterator[Row]:
        """Yield its messages as they are kept."""
        return map(self._listing.row, self._places)

    def uids(self) -> Iterator[int]:
        """Yield the UIDs of its messages."""
        return (row.uid for row in self.rows())

    def flags(self) -> Iterator[tuple[bytes, ...]]:
        """Yield the flags of its messages."""
        return map(self._listing.flags_of, self.rows())

    @property
    def total_bytes(self) -> int:
        """The sizes of its messages added up."""
        return sum(row.size for row in self.rows())

    def where(self, condition: Callable[[Item], bool]) -> Selection:
        """Return those of its messages that fulfil a condition."""
        places = array("I", (p for p in self._places if condition(self._listing[p])))
        return Selection(self._listing, places)

    def having(self, uids: Container[int]) -> Iterator[Item]:
        """Yield those of its messages that have one of these UIDs."""
        return (self._listing[p] for p in self._places if self._listing.row(p).uid in uids)

    def parts(self, size: int) -> Iterator[Selection]:
        """Yield its messages in parts of so many."""
        return (self[start : start + size] for start in range(0, len(self), size))

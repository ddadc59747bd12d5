"""What a folder's numbers say about the work that it needs. Pure.

A folder was complete when it stood at the numbers of its entry: each message of the source had its
own at the destination, with its flags. From this follows, as far as a server keeps RFC 3501 and RFC
7162:

- UIDVALIDITY, UIDNEXT and MESSAGES are as they were: it holds the same messages. Each new one
  raises UIDNEXT, each that goes lowers MESSAGES, and neither can be undone.
- HIGHESTMODSEQ is as it was: no flag was changed, and nothing else either.
- UIDNEXT has risen, by at least as much as MESSAGES, and nothing that was there is gone: the new
  messages are those from the old UIDNEXT on.

Old numbers are therefore never dangerous: they say that something happened, and the folder is
compared in full. That is also what happens wherever one of these numbers is missing or odd.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from mailsync_api.state import FolderNumbers

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = [
    "Decision",
    "Done",
    "Full",
    "NewOnly",
    "Standing",
    "Unchanged",
    "decide",
    "new_numbers",
    "only_new",
]


@dataclass(frozen=True, slots=True)
class Standing:
    """A folder's numbers at one moment; None where the server does not tell."""

    messages: int | None = None
    uid_next: int | None = None
    uid_validity: int | None = None
    highest_mod_seq: int | None = None

    @property
    def odd(self) -> str | None:
        """Why nothing can be concluded from it; None if that is not so."""
        if not self.uid_validity or self.messages is None:
            return "no UIDVALIDITY or MESSAGES"
        if self.uid_next is None or self.uid_next <= self.messages:
            return "no UIDNEXT that can be right"  # each message has a UID of its own below it
        if not self.highest_mod_seq:
            return "no HIGHESTMODSEQ"
        return None


@dataclass(frozen=True, slots=True)
class Unchanged:
    """Nothing has happened on either side: there is nothing to do."""

    numbers: FolderNumbers


@dataclass(frozen=True, slots=True)
class NewOnly:
    """Only the source has new messages: they are the ones to copy, if ``only_new`` confirms it."""

    numbers: FolderNumbers

    @property
    def first_uid(self) -> int:
        """Below it are the messages that were there before."""
        return self.numbers.source_uid_next


@dataclass(frozen=True, slots=True)
class Full:
    """Both folders must be compared."""

    reason: str


Decision: TypeAlias = Unchanged | NewOnly | Full


def decide(
    numbers: FolderNumbers | None, source: Standing | None, destination: Standing | None
) -> Decision:
    """Return what a folder needs.

    Parameters
    ----------
    numbers
        Those at which it was complete; None where that is not known.
    source, destination
        How it stands now; None where that is not known.
    """
    if numbers is None:
        return Full("no numbers of a complete pass")
    if source is None or destination is None:
        return Full("a side does not tell its numbers")
    before, there = _standings(numbers)
    doubt = next(_doubts(numbers, source, destination), None)
    if doubt is not None:
        return Full(doubt)
    if destination != there:
        return Full("the destination has changed")
    if source == before:
        return Unchanged(numbers)
    doubt = next(_doubts_of_growth(numbers, before, source), None)
    return NewOnly(numbers) if doubt is None else Full(doubt)


def _doubts(numbers: FolderNumbers, source: Standing, destination: Standing) -> Iterator[str]:
    """Yield why nothing can be concluded."""
    for now in (source, destination):
        if now.odd:
            yield now.odd
    if any(before.odd for before in _standings(numbers)):
        yield "the state's numbers cannot be right"
    if numbers.destination_messages < numbers.source_messages:
        yield "the state's numbers cannot be right"


def _doubts_of_growth(numbers: FolderNumbers, before: Standing, now: Standing) -> Iterator[str]:
    """Yield what else than new messages the source's numbers may tell of."""
    if now.uid_validity != before.uid_validity:
        yield "UIDVALIDITY of the source has changed"
    more = _difference(now.messages, before.messages)
    uids = _difference(now.uid_next, before.uid_next)
    changes = _difference(now.highest_mod_seq, before.highest_mod_seq)
    if changes < 0 or uids < 0:
        yield "numbers of the source go backwards"
    if more < 0 or uids < more:
        yield "messages of the source are gone"
    if not uids:
        yield "flags at the source have changed"
    if not changes:
        yield "HIGHESTMODSEQ of the source did not rise with a new message"
    if numbers.destination_messages != numbers.source_messages:
        # A new message may be one of those that the destination has in addition.
        yield "the destination has messages of its own"


def only_new(
    numbers: FolderNumbers,
    *,
    exists: int,
    uids: Sequence[int],
    flags_changed: bool,
    destination: Standing,
) -> str | None:
    """Return why not only the new messages are to be copied; None if nothing speaks against it.

    Parameters
    ----------
    exists
        How many messages the source has, from the opening.
    uids
        Of its messages from the one numbered ``numbers.source_messages`` on (from the first, if
        there were none): the last that was there before, and all after it.
    flags_changed
        Whether flags of those that were there before have changed since.
    destination
        How it stands, from the opening.
    """
    before = numbers.source_messages
    if exists < before or len(uids) != exists - max(before - 1, 0):
        return "messages of the source are gone"
    # Numbers follow UIDs (RFC 9051 section 2.3.1.2). With the old ones before this border and the
    # new ones behind it there are as many old ones as there were, so that none of them is gone.
    new = uids[1:] if before else uids
    if before and uids[0] >= numbers.source_uid_next:
        return "messages of the source are gone"
    if any(uid < numbers.source_uid_next for uid in new):
        return "messages of the source are gone or out of order"
    if flags_changed:
        return "flags at the source have changed"
    if destination != _standings(numbers)[1]:
        return "the destination has changed"
    return None


@dataclass(frozen=True, slots=True)
class Done:
    """A folder's pass that left nothing out."""

    source: Standing
    """Before its messages were listed."""
    listed: int
    """How many messages that list had."""
    last_uid: int
    """The highest UID in it; 0 for none."""
    size: int
    """Bytes of all of them."""
    destination: Standing
    """Before its messages were listed."""
    copied: int
    """How many messages were stored."""


def new_numbers(done: Done, after: Standing) -> FolderNumbers | None:
    """Return the numbers at which a folder is complete; None where that is not certain.

    Parameters
    ----------
    after
        How the destination stands after the pass: it must have moved by exactly what was stored.
        Numbers read earlier than anything in between are good too: the next run finds them changed.
    """
    here, there = done.source, done.destination
    if here.odd or there.odd or after.odd:
        return None
    stored = (
        _difference(after.messages, there.messages),
        _difference(after.uid_next, there.uid_next),
    )
    certain = (
        # The list shows what was there at these numbers: nothing is missing, nothing came later.
        done.listed == here.messages
        and done.last_uid < (here.uid_next or 0)
        and after.uid_validity == there.uid_validity
        and stored == (done.copied, done.copied)
        and _difference(after.highest_mod_seq, there.highest_mod_seq) >= 0
        and _difference(after.messages, done.listed) >= 0
    )
    return FolderNumbers(*_plain(here), *_plain(after), done.size) if certain else None


def _plain(standing: Standing) -> tuple[int, int, int, int]:
    return (
        standing.uid_validity or 0,
        standing.uid_next or 0,
        standing.messages or 0,
        standing.highest_mod_seq or 0,
    )


def _standings(numbers: FolderNumbers) -> tuple[Standing, Standing]:
    here = Standing(
        uid_validity=numbers.source_uid_validity,
        uid_next=numbers.source_uid_next,
        messages=numbers.source_messages,
        highest_mod_seq=numbers.source_mod_seq,
    )
    there = Standing(
        uid_validity=numbers.destination_uid_validity,
        uid_next=numbers.destination_uid_next,
        messages=numbers.destination_messages,
        highest_mod_seq=numbers.destination_mod_seq,
    )
    return here, there


def _difference(now: int | None, before: int | None) -> int:
    return (now or 0) - (before or 0)

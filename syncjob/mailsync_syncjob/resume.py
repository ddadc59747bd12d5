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

    from mailsync_syncjob.imap.survey import Standing

__all__ = [
    "Decision",
    "Done",
    "Full",
    "NewOnly",
    "Sight",
    "Unchanged",
    "decide",
    "new_numbers",
    "only_new",
]


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
    doubt = next(_doubts(numbers, source, destination), None)
    if doubt is not None:
        return Full(doubt)
    if _plain(source) == numbers[:4]:
        return Unchanged(numbers)
    doubt = next(_doubts_of_growth(numbers, source), None)
    return NewOnly(numbers) if doubt is None else Full(doubt)


def _doubts(numbers: FolderNumbers, source: Standing, destination: Standing) -> Iterator[str]:
    """Yield why the folder must be compared whatever happened at the source."""
    for now in (_plain(source), _plain(destination)):
        if odd := _odd(now):
            yield odd
    there = numbers[4:8]
    wrong = _odd(numbers[:4]) or _odd(there)
    if wrong or numbers.destination_messages < numbers.source_messages:
        yield "the state's numbers cannot be right"
    if _plain(destination) != there:
        yield "the destination has changed"


def _doubts_of_growth(numbers: FolderNumbers, now: Standing) -> Iterator[str]:
    """Yield what else than new messages the source's numbers may tell of."""
    if now.uid_validity != numbers.source_uid_validity:
        yield "UIDVALIDITY of the source has changed"
    more = now.messages - numbers.source_messages
    uids = (now.uid_next or 0) - numbers.source_uid_next
    changes = (now.highest_mod_seq or 0) - numbers.source_mod_seq
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
    source: Standing,
    uids: Sequence[int],
    flags_changed: bool,
    destination: Standing,
) -> str | None:
    """Return why not only the new messages are to be copied; None if nothing speaks against it.

    Parameters
    ----------
    source, destination
        How they stand, from the opening.
    uids
        Of its messages from the one numbered ``numbers.source_messages`` on (from the first, if
        there were none): the last that was there before, and all after it.
    flags_changed
        Whether flags of those that were there before have changed since.
    """
    return next(_doubts_of_new(numbers, source, uids, destination), None) or (
        "flags at the source have changed" if flags_changed else None
    )


def _doubts_of_new(
    numbers: FolderNumbers, source: Standing, uids: Sequence[int], destination: Standing
) -> Iterator[str]:
    before, now = numbers.source_messages, source.messages
    if source.uid_validity != numbers.source_uid_validity:
        yield "UIDVALIDITY of the source has changed"
    if now < before or len(uids) != now - max(before - 1, 0):
        yield "messages of the source are gone"
    # Numbers follow UIDs (RFC 9051 section 2.3.1.2). With the old ones before this border and the
    # new ones behind it there are as many old ones as there were, so that none of them is gone.
    old, new = (uids[:1], uids[1:]) if before else ((), uids)
    if any(uid >= numbers.source_uid_next for uid in old):
        yield "messages of the source are gone"
    if any(uid < numbers.source_uid_next for uid in new):
        yield "messages of the source are gone or out of order"
    if _plain(destination) != numbers[4:8]:
        yield "the destination has changed"


@dataclass(frozen=True, slots=True)
class Sight:
    """How both sides stood when their messages were listed."""

    source: Standing
    """Before the list that the rest was done by."""
    listed: int
    """How many messages that list had."""
    last_uid: int
    """The highest UID in it; 0 for none."""
    destination: Standing | None
    """Before the first list; None for a folder that did not exist."""


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
    here, there, moved = _plain(done.source), _plain(done.destination), _plain(after)
    if _odd(here) or _odd(there) or _odd(moved):
        return None
    validity, uids, messages, changes = (
        now - before for now, before in zip(moved, there, strict=True)
    )
    certain = (
        # The list shows what was there at these numbers: nothing is missing, nothing came later.
        done.listed == done.source.messages
        and done.last_uid < here[1]
        and not validity
        and uids == messages == done.copied
        and changes >= 0
        and after.messages >= done.listed
    )
    return FolderNumbers(*here, *moved, done.size) if certain else None


_Plain: TypeAlias = "tuple[int, int, int, int]"
"""UIDVALIDITY, UIDNEXT, MESSAGES and HIGHESTMODSEQ; 0 for what a server does not tell."""


def _plain(standing: Standing) -> _Plain:
    return (
        standing.uid_validity or 0,
        standing.uid_next or 0,
        standing.messages,
        standing.highest_mod_seq or 0,
    )


def _odd(plain: Sequence[int]) -> str | None:
    """Return why nothing can be concluded from numbers; None if that is not so."""
    uid_validity, uid_next, messages, mod_seq = plain
    if not uid_validity:
        return "no UIDVALIDITY"
    if uid_next <= messages:
        return "no UIDNEXT that can be right"  # each message has a UID of its own below it
    return None if mod_seq else "no HIGHESTMODSEQ"

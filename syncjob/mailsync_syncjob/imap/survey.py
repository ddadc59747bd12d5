"""What a server has: its folders, how each of them stands, what is subscribed, whose is what.

All of it is asked for at once where the server can say it at once (RFC 5258, RFC 5819): with a link
that has latency, the waits are what the beginning of a run costs.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from mailsync_syncjob.imap.channel import Command
from mailsync_syncjob.imap.names import decode_name
from mailsync_syncjob.imap.parse import parse_values
from mailsync_syncjob.imap.syntax import astring

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from mailsync_syncjob.errors import ProtocolError
    from mailsync_syncjob.imap.channel import Channel, Flight, Response
    from mailsync_syncjob.imap.parse import Value

__all__ = [
    "Asking",
    "ListedFolder",
    "Namespaces",
    "Standing",
    "Survey",
    "read_standings",
    "read_survey",
    "standing_key",
    "status_command",
]

_INBOX: Final = b"INBOX"
_LSUB: Final = Command("LSUB", (b"LSUB", b'"" "*"'))
_NAMESPACE: Final = Command("NAMESPACE", (b"NAMESPACE",))


@dataclass(frozen=True, slots=True)
class Standing:
    """How a folder stands, as STATUS says it; None for what the server does not say."""

    messages: int
    uid_next: int | None = None
    uid_validity: int | None = None
    highest_mod_seq: int | None = None
    """Also None where the folder has no persistent ones (RFC 7162 section 3.1.7: 0)."""
    size: int | None = None
    """The bytes of all its messages; only where it was asked for."""


@dataclass(frozen=True, slots=True)
class ListedFolder:
    """A folder as a server lists it."""

    raw: bytes
    """The name for commands, exactly as it came."""
    name: str
    """The same, decoded."""
    separator: str
    """One character, or empty where the server has no levels."""
    selectable: bool


@dataclass(frozen=True, slots=True)
class Namespaces:
    """Whose folders are where (RFC 2342)."""

    personal: tuple[str, str] | None = None
    """Prefix and separator of the user's own folders; None if the server cannot say."""
    foreign: tuple[str, ...] = ()
    """The prefixes of other users' and shared folders."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What one side has, asked for once at the beginning of a run."""

    folders: tuple[ListedFolder, ...]
    subscribed: frozenset[bytes]
    """Raw names of subscribed folders."""
    namespaces: Namespaces
    standings: Mapping[bytes, Standing]
    """By ``standing_key``; only of those folders that the server told it of along with its list."""

    def standing(self, raw: bytes) -> Standing | None:
        """Return how a folder stands; None if the server did not say it."""
        return self.standings.get(standing_key(raw))


@dataclass(frozen=True, slots=True)
class Asking:
    """The commands for a survey, chosen by what the server announces.

    Parameters
    ----------
    sizes
        Whether the folders' sizes are of interest: a server may have to add them up.
    """

    capabilities: Collection[str]
    sizes: bool

    @property
    def at_once(self) -> bool:
        """Whether LIST can tell of subscriptions and standings too."""
        return {"LIST-EXTENDED", "LIST-STATUS"} <= set(self.capabilities)

    @property
    def items(self) -> bytes:
        """What STATUS is asked for."""
        items = [b"MESSAGES", b"UIDNEXT", b"UIDVALIDITY"]
        if not {"CONDSTORE", "QRESYNC"}.isdisjoint(self.capabilities):
            items.append(b"HIGHESTMODSEQ")
        if self.sizes and "STATUS=SIZE" in self.capabilities:
            items.append(b"SIZE")  # RFC 8438
        return b"(" + b" ".join(items) + b")"

    def commands(self, *, at_once: bool) -> tuple[Command, ...]:
        """Return what to send; the first one is LIST."""
        space = (_NAMESPACE,) if "NAMESPACE" in self.capabilities else ()
        if at_once:
            returns = b"RETURN (SUBSCRIBED STATUS " + self.items + b")"
            return (Command("LIST", (b"LIST", b'"" "*"', returns)), *space)
        return (Command("LIST", (b"LIST", b'"" "*"')), _LSUB, *space)


def status_command(raw: bytes, items: bytes) -> Command:
    """Return the command for one folder's standing."""
    return Command("STATUS", (b"STATUS", astring(raw), items))


def read_survey(channel: Channel, flight: Flight) -> Survey:
    """Take apart what the server answered.

    Raises
    ------
    ProtocolError
        It is no answer of IMAP's grammar.
    """
    folders: dict[bytes, ListedFolder] = {}
    subscribed: set[bytes] = set()
    namespaces = Namespaces()
    for response in flight.untagged:
        word = _word(response)
        if word in {b"LIST", b"LSUB"}:
            folder, attributes = _listed(channel, response)
            if word == b"LSUB" or b"\\subscribed" in attributes:
                subscribed.add(folder.raw)
            if word == b"LIST":
                folders.setdefault(folder.raw, folder)
        elif word == b"NAMESPACE":
            namespaces = _namespaces(channel, response)
    return Survey(
        folders=tuple(folders.values()),
        subscribed=frozenset(subscribed),
        namespaces=namespaces,
        standings=MappingProxyType(read_standings(channel, flight.untagged)),
    )


def read_standings(channel: Channel, responses: Iterable[Response]) -> dict[bytes, Standing]:
    """Return the standings that are among these answers, by ``standing_key`` of the raw name.

    Raises
    ------
    ProtocolError
        One of them is not of IMAP's grammar.
    """
    found: dict[bytes, Standing] = {}
    for response in responses:
        if _word(response) != b"STATUS":
            continue
        try:
            _, raw, items = parse_values(response.parts)[:3]
            if not isinstance(raw, bytes) or not isinstance(items, list):
                raise ValueError("name and list expected")  # noqa: TRY004, TRY301  caught below
            numbers = _numbers(items)
        except ValueError as error:
            raise _no_answer(channel, "STATUS", error) from None
        if (messages := numbers.get(b"MESSAGES")) is not None:
            found[standing_key(raw)] = Standing(
                messages=messages,
                uid_next=numbers.get(b"UIDNEXT"),
                uid_validity=numbers.get(b"UIDVALIDITY"),
                highest_mod_seq=numbers.get(b"HIGHESTMODSEQ") or None,
                size=numbers.get(b"SIZE"),
            )
    return found


def _listed(channel: Channel, response: Response) -> tuple[ListedFolder, set[bytes]]:
    try:
        _, flags, separator, raw = parse_values(response.parts)[:4]
        if not isinstance(flags, list) or not isinstance(raw, bytes):
            raise ValueError("flags and name expected")  # noqa: TRY004, TRY301  caught below
    except ValueError as error:
        raise _no_answer(channel, "LIST", error) from None
    attributes = {flag.lower() for flag in flags if isinstance(flag, bytes)}
    folder = ListedFolder(
        raw=raw,
        name=decode_name(raw),
        separator=separator.decode("latin-1") if isinstance(separator, bytes) else "",
        selectable=not attributes & {b"\\noselect", b"\\nonexistent"},
    )
    return folder, attributes


def _namespaces(channel: Channel, response: Response) -> Namespaces:
    try:
        values = parse_values(response.parts)[1:4]
        personal, *others = [_spaces(value) for value in values]
    except ValueError as error:
        raise _no_answer(channel, "NAMESPACE", error) from None
    return Namespaces(
        personal=personal[0] if personal else None,
        foreign=tuple(prefix for group in others for prefix, _ in group if prefix),
    )


def _spaces(value: Value) -> list[tuple[str, str]]:
    """Return prefixes and separators of one kind of namespace."""
    spaces: list[tuple[str, str]] = []
    for space in value if isinstance(value, list) else ():
        if not isinstance(space, list) or not space:
            raise ValueError("a list of namespaces expected")
        prefix, separator = (*space, None)[:2]
        spaces.append(
            (
                decode_name(prefix) if isinstance(prefix, bytes) else "",
                separator.decode("latin-1") if isinstance(separator, bytes) else "",
            )
        )
    return spaces


def _numbers(items: Sequence[Value]) -> dict[bytes, int]:
    numbers: dict[bytes, int] = {}
    for key, value in zip(items[::2], items[1::2], strict=False):
        if isinstance(key, bytes) and isinstance(value, bytes) and value.isdigit():
            numbers[key.upper()] = int(value[:20])
    return numbers


def _word(response: Response) -> bytes:
    return response.text.partition(b" ")[0].upper()


def standing_key(raw: bytes) -> bytes:
    """Return a name as standings have it: INBOX is the one name whose case does not matter."""
    return _INBOX if raw.upper() == _INBOX else raw


def _no_answer(channel: Channel, command: str, error: ValueError) -> ProtocolError:
    return channel.violation(f"a {command} answer that is none: {error}")

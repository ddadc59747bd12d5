"""A session: a logged-in connection to one side, with the commands that the engine uses."""

from __future__ import annotations

import contextlib
import imaplib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from imapclient.exceptions import ProtocolError as ImapclientProtocolError
from imapclient.imap_utf7 import decode as utf7_decode
from imapclient.imap_utf7 import encode as utf7_encode

from mailsync_syncjob.errors import CommandRefusedError, EngineError, TokenRefusedError
from mailsync_syncjob.imap.append import Writer
from mailsync_syncjob.imap.auth import log_in
from mailsync_syncjob.imap.channel import (
    MAX_LONG_ANSWER,
    MAX_SHORT_ANSWER,
    farewell_error,
    status_error,
)
from mailsync_syncjob.imap.client import make_client
from mailsync_syncjob.imap.fetch import Reader
from mailsync_syncjob.imap.parse import parse_values
from mailsync_syncjob.imap.syntax import astring, sequence_sets
from mailsync_syncjob.imap.ways import along
from mailsync_syncjob.texts import parse_status_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from mailsync_api.status import TLSFacts
    from mailsync_syncjob.credentials import Endpoint
    from mailsync_syncjob.deadline import Patience
    from mailsync_syncjob.imap.connect import Connected, Connector
    from mailsync_syncjob.party import Party

__all__ = ["ListedFolder", "OpenFolder", "Session", "encode_name", "open_session"]

_UNEXPECTED: Final = ("unexpected response:", "unexpected tagged response:")
HOLD_BYTES: Final = 8 << 20
"""The largest message that is held in memory."""


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
class OpenFolder:
    """The selected folder."""

    exists: int
    uid_validity: int
    permanent_flags: tuple[bytes, ...] | None
    """None where the server does not say, which allows everything (RFC 9051 section 7.1)."""


def open_session(endpoint: Endpoint, *, connector: Connector) -> Session:
    """Connect, secure the connection and log in.

    A refused token that is older than this login is replaced by a new one, once.

    Raises
    ------
    EngineError
        Any of its kinds that connecting and logging in can end with.
    """
    try:
        return _open(endpoint, connector)
    except TokenRefusedError as error:
        if error.fresh:
            raise
    return _open(endpoint, connector)


def _open(endpoint: Endpoint, connector: Connector) -> Session:
    connected = connector.connect(endpoint)
    endpoint = along(endpoint, connected.way)
    try:
        log_in(connected, endpoint=endpoint, seconds=connector.patience.greeting)
        return Session(connected, endpoint=endpoint, patience=connector.patience)
    except BaseException:
        connected.channel.wire.close()
        raise


class Session:
    """One logged-in connection, used by one thread."""

    def __init__(self, connected: Connected, *, endpoint: Endpoint, patience: Patience) -> None:
        self.side: Party = endpoint.side
        self.facts: TLSFacts = connected.facts
        self._channel = connected.channel
        self._patience = patience
        self._masked = endpoint.masked_words
        with self._speaking("CAPABILITY"):
            self._client: Any = make_client(self._channel.wire)
            announced = self._client.capabilities()
        self.capabilities: frozenset[str] = frozenset(
            word.decode("ascii", "replace").upper() for word in announced
        )
        self.reader = Reader(self._channel, patience=patience, hold_bytes=HOLD_BYTES)
        self.writer = Writer(self._channel, patience=patience, capabilities=self.capabilities)

    def list_folders(self) -> list[ListedFolder]:
        """Return all folders that the server lists."""
        return list(self._list(b"LIST"))

    def subscribed(self) -> frozenset[bytes]:
        """Return the raw names of the subscribed folders."""
        return frozenset(folder.raw for folder in self._list(b"LSUB"))

    def _list(self, verb: bytes) -> Iterator[ListedFolder]:
        limits = self._channel.wire.within(self._patience.command, at_most=MAX_LONG_ANSWER)
        with limits:
            outcome = self._channel.run(verb, b'"" "*"', command=verb.decode())
        for response in outcome.untagged:
            word, _, _ = response.text.partition(b" ")
            if word.upper() == verb:
                yield self._listed(response.parts)

    def _listed(self, parts: Sequence[bytes]) -> ListedFolder:
        try:
            values = parse_values(parts)
            _, flags, separator, raw = values[:4]
            if not isinstance(flags, list) or not isinstance(raw, bytes):
                raise ValueError("flags and name expected")  # noqa: TRY004, TRY301  caught below
        except ValueError as error:
            raise self._channel.violation(f"a LIST answer that is none: {error}") from None
        attributes = {flag.lower() for flag in flags if isinstance(flag, bytes)}
        return ListedFolder(
            raw=raw,
            name=_decoded(raw),
            separator=separator.decode("latin-1") if isinstance(separator, bytes) else "",
            selectable=not attributes & {b"\\noselect", b"\\nonexistent"},
        )

    def personal_namespace(self) -> tuple[str, str] | None:
        """Return prefix and separator of the user's own folders; None if the server cannot say."""
        if "NAMESPACE" not in self.capabilities:
            return None
        with self._speaking("NAMESPACE"):
            spaces = self._client.namespace()
        if not spaces.personal:
            return None
        prefix, separator = spaces.personal[0]
        return _decoded(prefix or b""), separator or ""

    def foreign_prefixes(self) -> tuple[str, ...]:
        """Return the prefixes of other users' and shared folders."""
        if "NAMESPACE" not in self.capabilities:
            return ()
        with self._speaking("NAMESPACE"):
            spaces = self._client.namespace()
        prefixes = [prefix for group in (spaces.other, spaces.shared) for prefix, _ in group or ()]
        return tuple(_decoded(prefix) for prefix in prefixes if prefix)

    def counts(self, raw: bytes) -> tuple[int, int | None]:
        """Return a folder's messages and, where the server can say it, their bytes."""
        wanted = ["MESSAGES"]
        if "STATUS=SIZE" in self.capabilities:
            wanted.append("SIZE")  # RFC 8438
        with self._speaking("STATUS"):
            status = self._client.folder_status(raw, wanted)
        return int(status.get(b"MESSAGES", 0)), status.get(b"SIZE")

    def standing(self, raw: bytes) -> tuple[int, int | None]:
        """Return a folder's messages and next UID, which change when something is stored in it."""
        with self._speaking("STATUS"):
            status = self._client.folder_status(raw, ["MESSAGES", "UIDNEXT"])
        return int(status.get(b"MESSAGES", 0)), status.get(b"UIDNEXT")

    def open(self, raw: bytes, *, read_only: bool) -> OpenFolder:
        r"""Select a folder; read-only is EXAMINE, which changes nothing, not even \Recent."""
        with self._speaking("EXAMINE" if read_only else "SELECT"):
            answer = self._client.select_folder(raw, readonly=read_only)
        return OpenFolder(
            exists=int(answer.get(b"EXISTS", 0)),
            uid_validity=int(answer.get(b"UIDVALIDITY", 0)),
            permanent_flags=answer.get(b"PERMANENTFLAGS"),
        )

    def create(self, raw: bytes) -> None:
        """Create a folder.

        Raises
        ------
        CommandRefusedError
            With the code ALREADYEXISTS where the server says so.
        """
        with self._brief():
            self._channel.run(b"CREATE", astring(raw), command="CREATE")

    def subscribe(self, raw: bytes) -> None:
        """Subscribe to a folder; some servers refuse a second time."""
        with self._brief():
            self._channel.run(b"SUBSCRIBE", astring(raw), command="SUBSCRIBE")

    def add_flags(self, uids: Sequence[int], flags: Sequence[bytes]) -> None:
        """Add flags to messages of the selected folder; checked by the caller."""
        words = b"+FLAGS.SILENT (" + b" ".join(flags) + b")"
        for numbers in sequence_sets(uids):
            with self._channel.wire.within(self._patience.window):
                self._channel.run(b"UID STORE", numbers, words, command="STORE")

    def close(self) -> None:
        """Log out if the server answers soon, and close the connection in any case."""
        with (
            contextlib.suppress(EngineError),
            self._channel.wire.within(5.0, at_most=MAX_SHORT_ANSWER),
        ):
            self._channel.run(b"LOGOUT", command="LOGOUT")
        self.abandon()

    def give_up(self) -> None:
        """Let another thread that uses the connection end soon; only closing it is left."""
        self._channel.wire.give_up()

    def abandon(self) -> None:
        """Close the connection without a word; for one that broke or is amid an answer."""
        self._channel.wire.close()

    def _brief(self) -> AbstractContextManager[object]:
        """Give one command its deadline, and its answer a limit."""
        return self._channel.wire.within(self._patience.command, at_most=MAX_SHORT_ANSWER)

    @contextlib.contextmanager
    def _speaking(self, command: str) -> Iterator[None]:
        """Give imapclient a deadline and turn its errors into ours, here and only here."""
        try:
            with self._brief():
                yield
        except imaplib.IMAP4.readonly:
            raise CommandRefusedError(
                command, side=self.side, code="READ-ONLY", text="the folder is read-only"
            ) from None
        except imaplib.IMAP4.abort as error:
            raise self._aborted(str(error)) from None
        except imaplib.IMAP4.error as error:
            # imapclient's form is "select failed: text".
            _, _, text = str(error).rpartition("failed: ")
            status = parse_status_text(text.encode(), secrets=self._masked)
            raise status_error(command, status=status, side=self.side) from None
        except (ImapclientProtocolError, UnicodeError, ValueError, IndexError) as error:
            raise self._channel.violation(
                f"an answer to {command} that is none ({type(error).__name__})"
            ) from None

    def _aborted(self, words: str) -> EngineError:
        # imaplib aborts on BYE, with its text, and on a line that it does not understand, with that
        # line. Its form is "command: SELECT => text"; an end without a word is the wire's to tell.
        _, arrow, text = words.rpartition("=> ")
        said = text if arrow else words
        if said.startswith(_UNEXPECTED):
            return self._channel.violation("a line that answers no command")
        return farewell_error(
            parse_status_text(said.encode(), secrets=self._masked), side=self.side
        )


def encode_name(name: str) -> bytes:
    """Return a folder name in modified UTF-7; control characters come out as harmless base64."""
    return bytes(utf7_encode(name))


def _decoded(raw: bytes) -> str:
    """Return a name decoded from modified UTF-7, or as Latin-1 where it is not valid."""
    try:
        return str(utf7_decode(raw))
    except (UnicodeError, ValueError):
        return raw.decode("latin-1")

"""A session: a logged-in connection to one side, with the commands that the engine uses."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from mailsync_api.endpoint import Compression
from mailsync_syncjob.errors import CommandRefusedError, EngineError, TokenRefusedError
from mailsync_syncjob.imap.append import Writer
from mailsync_syncjob.imap.auth import log_in
from mailsync_syncjob.imap.capabilities import ask_capabilities, capabilities_among
from mailsync_syncjob.imap.channel import (
    MAX_LONG_ANSWER,
    MAX_SHORT_ANSWER,
    MAX_SMALL_TALK,
    Command,
)
from mailsync_syncjob.imap.fetch import Reader
from mailsync_syncjob.imap.selecting import OpenFolder, read_opened
from mailsync_syncjob.imap.survey import (
    Asking,
    read_standings,
    read_survey,
    standing_key,
    status_command,
)
from mailsync_syncjob.imap.syntax import astring, quoted, sequence_sets
from mailsync_syncjob.imap.ways import along

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from mailsync_api.status import TLSFacts
    from mailsync_syncjob.credentials import Endpoint
    from mailsync_syncjob.deadline import Patience
    from mailsync_syncjob.imap.connect import Connected, Connector
    from mailsync_syncjob.imap.survey import Standing, Survey
    from mailsync_syncjob.party import Party

__all__ = ["Session", "open_session"]

HOLD_BYTES: Final = 8 << 20
"""The largest message that is held in memory."""
_CAPABILITY: Final = Command("CAPABILITY", (b"CAPABILITY",))


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
        told = log_in(connected, endpoint=endpoint, seconds=connector.patience.greeting)
        session = Session(connected, patience=connector.patience, side=endpoint.side, told=told)
        if endpoint.account.compression is Compression.DEFLATE:
            session.compress()
    except BaseException:
        connected.channel.wire.close()
        raise
    return session


class Session:
    """One logged-in connection, used by one thread.

    Parameters
    ----------
    told
        What the server announced along with the login; None if it did not.
    """

    def __init__(
        self,
        connected: Connected,
        *,
        patience: Patience,
        side: Party,
        told: frozenset[str] | None,
    ) -> None:
        self.side: Party = side
        self.facts: TLSFacts = connected.facts
        self._channel = connected.channel
        self._patience = patience
        self._before = connected.capabilities
        self._told = told
        self._writer: Writer | None = None
        self.reader = Reader(self._channel, patience=patience, hold_bytes=HOLD_BYTES)
        self.compression: Compression | None = None
        """What came about of the compression that was asked for; None where none was."""

    def compress(self) -> None:
        """Compress what is said from now on, if the server can do that (RFC 4978)."""
        self.compression = Compression.NONE
        if "COMPRESS=DEFLATE" not in self.capabilities:
            return
        # Nothing else is under way, so that what comes behind the consent is compressed.
        try:
            with self._brief():
                self._channel.run(b"COMPRESS DEFLATE", command="COMPRESS")
        except CommandRefusedError:
            return  # TLS may compress already (COMPRESSIONACTIVE)
        self._channel.wire.compress()
        self.compression = Compression.DEFLATE

    @property
    def capabilities(self) -> frozenset[str]:
        """What the server announces to who is logged in, in upper case; it is asked once."""
        if self._told is None:
            with self._channel.wire.within(self._patience.command, at_most=MAX_SMALL_TALK):
                self._told = ask_capabilities(self._channel)
        return self._told

    @property
    def writer(self) -> Writer:
        """What stores messages."""
        if self._writer is None:
            self._writer = Writer(
                self._channel, patience=self._patience, capabilities=self.capabilities
            )
        return self._writer

    def survey(self, *, sizes: bool) -> Survey:
        """Return what there is, with one wait where the server can say it at once.

        Parameters
        ----------
        sizes
            Whether the folders' bytes are of interest.

        Raises
        ------
        CommandRefusedError
            The server does not list its folders.
        """
        also: tuple[Command, ...] = ()
        if self._told is None and "NAMESPACE" in self._before:
            # What it announced before the login, under the same protection, is enough to begin.
            also, announced = (_CAPABILITY,), self._before
        else:
            announced = self.capabilities
        asking = Asking(announced, sizes)
        at_once = asking.at_once
        with self._lengthy():
            commands = asking.commands(at_once=at_once)
            flight = self._channel.fly((*also, *commands))
            if also:
                flight.check(_CAPABILITY)
                self._told = capabilities_among(flight.untagged)
            if at_once and flight.refusal(commands[0]) is not None:
                # Announced is not always enough.
                commands = asking.commands(at_once=False)
                flight = self._channel.fly(commands)
        flight.check(*commands)
        return read_survey(self._channel, flight)

    def standings(self, names: Sequence[bytes], *, sizes: bool) -> dict[bytes, Standing]:
        """Return how these folders stand, by raw name; those that it is refused for are missing."""
        names = [raw for raw in names if quoted(raw) is not None]
        if not names:
            return {}
        items = Asking(self.capabilities, sizes).items
        with self._lengthy():
            flight = self._channel.fly([status_command(raw, items) for raw in names])
        found = read_standings(self._channel, flight.untagged)
        if len(names) == len(found) == 1:
            return dict(zip(names, found.values(), strict=True))  # however it spells the name
        return {raw: found[key] for raw in names if (key := standing_key(raw)) in found}

    def standing(self, raw: bytes) -> Standing | None:
        """Return how a folder stands now; None if the server does not say it."""
        return self.standings([raw], sizes=False).get(raw)

    def open(
        self, raw: bytes, *, read_only: bool, expected: int = 0, brief: bool = False
    ) -> OpenFolder:
        r"""Select a folder; read-only is EXAMINE, which changes nothing, not even \Recent.

        Parameters
        ----------
        expected
            How many messages it is thought to have. Their first window is asked for in the same
            breath. What is believed is the answer: the reader asks anew if they are not as many.
        brief
            Whether that window is wanted without headers.
        """
        opening = (b"EXAMINE" if read_only else b"SELECT", self._named(raw), *self._also_changes)
        commands = [Command.of(*opening)]
        if expected:
            commands.append(self.reader.first(expected, brief=brief))
        with self._brief():
            tag, *ahead = self._channel.send_all(*commands)
            for command, its in zip(commands[1:], ahead, strict=True):
                self.reader.expect(command, its)
            try:
                outcome = self._channel.finish(tag, command=commands[0].name)
            except CommandRefusedError:
                self.reader.forget()
                raise
        return read_opened(self._channel, outcome, read_only=read_only)

    @property
    def _also_changes(self) -> tuple[bytes, ...]:
        """What has the server tell HIGHESTMODSEQ; some do only in sessions that ask for it."""
        # What is not known yet is not worth a wait.
        announced = self._before if self._told is None else self._told
        return () if {"CONDSTORE", "QRESYNC"}.isdisjoint(announced) else (b"(CONDSTORE)",)

    def lists(self, raw: bytes) -> bool:
        """Whether the server lists a folder of this name."""
        with self._brief():
            outcome = self._channel.run(b"LIST", b'""', astring(raw), command="LIST")
        listed = [r.text.lower() for r in outcome.untagged if r.text[:5].upper() == b"LIST "]
        return any(b"\\nonexistent" not in text and b"\\noselect" not in text for text in listed)

    def create(self, raw: bytes) -> None:
        """Create a folder.

        Raises
        ------
        CommandRefusedError
            With the code ALREADYEXISTS where the server says so.
        """
        with self._brief():
            self._channel.run(b"CREATE", self._named(raw), command="CREATE")

    def subscribe(self, raw: bytes) -> None:
        """Subscribe to a folder; some servers refuse a second time."""
        with self._brief():
            self._channel.run(b"SUBSCRIBE", self._named(raw), command="SUBSCRIBE")

    def create_all(
        self, names: Sequence[bytes], *, subscribe: Sequence[bytes]
    ) -> tuple[frozenset[bytes], frozenset[bytes]]:
        """Create folders and subscribe to some, with one wait for all of them.

        Returns
        -------
        tuple
            The names that exist now, and those that are subscribed. What was refused is left out:
            asked for alone, it is told why.
        """
        creating = {r: Command.of(b"CREATE", name) for r in names if (name := quoted(r))}
        subscribing = {r: Command.of(b"SUBSCRIBE", name) for r in subscribe if (name := quoted(r))}
        with self._lengthy():
            flight = self._channel.fly([*creating.values(), *subscribing.values()])
        refusals = {raw: flight.refusal(command) for raw, command in creating.items()}
        return (
            frozenset(
                raw
                for raw, refusal in refusals.items()
                if refusal is None or refusal.code == "ALREADYEXISTS"
            ),
            frozenset(raw for raw, each in subscribing.items() if flight.refusal(each) is None),
        )

    def add_flags(self, uids: Sequence[int], flags: Sequence[bytes]) -> None:
        """Add flags to messages of the selected folder; checked by the caller."""
        words = b"+FLAGS.SILENT (" + b" ".join(flags) + b")"
        self.reader.forget()
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

    def _named(self, raw: bytes) -> bytes:
        """Return a folder's name for a command.

        Raises
        ------
        CommandRefusedError
            It holds what no quoted string can carry, or it is too long for a line; nothing is sent.
        """
        name = quoted(raw)
        if name is None:
            text = "its name has bytes that no command can carry, or too many"
            raise CommandRefusedError("the opening", side=self.side, code="CANNOT", text=text)
        return name

    def _lengthy(self) -> AbstractContextManager[object]:
        """Give commands about many things at once their deadline, and their answers a limit."""
        self.reader.forget()
        return self._channel.wire.within(self._patience.window, at_most=MAX_LONG_ANSWER)

    def _brief(self) -> AbstractContextManager[object]:
        """Give one command its deadline, and its answer a limit."""
        self.reader.forget()
        return self._channel.wire.within(self._patience.command, at_most=MAX_SHORT_ANSWER)

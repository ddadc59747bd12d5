"""What a row of the table of faults is, and the place where it happens."""

from __future__ import annotations

import imaplib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum

from mailsync_api.conditions import Reason
from mailsync_api.endpoint import Side
from mailsync_api.exitcodes import EXIT_TABLE, ExitCode
from tests.faults.relay import Trouble
from tests.support.dovecot import Dovecot, Settings
from tests.support.imap import layout, quote, run
from tests.support.mailbox import Message, plain_message
from tests.support.recorded import PASSWORD

__all__ = ["BOTH", "LARGE", "MAILBOX", "MORE", "Fault", "Holds", "Scene"]

BOTH = (Side.SOURCE, Side.DESTINATION)
_BARE = b"From: root@example.org\r\nSubject: Cron job\r\n\r\n"

MAILBOX: tuple[Message, ...] = (
    *(plain_message(number) for number in range(60)),
    *(plain_message(7), plain_message(7)),
    *(
        Message(("INBOX",), _BARE + text, (), plain_message(1).date)
        for text in (b"a\r\n", b"b\r\n")
    ),
    *(plain_message(number, path=("Plans",), flags=["\\Seen"]) for number in range(60, 72)),
    *(plain_message(number, path=("Work",), flags=["todo"]) for number in range(72, 80)),
    plain_message(80, path=("Work",), size=40_000),
)
"""More than one batch in INBOX, messages that are there three times, two that are nearly equal."""

LARGE: tuple[Message, ...] = (plain_message(90, path=("Work",), size=10_000_000),)
"""More than any buffer between two processes holds."""


MORE: tuple[Message, ...] = tuple(plain_message(number, size=8000) for number in range(80))
"""More than a small disk holds."""


class Holds(Enum):
    """What the destination has when the run has ended; never anything twice."""

    ALL = "all"
    PART = "a part"
    NONE = "nothing"


@dataclass
class Scene:
    """Both servers and the account of one row."""

    servers: dict[Side, Dovecot]
    user: str
    held: ExitStack = field(default_factory=ExitStack)

    @contextmanager
    def login(self, side: Side) -> Iterator[imaplib.IMAP4]:
        """Log in beside the engine."""
        with self.servers[side].login(self.user, PASSWORD) as session:
            yield session

    def hold(self, side: Side) -> None:
        """Keep as many connections open as the server allows."""
        server = self.servers[side]
        with suppress(imaplib.IMAP4.error):
            while True:
                session = imaplib.IMAP4(server.host, server.port)
                self.held.callback(_log_out, session)
                session.authenticate("PLAIN", lambda _: f"\0{self.user}\0{PASSWORD}".encode())

    def let_go(self) -> None:
        """Close what was kept open."""
        self.held.close()

    def run(self, side: Side, *commands: bytes, folder: str | None = None) -> None:
        """Give commands beside the engine, in a selected folder if one is named."""
        with self.login(side) as session:
            if folder is not None:
                run(session, b"SELECT " + quote(layout(session).raw((folder,))))
            for command in commands:
                run(session, command)


def _log_out(session: imaplib.IMAP4) -> None:
    try:
        with suppress(imaplib.IMAP4.error):
            session.logout()
    finally:
        with suppress(OSError):
            session.shutdown()  # a refused LOGOUT leaves the socket open


def _nothing(_: Scene) -> None:
    """Do nothing."""


@dataclass(frozen=True)
class Fault:
    """One row.

    Attributes
    ----------
    trouble
        What goes wrong on the way to a side.
    holds
        What the destination has after the run.
    short
        Whether deadlines are short; for rows that end, or go on, by one.
    own
        Settings of a server of the row's own; None for one that all rows share.
    there
        What the destination has from the start.
    before
        What is done before the run.
    cure
        What is done before the next run.
    changed
        Whether the source is changed meanwhile, so that the first run need not copy all of it.
    words
        What the message says.
    """

    name: str
    trouble: Callable[[Scene, Side], Trouble]
    code: ExitCode = ExitCode.DONE
    holds: Holds = Holds.ALL
    sides: tuple[Side, ...] = BOTH
    short: bool = False
    own: Settings | None = None
    mailbox: tuple[Message, ...] = MAILBOX
    there: tuple[Message, ...] = ()
    before: Callable[[Scene], None] = _nothing
    cure: Callable[[Scene], None] = _nothing
    changed: bool = False
    happens: bool = True
    words: str = ""
    finer: Reason | None = field(default=None)

    @property
    def reason(self) -> Reason:
        """What the condition says."""
        return self.finer or EXIT_TABLE[self.code].reason

"""The table of faults; ``docs/faults.md`` shows the same one, a test keeps them equal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from mailsync_api.endpoint import Side
from mailsync_api.exitcodes import ExitCode
from tests.faults import acts
from tests.faults.acts import amid, asks, at_greeting, beside, stored
from tests.faults.case import MAILBOX, MORE, Fault, Holds, Scene
from tests.faults.relay import Trouble
from tests.support.dovecot import Settings

__all__ = ["FAULTS", "table"]

_SOURCE: Final = (Side.SOURCE,)
_DESTINATION: Final = (Side.DESTINATION,)
_LISTS: Final = asks(b" LIST ")
_COMPARES: Final = asks(b" FETCH 1:")
_READS: Final = asks(b"BODY.PEEK[])")
_STORES: Final = asks(*(b' APPEND "' + name for name in (b"INBOX", b"Plans", b"Work")))
_HALF: Final = MAILBOX[:30]
_WORK: Final = tuple(message for message in MAILBOX if message.path == ("Work",))

_SILENCE: Final = (
    Fault(
        "it vanishes before its greeting",
        amid(at_greeting, acts.freeze),
        ExitCode.UNREACHABLE,
        Holds.NONE,
        short=True,
    ),
    Fault(
        "it vanishes each time at the list of folders",
        amid(_LISTS, acts.freeze),
        ExitCode.CONNECTION_LOST,
        Holds.NONE,
        short=True,
    ),
    Fault(
        "it vanishes once at the list of folders", amid(_LISTS, acts.freeze, times=1), short=True
    ),
    Fault(
        "it vanishes each time in a comparison",
        amid(_COMPARES, acts.freeze),
        ExitCode.CONNECTION_LOST,
        Holds.NONE,
        short=True,
        there=_HALF,
    ),
    Fault(
        "it vanishes once in a comparison",
        amid(_COMPARES, acts.freeze, times=1),
        short=True,
        there=_HALF,
    ),
    Fault(
        "it vanishes each time while messages are read",
        amid(_READS, acts.freeze),
        ExitCode.CONNECTION_LOST,
        Holds.NONE,
        sides=_SOURCE,
        short=True,
    ),
    Fault(
        "it vanishes once while messages are read",
        amid(_READS, acts.freeze, times=1),
        sides=_SOURCE,
        short=True,
    ),
    Fault(
        "it vanishes each time before a message reaches it",
        amid(_STORES, acts.freeze),
        ExitCode.CONNECTION_LOST,
        Holds.NONE,
        sides=_DESTINATION,
        short=True,
    ),
    Fault(
        "it vanishes each time when it has stored messages, before it says so",
        amid(stored, acts.freeze),
        sides=_DESTINATION,
        short=True,
    ),
)

_SLOWNESS: Final = (
    Fault(
        "1 byte a second from the greeting on",
        amid(at_greeting, acts.drip_down),
        ExitCode.UNREACHABLE,
        Holds.NONE,
        short=True,
    ),
    Fault(
        "1 byte a second from the list of folders on, each time",
        amid(_LISTS, acts.drip_down),
        ExitCode.CONNECTION_LOST,
        Holds.NONE,
        short=True,
    ),
    Fault(
        "1 byte a second in a comparison, each time",
        amid(_COMPARES, acts.drip_down),
        ExitCode.CONNECTION_LOST,
        Holds.NONE,
        short=True,
        there=_HALF,
    ),
    Fault(
        "1 byte a second in a message, each time",
        amid(_READS, acts.drip_down),
        ExitCode.CONNECTION_LOST,
        Holds.NONE,
        sides=_SOURCE,
        short=True,
    ),
    Fault(
        "1 byte a second in a message, once",
        amid(_READS, acts.drip_down, times=1),
        sides=_SOURCE,
        short=True,
    ),
    Fault(
        "1 byte a second in the answer that messages are stored, each time",
        amid(stored, acts.drip_down),
        sides=_DESTINATION,
        short=True,
    ),
)

_CUTS: Final = (
    Fault("the connection is cut once at the list of folders", amid(_LISTS, acts.cut, times=1)),
    Fault(
        "it is cut each time when it has stored messages, before it says so",
        amid(stored, acts.cut),
        sides=_DESTINATION,
    ),
    Fault(
        "it is stopped and started again while messages are copied",
        beside(_READS, acts.restart, after=1),
        sides=_SOURCE,
        own=Settings(),
    ),
    Fault(
        "it is stopped and started again while messages are copied",
        beside(stored, acts.restart),
        sides=_DESTINATION,
        own=Settings(),
    ),
    Fault(
        "it is stopped for good while messages are copied",
        beside(_STORES, acts.stop, after=1),
        ExitCode.CONNECTION_LOST,
        Holds.PART,
        sides=_DESTINATION,
        own=Settings(),
        cure=lambda scene: scene.servers[Side.DESTINATION].start(),
    ),
    Fault(
        "it is stopped for good while messages are copied",
        beside(_READS, acts.stop, after=1),
        ExitCode.CONNECTION_LOST,
        Holds.PART,
        sides=_SOURCE,
        own=Settings(),
        cure=lambda scene: scene.servers[Side.SOURCE].start(),
    ),
)


def _work(*commands: bytes) -> acts.Make:
    """Change the source's folder while it is opened, before its messages are listed."""

    def change(scene: Scene, side: Side) -> None:
        scene.run(side, *commands, folder="Work")

    return beside(asks(b"BODY.PEEK[])"), change, after=2)


_CHANGES: Final = (
    Fault(
        "a folder is deleted and made anew with other UIDs while it is copied",
        beside(_READS, acts.recreate("Work", *reversed(_WORK)), after=2),
        sides=_SOURCE,
        own=Settings(mail_location="maildir"),
    ),
    Fault(
        "a folder is deleted and made anew while it is copied",
        beside(_STORES, acts.recreate("Work"), after=3),
        sides=_DESTINATION,
        own=Settings(mail_location="maildir"),
    ),
    Fault(
        "a folder is deleted while messages are copied to it",
        beside(_STORES, acts.burn("Work"), after=3),
        sides=_DESTINATION,
    ),
    Fault(
        "a folder is deleted before its turn",
        beside(_READS, acts.burn("Work")),
        ExitCode.SKIPPED_ITEMS,
        sides=_SOURCE,
        changed=True,
    ),
    Fault(
        "a folder is deleted while its messages are read",
        beside(_READS, acts.burn("Work"), after=2),
        ExitCode.SKIPPED_ITEMS,
        sides=_SOURCE,
        changed=True,
    ),
    Fault(
        "messages are expunged while they are read",
        _work(b"STORE 2:4 +FLAGS.SILENT (\\Deleted)", b"EXPUNGE"),
        sides=_SOURCE,
        changed=True,
    ),
    Fault(
        "flags are added while messages are read",
        _work(b"STORE 1:3 +FLAGS.SILENT (\\Flagged later)"),
        sides=_SOURCE,
        changed=True,
    ),
)


def _quota(storage: str, *, largest: str = "0") -> Settings:
    """Return a server with room for so much mail in an account, and for so much in one message."""
    plugins = "mail_plugins = quota\nprotocol imap {\n  mail_plugins = quota imap_quota\n}"
    rules = f"quota = count:All\n  quota_vsizes = yes\n  quota_rule = *:storage={storage}"
    most = f"quota_max_mail_size = {largest}"
    return Settings(extra=f"{plugins}\nplugin {{\n  {rules}\n  {most}\n}}")


def _restarted(settings: Settings) -> Callable[[Scene], None]:
    return lambda scene: scene.servers[Side.DESTINATION].restart(extra=settings.extra)


def _crowded(scene: Scene, side: Side) -> Trouble:
    """Take all connections that the account may have, for as long as the first run lasts."""
    scene.hold(side)
    return Trouble()


_LIMITS: Final = (
    Fault(
        "the mailbox is full after a few messages",
        acts.none,
        ExitCode.OVER_QUOTA,
        Holds.PART,
        sides=_DESTINATION,
        own=_quota("10K"),
        cure=_restarted(_quota("10M")),
        happens=False,
        words="raise the mailbox's quota",
    ),
    Fault(
        "one message is larger than what is left of the quota",
        acts.none,
        ExitCode.OVER_QUOTA,
        Holds.PART,
        sides=_DESTINATION,
        own=_quota("40K"),
        cure=_restarted(_quota("10M")),
        happens=False,
    ),
    Fault(
        "one message is larger than it takes",
        acts.none,
        ExitCode.SKIPPED_ITEMS,
        Holds.PART,
        sides=_DESTINATION,
        own=_quota("10M", largest="30K"),
        cure=_restarted(_quota("10M")),
        happens=False,
    ),
    Fault(
        "its disk is full after a few messages",
        acts.none,
        ExitCode.CONNECTION_LOST,
        Holds.PART,
        sides=_DESTINATION,
        own=Settings(disk="400k"),
        cure=lambda scene: scene.servers[Side.DESTINATION].resize_disk("40m"),
        happens=False,
        mailbox=MORE,
    ),
    Fault(
        "too many connections at the login",
        _crowded,
        ExitCode.THROTTLED,
        Holds.NONE,
        own=Settings(extra="mail_max_userip_connections = 3"),
        cure=lambda scene: scene.let_go(),
        happens=False,
    ),
)

FAULTS: Final[tuple[Fault, ...]] = (*_SILENCE, *_SLOWNESS, *_CUTS, *_CHANGES, *_LIMITS)


def table() -> str:
    """Return the rows as Markdown."""
    rows = [
        "| what the server does | side | exit code | reason | destination |",
        "|---|---|---|---|---|",
    ]
    for fault in FAULTS:
        sides = " or ".join(str(side) for side in fault.sides)
        end = f"{int(fault.code)} | `{fault.reason}` | {fault.holds.value}"
        rows.append(f"| {fault.name} | {sides} | {end} |")
    return "\n".join(rows)

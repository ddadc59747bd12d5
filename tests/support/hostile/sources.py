"""Sources that try to have commands of theirs run at the destination, or to break the copy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from mailsync_api.exitcodes import EXIT_TABLE, ExitCode
from tests.support.between import mail
from tests.support.scripted import TinyServer, numbers

if TYPE_CHECKING:
    from tests.support.scripted import Peer

__all__ = ["MAILS", "SOURCES", "HostileSource", "sources_table"]

MAILS: Final = {1: mail(1), 2: mail(2, b"x DELETE Keep\r\n)\r\n* BYE"), 5: mail(5)}
_RUN: Final = b'x DELETE "Keep"'
_DATE: Final = b'"01-Jan-2024 00:00:00 +0000"'


@dataclass(frozen=True)
class HostileSource:
    """One row.

    Attributes
    ----------
    make
        The server, from its messages.
    copied
        How many messages arrive; None where that is as it happens.
    also
        Bodies that may arrive beside the messages: what the source says that they are.
    slow
        Whether it ends by a deadline.
    """

    name: str
    make: Callable[[], TinyServer]
    code: ExitCode = ExitCode.DONE
    copied: int | None = len(MAILS)
    also: tuple[bytes, ...] = ()
    slow: bool = False


def _literal(text: bytes) -> bytes:
    return b"{%d}\r\n" % len(text) + text


def _listing(
    *, flags: bytes = b"()", date: bytes = _DATE, size: bytes = b"%d", uid: bytes = b"%d"
) -> Callable[[], TinyServer]:
    """Return a source that says this of all its messages."""

    def listing(peer: Peer, tag: bytes, rest: bytes) -> None:
        for number, (key, body) in enumerate(MAILS.items(), start=1):
            head = body.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
            shown = uid % key if b"%" in uid else uid
            long = size % len(body) if b"%" in size else size
            peer.send(
                b"* %d FETCH (UID %s FLAGS %s INTERNALDATE %s RFC822.SIZE %s"
                % (number, shown, flags, date, long)
            )
            if b"HEADER" in rest:
                peer.send(b" BODY[HEADER.FIELDS (X)] " + _literal(head))
            peer.send(b")\r\n")
        peer.send(tag + b" OK done\r\n")

    return lambda: TinyServer(dict(MAILS), answers={b"FETCH": listing})


def _bodies(
    answer: Callable[[int, int, bytes], bytes], *, end: bytes = b"OK done"
) -> Callable[[], TinyServer]:
    """Return a source that answers so for each message: its number, its UID and its bytes."""

    def bodies(peer: Peer, tag: bytes, rest: bytes) -> None:
        wanted = numbers(rest.split(b" ")[2])
        for number, (uid, body) in enumerate(MAILS.items(), start=1):
            if uid in wanted:
                peer.send(answer(number, uid, body).replace(b"%TAG", tag))
        peer.send(tag + b" " + end + b"\r\n")

    return lambda: TinyServer(dict(MAILS), answers={b"UID FETCH": bodies})


def _answers(**texts: bytes) -> Callable[[], TinyServer]:
    def answer(text: bytes) -> Any:
        return lambda peer, tag, _: peer.send(text + tag + b" OK done\r\n")

    named = {name.replace("_", " ").encode(): answer(text) for name, text in texts.items()}
    return lambda: TinyServer(dict(MAILS), answers=named)


def _folder(
    raw: bytes, *, separator: bytes = b'"/"', flags: bytes = b""
) -> Callable[[], TinyServer]:
    """Return a source with one more folder, which holds the same messages."""
    return _answers(LIST=b'* LIST () "/" INBOX\r\n* LIST (%s) %s %s\r\n' % (flags, separator, raw))


def _body(head: bytes, body: bytes, tail: bytes = b")\r\n") -> bytes:
    return head + b" BODY[] " + _literal(body) + tail


SOURCES: Final[tuple[HostileSource, ...]] = (
    # --- flags and dates
    HostileSource(
        "a flag with line ends and a command",
        _listing(flags=b"(" + _literal(b"a)\r\n" + _RUN + b"\r\n") + b")"),
    ),
    HostileSource(
        "a flag that closes the list and opens a literal", _listing(flags=b'("a) {3}" "b) {3+}")')
    ),
    HostileSource(
        "a flag with NUL, 8 bit and blanks",
        _listing(flags=b"(" + _literal(b"a\0b") + b' "\xff" "a b" "")'),
    ),
    HostileSource(
        "flags that are wildcards and backslashes",
        _listing(flags=b'("\\\\*" "\\\\\\\\" "%" "*" \\Recent)'),
    ),
    HostileSource("a flag of 100 KB", _listing(flags=b"(" + _literal(b"k" * 100_000) + b")")),
    HostileSource("flags within flags", _listing(flags=b"((\\Seen) (a b))")),
    HostileSource("NIL for flags", _listing(flags=b"NIL")),
    HostileSource(
        "5000 keywords", _listing(flags=b"(" + b" ".join(b"k%d" % n for n in range(5000)) + b")")
    ),
    HostileSource(
        "a date with line ends and a command",
        _listing(date=_literal(b'01-Jan-2024 00:00:00 +0000"\r\n' + _RUN + b"\r\n")),
    ),
    HostileSource("a date with quotes", _listing(date=b'"01-Jan-2024 00:00:00 +0000\\" {3}"')),
    HostileSource("NIL for a date", _listing(date=b"NIL")),
    HostileSource("a date of the year 0", _listing(date=b'"01-Jan-0000 00:00:00 +0000"')),
    # --- sizes and numbers
    HostileSource("a size that is too small", _listing(size=b"1")),
    HostileSource("a size of 0", _listing(size=b"0")),
    HostileSource(
        "a size of 2^63", _listing(size=b"9223372036854775808"), code=ExitCode.PROTOCOL, copied=0
    ),
    HostileSource("a negative size", _listing(size=b"-1"), ExitCode.PROTOCOL, 0),
    HostileSource("one UID for all", _listing(uid=b"1"), code=ExitCode.PROTOCOL, copied=0),
    HostileSource("UID 0", _listing(uid=b"0"), code=ExitCode.PROTOCOL, copied=0),
    HostileSource(
        "a UID of 2^40", _listing(uid=b"1099511627776"), code=ExitCode.PROTOCOL, copied=0
    ),
    HostileSource(
        "a UID with a command", _listing(uid=_literal(b"1\r\n" + _RUN)), ExitCode.PROTOCOL, 0
    ),
    # --- bodies
    HostileSource(
        "a message without a UID",
        _bodies(lambda n, _, b: _body(b"* %d FETCH (" % n, b)),
        ExitCode.PROTOCOL,
        0,
    ),
    HostileSource(
        "messages with UIDs of others",
        _bodies(lambda n, u, b: _body(b"* %d FETCH (UID %d" % (n, u + 90), b)),
        copied=0,
    ),
    HostileSource(
        "each message twice, the second time another",
        _bodies(
            lambda n, u, b: (
                _body(b"* %d FETCH (UID %d" % (n, u), b)
                + _body(b"* %d FETCH (UID %d" % (n, u), b"evil")
            )
        ),
    ),
    HostileSource(
        "NIL for a message",
        _bodies(lambda n, u, _: b"* %d FETCH (UID %d BODY[] NIL)\r\n" % (n, u)),
        ExitCode.SKIPPED_ITEMS,
        0,
    ),
    HostileSource(
        "a message as a quoted string",
        _bodies(lambda n, u, _: b'* %d FETCH (UID %d BODY[] "x \\"y\\" {3}")\r\n' % (n, u)),
        also=(b'x "y" {3}',),
    ),
    HostileSource(
        "a literal that is longer than its size",
        _bodies(
            lambda n, u, b: (
                b"* %d FETCH (UID %d BODY[] {%d}\r\n" % (n, u, len(b) - 9) + b + b")\r\n"
            )
        ),
        ExitCode.PROTOCOL,
        0,
    ),
    HostileSource(
        "a literal that is shorter than its size",
        _bodies(
            lambda n, u, b: (
                b"* %d FETCH (UID %d BODY[] {%d}\r\n" % (n, u, len(b) + 9000) + b + b")\r\n"
            )
        ),
        ExitCode.CONNECTION_LOST,
        0,
        slow=True,
    ),
    HostileSource(
        "a literal of 1 PB",
        _bodies(lambda n, u, b: b"* %d FETCH (UID %d BODY[] {1000000000000000}\r\n" % (n, u) + b),
        ExitCode.PROTOCOL,
        0,
        slow=True,
    ),
    HostileSource(
        "a literal of 30 digits",
        _bodies(lambda n, u, b: b"* %d FETCH (UID %d BODY[] {" % (n, u) + b"9" * 30 + b"}\r\n" + b),
        ExitCode.PROTOCOL,
        0,
    ),
    HostileSource(
        "an endless line for a message",
        _bodies(lambda n, u, _: b"* %d FETCH (UID %d BODY[] " % (n, u) + b"x" * (2 << 20)),
        ExitCode.PROTOCOL,
        0,
    ),
    HostileSource(
        "an end before the messages",
        _bodies(lambda n, u, b: b"%TAG OK done\r\n" + _body(b"* %d FETCH (UID %d" % (n, u), b)),
        code=ExitCode.PROTOCOL,
        copied=None,
    ),
    HostileSource(
        "commands between the messages",
        _bodies(lambda n, u, b: _RUN + b"\r\n" + _body(b"* %d FETCH (UID %d" % (n, u), b)),
        ExitCode.PROTOCOL,
        0,
    ),
    HostileSource(
        "a refusal after each message",
        _bodies(
            lambda n, u, b: _body(b"* %d FETCH (UID %d" % (n, u), b), end=b"NO {5}\x0d " + _RUN
        ),
    ),
    # --- folders
    HostileSource(
        "a folder whose name has line ends and a command",
        _folder(_literal(b'a"\r\n' + _RUN + b"\r\n")),
        code=ExitCode.SKIPPED_ITEMS,
    ),
    HostileSource(
        "a folder whose name has quotes and backslashes", _folder(b'"a\\"b\\\\c\\" {3}"'), copied=6
    ),
    HostileSource("a folder whose name has wildcards", _folder(b'"a*b%c"'), copied=6),
    HostileSource(
        "a folder whose name has NUL and 8 bit",
        _folder(_literal(b"a\0b\xff\xfe")),
        code=ExitCode.SKIPPED_ITEMS,
    ),
    HostileSource(
        "a folder whose name codes line ends",
        _folder(b'"&AA0ACg-x DELETE Keep"'),
        code=ExitCode.SKIPPED_ITEMS,
    ),
    HostileSource("a folder whose name is not UTF-7", _folder(b'"&&&-&!"'), copied=6),
    HostileSource(
        "a folder that leads out", _folder(b'"../../../Keep"'), code=ExitCode.SKIPPED_ITEMS
    ),
    HostileSource(
        "a folder with a name of 10 KB",
        _folder(_literal(b"n" * 10_000)),
        code=ExitCode.SKIPPED_ITEMS,
    ),
    HostileSource("a folder with no name", _folder(b'""'), copied=6),
    HostileSource("INBOX again, spelt otherwise", _folder(b'"inbox"'), copied=6),
    HostileSource("a separator that is a quote", _folder(b'"a\\"b"', separator=b'"\\""'), copied=6),
    HostileSource(
        "a separator with line ends", _folder(b"a", separator=_literal(b"\r\n" + _RUN)), copied=6
    ),
    HostileSource(
        "a folder's attributes with a command",
        _folder(b"a", flags=_literal(b"\\x)\r\n" + _RUN)),
        copied=6,
    ),
)


def sources_table() -> str:
    """Return the rows as Markdown."""
    rows = ["| what the source sends | exit code | reason | messages copied |", "|---|---|---|---|"]
    for source in SOURCES:
        reason = EXIT_TABLE[source.code].reason
        shown = "some" if source.copied is None else source.copied
        rows.append(f"| {source.name} | {int(source.code)} | `{reason}` | {shown} |")
    return "\n".join(rows)

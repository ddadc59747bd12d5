"""Whether a server that announces literals without consent keeps them apart from commands.

James 3.8.1 announces LITERAL+, and where two small APPENDs arrive together it takes the bytes of
the first message for commands: a mail with a line ``x DELETE INBOX`` in it would delete the INBOX.
So before any bytes of a message go that way, harmless ones do: a few APPENDs to a folder that does
not exist, in one write, of lines that are NOOPs with tags of their own. A server that keeps framing
refuses each of them and has answered none of these lines; whatever another one makes of them does
nothing.
"""

from __future__ import annotations

import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from mailsync_syncjob.errors import CommandRefusedError, ConnectionLostError, ProtocolError
from mailsync_syncjob.imap.channel import MAX_SMALL_TALK
from mailsync_syncjob.imap.literals import SMALL_LITERAL, hearing
from mailsync_syncjob.imap.syntax import astring

if TYPE_CHECKING:
    from mailsync_syncjob.deadline import Patience
    from mailsync_syncjob.imap.channel import Channel

__all__ = ["framing_kept"]

_SECONDS: Final = 20.0
"""How long answers are waited for; a server that loses count may never answer."""
_LINES: Final = (1, 3, SMALL_LITERAL // 20, 1)
"""How many lines the messages have: small ones first, one that fills what LITERAL- allows."""


def framing_kept(channel: Channel, patience: Patience) -> bool:
    """Send the canary and return whether the server took it for what it is.

    After False the connection is not to be used any more.

    Raises
    ------
    ConnectionLostError
        The server ended the session, or the connection broke: which says nothing.
    """
    mailbox = astring(b"mailsync-canary-" + secrets.token_hex(8).encode("ascii"))
    out = bytearray()
    expected: list[bytes] = []
    for lines in _LINES:
        tag = channel.next_tag()
        expected.append(tag)
        data = b"".join(channel.next_tag() + b" NOOP\r\n" for _ in range(lines))
        out += b"%s APPEND %s {%d+}\r\n%s\r\n" % (tag, mailbox, len(data), data)
    last = channel.next_tag()
    expected.append(last)
    out += last + b" NOOP\r\n"
    with channel.wire.within(min(_SECONDS, patience.command), at_most=MAX_SMALL_TALK) as deadline:
        with hearing(channel):
            channel.wire.write(out)
        try:
            return _kept(channel, expected, mailbox)
        except ProtocolError:
            return False  # a line that answers nothing, or talk without end
        except ConnectionLostError as error:
            if error.said or deadline.left() > 0:
                raise
            return False


def _kept(channel: Channel, expected: list[bytes], mailbox: bytes) -> bool:
    """Read until the last command's end; whether each one was answered, in order, and no other."""
    stored = False
    for tag in expected:
        response = channel.read_response()
        while response.kind == "untagged" and response.text[:3].upper() != b"BAD":
            response = channel.read_response()
        if response.kind != "tagged" or response.tag != tag:
            return False
        word, _ = channel.status(response.text)
        stored = stored or (word == "OK" and tag != expected[-1])
    if stored:
        # RFC 9051 section 6.3.12 forbids to make a folder for it. It is ours alone.
        with suppress(CommandRefusedError):
            channel.run(b"DELETE", mailbox, command="DELETE")
    return True

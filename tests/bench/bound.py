"""The raw bound: how fast the destination takes mail from a client that does nothing else.

All messages are in memory beforehand, as the commands that store them: MULTIAPPENDs of 50 with
LITERAL+. Sessions are open and folders made. What is timed is the storing alone; nothing is
compared, checked or reported.
"""

from __future__ import annotations

import imaplib
import json
import re
import ssl
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from tests.support.imap import Layout, layout, quote, run

__all__ = ["main"]

_BATCH: Final = 50
_WINDOW: Final = 200
_FETCHED: Final = re.compile(
    rb'\* \d+ FETCH \(FLAGS \(([^)]*)\) INTERNALDATE ("[^"]+") BODY\[\] \{(\d+)\}\r\n'
)


class Shelves:
    """The commands that are left, by folder; connections keep to theirs for as long as they can."""

    def __init__(self, commands: dict[bytes, list[bytes]]) -> None:
        self._left = {folder: deque(each) for folder, each in commands.items()}
        self._at_work: dict[int, bytes] = {}
        self._lock = threading.Lock()

    def take(self, connection: int) -> bytes | None:
        """Return the next command for this connection; None when all are taken."""
        with self._lock:
            folder = self._at_work.pop(connection, b"")
            if not self._left.get(folder):
                # A folder for itself, or the one where there is most to share.
                free = self._left.keys() - self._at_work.values()
                folder = max(
                    self._left,
                    key=lambda name: (bool(self._left[name]), name in free, len(self._left[name])),
                )
            if not self._left[folder]:
                return None
            self._at_work[connection] = folder
            return self._left[folder].popleft()


def main() -> None:
    """Read the file with both accounts, read the source, store, print the seconds of storing."""
    task = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    with ExitStack() as stack:
        source = stack.enter_context(_login(task["source"]))
        sessions = [
            stack.enter_context(_login(task["destination"])) for _ in range(task["connections"])
        ]
        here = layout(source)
        there = _made(here, sessions[0])
        shelves = Shelves(dict(_commands(source, here, there)))
        threads = [
            threading.Thread(target=_store, args=(session, shelves, number))
            for number, session in enumerate(sessions)
        ]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(time.monotonic() - began)


def _store(session: imaplib.IMAP4, shelves: Shelves, number: int) -> None:
    while (command := shelves.take(number)) is not None:
        run(session, command)


def _login(account: dict[str, Any]) -> imaplib.IMAP4:
    host, port = account["host"], account["port"]
    if account["ca_pem"]:
        context = ssl.create_default_context(cadata=account["ca_pem"])
        session: imaplib.IMAP4 = imaplib.IMAP4_SSL(host, port, ssl_context=context)
    else:
        session = imaplib.IMAP4(host, port)
    session.authenticate("PLAIN", lambda _: f"\0{account['user']}\0{account['password']}".encode())
    return session


def _made(source: Layout, session: imaplib.IMAP4) -> dict[tuple[str, ...], bytes]:
    """Create the folders and return their names for commands, by path."""
    there = layout(session)
    for path in sorted(source.folders.keys() - there.folders.keys()):
        run(session, b"CREATE " + quote(there.raw(path)))
        there.folders[path] = there.raw(path)
    return there.folders


def _commands(
    session: imaplib.IMAP4, here: Layout, there: dict[tuple[str, ...], bytes]
) -> Iterator[tuple[bytes, list[bytes]]]:
    for path, raw in here.folders.items():
        messages = list(_messages(session, raw))
        yield (
            there[path],
            [
                b"APPEND " + quote(there[path]) + b"".join(messages[first : first + _BATCH])
                for first in range(0, len(messages), _BATCH)
            ],
        )


def _messages(session: imaplib.IMAP4, raw: bytes) -> Iterator[bytes]:
    """Yield the messages of a folder as APPEND takes them."""
    found = re.search(rb"\* (\d+) EXISTS", b"".join(run(session, b"EXAMINE " + quote(raw))))
    exists = int(found[1]) if found else 0
    for first in range(1, exists + 1, _WINDOW):
        last = min(first + _WINDOW - 1, exists)
        answers = run(session, b"FETCH %d:%d (FLAGS INTERNALDATE BODY.PEEK[])" % (first, last))
        for match in filter(None, map(_FETCHED.match, answers)):
            body = match.string[match.end() : match.end() + int(match[3])]
            flags = b" ".join(flag for flag in match[1].split() if flag != b"\\Recent")
            yield b" (%s) %s {%d+}\r\n%s" % (flags, match[2], len(body), body)


if __name__ == "__main__":
    main()

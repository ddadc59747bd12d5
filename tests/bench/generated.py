"""A mailbox of any number of small messages that are made from their numbers when asked for.

A million messages in a real server's folder take longer to store than to copy. Here they take
nothing but the time to write them out, in a process of its own, whose memory and time are not the
engine's. What is stored is counted and dropped.
"""

from __future__ import annotations

import multiprocessing
import re
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from io import BufferedRWPair
from typing import Final

from tests.support.engine import Account

__all__ = ["Generated", "generated", "header", "message"]

_LITERAL: Final = re.compile(rb"\{(\d+)(\+?)\}\r\n$")
_MONTHS: Final = b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
_UID_VALIDITY: Final = 7


def header(number: int) -> bytes:
    """Return the header of a message."""
    return (
        b"Message-ID: <%d.growth@bench.example.org>\r\nDate: %s\r\n"
        b"From: Sender %d <sender%d@example.org>\r\nTo: Alice <alice@example.org>\r\n"
        b"Subject: message %d\r\n\r\n"
    ) % (number, _date(number).replace(b"-", b" "), number % 97, number % 97, number)


def message(number: int) -> bytes:
    """Return a whole message, of some 300 bytes."""
    return header(number) + b"This is message %d. " % number + b"x" * (60 + number % 60) + b"\r\n"


def _date(number: int) -> bytes:
    """Return a date and time, without the day's leading zero as RFC 5322 allows it."""
    return b"%02d-%s-%d %02d:%02d:%02d +0000" % (
        1 + number % 28,
        _MONTHS[number // 28 % 12],
        2001 + number // 336 % 24,
        *(number // 3600 % 24, number // 60 % 60, number % 60),
    )


@dataclass
class Generated:
    """An IMAP server with one folder, INBOX.

    Parameters
    ----------
    numbers
        Which messages it has; their UIDs are their places from 1.
    """

    numbers: range
    stored: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def serve(self, listener: socket.socket) -> None:
        """Answer connections for ever."""
        while True:
            sock, _ = listener.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._talk, args=(sock,), daemon=True).start()

    def _talk(self, sock: socket.socket) -> None:
        with suppress(OSError, ValueError), sock, sock.makefile("rwb") as file:
            file.write(b"* OK ready\r\n")
            file.flush()
            while line := file.readline():
                tag, _, rest = line.rstrip(b"\r\n").partition(b" ")
                end = self._answer(file, rest)
                file.write(tag + b" " + end + b"\r\n")
                file.flush()

    def _answer(self, file: BufferedRWPair, rest: bytes) -> bytes:
        words = rest.split(b" ")
        name = words[0].upper()
        exists = len(self.numbers)
        if name == b"CAPABILITY":
            file.write(
                b"* CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR LITERAL+ UIDPLUS MULTIAPPEND\r\n"
            )
        elif name in {b"SELECT", b"EXAMINE"}:
            file.write(
                b"* %d EXISTS\r\n* OK [UIDVALIDITY %d] ok\r\n* OK [UIDNEXT %d] ok\r\n"
                b"* OK [PERMANENTFLAGS (\\Seen \\Flagged \\*)] ok\r\n"
                % (exists, _UID_VALIDITY, exists + 1)
            )
        elif name == b"LIST":
            file.write(b'* LIST () "/" INBOX\r\n')
        elif name == b"STATUS":
            file.write(
                b"* STATUS INBOX (MESSAGES %d UIDNEXT %d UIDVALIDITY %d)\r\n"
                % (exists, exists + 1, _UID_VALIDITY)
            )
        elif name == b"FETCH":
            listed = partial(self._listed, with_header=b"HEADER" in rest)
            file.write(b"".join(map(listed, _places(words[1]))))
        elif name == b"UID" and words[1].upper() == b"FETCH":
            file.write(b"".join(map(self._sent, _places(words[2]))))
        elif name == b"APPEND":
            return self._store(file, words[1], rest)
        return b"OK done"

    def _listed(self, place: int, *, with_header: bool) -> bytes:
        number = self.numbers[place - 1]
        text = b'* %d FETCH (UID %d FLAGS (%s) INTERNALDATE "%s" RFC822.SIZE %d' % (
            *(place, place, _flags(number), _date(number), len(message(number))),
        )
        if with_header:
            head = header(number)
            text += b" BODY[HEADER.FIELDS (X)] {%d}\r\n%s" % (len(head), head)
        return text + b")\r\n"

    def _sent(self, place: int) -> bytes:
        body = message(self.numbers[place - 1])
        return b"* %d FETCH (UID %d BODY[] {%d}\r\n%s)\r\n" % (place, place, len(body), body)

    def _store(self, file: BufferedRWPair, mailbox: bytes, line: bytes) -> bytes:
        line += b"\r\n"
        count = 0
        while found := _LITERAL.search(line):
            if not found[2]:
                file.write(b"+ go on\r\n")
                file.flush()
            file.read(int(found[1]))
            line = file.readline()
            count += 1
        if mailbox.strip(b'"').upper() != b"INBOX":
            return b"NO [TRYCREATE] no such folder"
        with self._lock:
            first = len(self.numbers) + self.stored + 1
            self.stored += count
        return b"OK [APPENDUID %d %d:%d] stored" % (_UID_VALIDITY, first, first + count - 1)


def _flags(number: int) -> bytes:
    return b"\\Seen" if number % 3 else b"\\Seen \\Flagged"


def _places(numbers: bytes) -> Iterator[int]:
    for part in numbers.split(b","):
        first, _, last = part.partition(b":")
        yield from range(int(first), int(last or first) + 1)


@contextmanager
def generated(numbers: range) -> Iterator[Account]:
    """Serve a generated mailbox from another process for as long as the block lasts."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = multiprocessing.get_context("fork").Process(
        target=Generated(numbers).serve, args=(listener,), daemon=True
    )
    server.start()
    port = listener.getsockname()[1]
    listener.close()
    try:
        yield Account("127.0.0.1", port, "alice", secrets.token_hex(12), tls={"mode": "None"})
    finally:
        server.terminate()
        server.join()

"""A scripted IMAP server: says exactly what a test wants, and records what it was told."""

from __future__ import annotations

import re
import select
import socket
import ssl
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.certificates import KeyPair

__all__ = [
    "Dialogue",
    "HungUpError",
    "Peer",
    "Script",
    "TinyServer",
    "messages_of",
    "numbers",
    "says",
    "serve",
    "with_starttls",
]

_LITERAL = re.compile(rb"\{(\d+)(\+?)\}\r\n$")
_CANARY = b"mailsync-canary"
_NEXT_LITERAL = re.compile(rb"([^\r\n]*)\{(\d+)\+?\}\r\n")


class HungUpError(Exception):
    """The client closed the connection."""


class Peer:
    """One connection, from the server's side."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext | None) -> None:
        self._socket = sock
        self._file = sock.makefile("rb")
        self._context = context
        self.secured = False
        self.trace: list[tuple[bool, bytes]] = []
        """What the client said, and whether under TLS."""
        self.consents: Callable[[bytes], bytes] = lambda _: b"+ go on\r\n"
        """What is said to a line that asks to send a literal."""

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._socket.sendall(data)

    def command(self) -> tuple[bytes, bytes]:
        """Return tag and the rest of the next command, literals joined in."""
        line = self._line()
        while found := _LITERAL.search(line):
            if not found[2]:
                said = self.consents(line)
                self.send(said)
                if not said.startswith(b"+"):
                    self.trace.append((self.secured, line))
                    line = self._line()
                    continue
            line += self._file.read(int(found[1])) + self._line()
        self.trace.append((self.secured, line))
        tag, _, rest = line.removesuffix(b"\r\n").partition(b" ")
        return tag, rest

    def _line(self) -> bytes:
        line = self._file.readline()
        if not line:
            raise HungUpError
        return line

    def wait_for_hang_up(self) -> None:
        """Read until the client closes the connection; what comes is recorded."""
        while line := self._file.readline():
            self.trace.append((self.secured, line))

    def says_more(self, seconds: float) -> bool:
        """Return whether the client goes on within this time without having been answered."""
        timeout = self._socket.gettimeout()
        self._socket.setblocking(False)
        waiting = self._file.peek(1)
        self._socket.settimeout(timeout)
        return bool(waiting or select.select([self._socket], [], [], seconds)[0])

    def hung_up(self, seconds: float) -> bool:
        """Return whether the client closes the connection within this time."""
        readable, _, _ = select.select([self._socket], [], [], seconds)
        return bool(readable) and not self._socket.recv(4096, socket.MSG_PEEK)

    def heard(self, data: bytes) -> None:
        """Record what was read past the lines."""
        self.trace.append((self.secured, data))

    @property
    def socket(self) -> socket.socket:
        """The connection, for facts about it."""
        return self._socket

    def start_tls(self) -> None:
        """Shake hands."""
        assert self._context
        # Detached first, so that only one object owns the descriptor.
        self._file.close()
        self._socket = self._context.wrap_socket(self._socket, server_side=True)
        self._file = self._socket.makefile("rb")
        self.secured = True

    def close(self) -> None:
        """Close the connection."""
        self._file.close()
        self._socket.close()


Dialogue: TypeAlias = "Callable[[Peer], None]"
"""What the server does on a connection."""


@dataclass
class Script:
    """A running scripted server."""

    port: int
    peers: list[Peer] = field(default_factory=list)
    errors: list[BaseException] = field(default_factory=list)

    @property
    def said(self) -> bytes:
        """Everything that clients said."""
        return b"".join(line for peer in self.peers for _, line in peer.trace)

    @property
    def said_in_earnest(self) -> bytes:
        """Everything that clients said but what tries out the server."""
        return b"".join(
            line for peer in self.peers for _, line in peer.trace if _CANARY not in line
        )

    @property
    def said_in_clear(self) -> bytes:
        """What clients said without TLS."""
        return b"".join(line for p in self.peers for secured, line in p.trace if not secured)


@contextmanager
def serve(
    dialogue: Dialogue,
    *,
    key_pair: KeyPair | None = None,
    implicit_tls: bool = False,
    context: ssl.SSLContext | None = None,
) -> Iterator[Script]:
    """Serve connections, one after the other or side by side, for as long as the block lasts."""
    if key_pair is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(key_pair.certificate, key_pair.key)
    listener = socket.create_server(("127.0.0.1", 0))
    script = Script(listener.getsockname()[1])
    threads: list[threading.Thread] = []

    def talk(sock: socket.socket) -> None:
        peer = Peer(sock, context)
        script.peers.append(peer)
        try:
            if implicit_tls:
                peer.start_tls()
            dialogue(peer)
        except (HungUpError, OSError, ValueError):
            pass  # the client had enough, or the test is over
        except BaseException as error:  # noqa: BLE001  shown by the test, not by the thread
            script.errors.append(error)
        finally:
            with suppress(OSError):
                peer.close()

    def accept() -> None:
        with suppress(OSError):
            while True:
                sock, _ = listener.accept()
                sock.settimeout(20)
                # Else what is sent in two parts waits for the first one's acknowledgement.
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                thread = threading.Thread(target=talk, args=(sock,), daemon=True)
                threads.append(thread)
                thread.start()

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield script
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join(5)
        for thread in threads:
            thread.join(5)
        # Each waits for the client to hang up, so a connection that was left open keeps one alive.
        assert not any(thread.is_alive() for thread in threads), "a connection was left open"
        assert not script.errors, script.errors


Answer: TypeAlias = "Callable[[Peer, bytes, bytes], None]"


def says(*lines: bytes, end: bytes = b"OK done") -> Answer:
    """Return an answer of these untagged lines and a tagged end."""

    def answer(peer: Peer, tag: bytes, _: bytes) -> None:
        untagged = b"".join(b"* " + line + b"\r\n" for line in lines)
        peer.send(untagged + tag + b" " + end + b"\r\n")

    return answer


@dataclass
class TinyServer:
    """Enough of IMAP for one run on an account with one folder, INBOX; a test changes answers.

    Parameters
    ----------
    messages
        Bodies by UID.
    answers
        What to do for a command's first word (``UID FETCH`` has two); laid over the defaults.
    """

    messages: dict[int, bytes] = field(default_factory=dict)
    capabilities: bytes = b"IMAP4rev1 AUTH=PLAIN SASL-IR LITERAL+ UIDPLUS"
    answers: dict[bytes, Answer] = field(default_factory=dict)
    appended: list[tuple[bytes, bytes]] = field(default_factory=list)
    """Commands and bodies of APPENDs that were answered OK."""
    greeting: bytes = b"* OK ready\r\n"
    consents: Callable[[bytes], bytes] | None = None
    """What is said to a line that asks to send a literal; by default that it may."""

    def __call__(self, peer: Peer) -> None:
        if self.consents is not None:
            peer.consents = self.consents
        peer.send(self.greeting)
        while True:
            tag, rest = peer.command()
            if _CANARY in rest:
                self.refused(peer, tag)
                continue
            words = rest.upper().split(b" ")
            name = b" ".join(words[:2]) if words[0] == b"UID" else words[0]
            answer = self.answers.get(name) or self._defaults().get(name)
            if answer is None:
                peer.send(tag + b" BAD unknown\r\n")
            else:
                answer(peer, tag, rest)

    def refused(self, peer: Peer, tag: bytes) -> None:
        """Answer an APPEND to a folder that does not exist."""
        peer.send(tag + b" NO [TRYCREATE] no such folder\r\n")

    def _defaults(self) -> dict[bytes, Answer]:
        exists = b"%d EXISTS" % len(self.messages)
        selected = says(
            exists, b"OK [UIDVALIDITY 7] ok", b"OK [PERMANENTFLAGS (\\Seen \\Flagged \\*)] ok"
        )
        return {
            b"CAPABILITY": says(b"CAPABILITY " + self.capabilities),
            b"AUTHENTICATE": says(),
            b"LOGIN": says(),
            b"LIST": says(b'LIST () "/" INBOX'),
            b"LSUB": says(),
            b"STATUS": self.status,
            b"SELECT": selected,
            b"EXAMINE": selected,
            b"FETCH": self.listing,
            b"UID FETCH": self.bodies,
            b"UID STORE": says(),
            b"APPEND": self.append,
            b"SUBSCRIBE": says(),
            b"CREATE": says(),
            b"LOGOUT": says(b"BYE bye"),
        }

    def status(self, peer: Peer, tag: bytes, rest: bytes) -> None:
        """Answer STATUS; all folders have the same messages."""
        name = rest.partition(b" ")[2].partition(b" (")[0]
        says(b"STATUS " + name + b" (MESSAGES %d)" % len(self.messages))(peer, tag, rest)

    def listing(self, peer: Peer, tag: bytes, rest: bytes) -> None:
        """Answer FETCH of metadata."""
        for number, (uid, body) in enumerate(self.messages.items(), start=1):
            peer.send(self.line(number, uid, body, header=b"HEADER" in rest))
        peer.send(tag + b" OK done\r\n")

    @staticmethod
    def line(number: int, uid: int, body: bytes, *, header: bool, flags: bytes = b"") -> bytes:
        """Return one line of metadata."""
        date = b'INTERNALDATE "01-Jan-2024 00:00:00 +0000"'
        text = b"* %d FETCH (UID %d FLAGS (%s) %s RFC822.SIZE %d" % (
            number, uid, flags, date, len(body),
        )  # fmt: skip
        if header:
            head = body.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
            text += b" BODY[HEADER.FIELDS (X)] {%d}\r\n" % len(head) + head
        return text + b")\r\n"

    def bodies(self, peer: Peer, tag: bytes, rest: bytes) -> None:
        """Answer UID FETCH of bodies, or of one header field."""
        wanted = numbers(rest.split(b" ")[2])
        for number, (uid, body) in enumerate(self.messages.items(), start=1):
            if uid in wanted:
                part = body.partition(b"\r\n")[0] if b"FIELDS" in rest else body
                head = b"* %d FETCH (UID %d BODY[] {%d}\r\n" % (number, uid, len(part))
                peer.send(head + part + b")\r\n")
        peer.send(tag + b" OK done\r\n")

    def append(self, peer: Peer, tag: bytes, rest: bytes) -> None:
        """Answer APPEND, also of several messages."""
        first = len(self.appended) + 1
        self.appended += messages_of(rest)
        last = len(self.appended)
        uids = b"%d" % first if first == last else b"%d:%d" % (first, last)
        peer.send(tag + b" OK [APPENDUID 7 " + uids + b"] stored\r\n")


def messages_of(rest: bytes) -> list[tuple[bytes, bytes]]:
    """Return what an APPEND of one or more messages holds: what stands before each, and it."""
    found: list[tuple[bytes, bytes]] = []
    while match := _NEXT_LITERAL.match(rest):
        end = match.end() + int(match[2])
        found.append((match[1], rest[match.end() : end]))
        rest = rest[end:]
    return found


def with_starttls(inside: TinyServer) -> Dialogue:
    """Return a server that is ``inside`` behind STARTTLS, and takes nothing else in clear text."""

    def dialogue(peer: Peer) -> None:
        peer.send(b"* OK ready\r\n")
        tag, rest = peer.command()
        if rest != b"CAPABILITY":
            return  # perhaps a TLS handshake: the port speaks clear text first
        peer.send(b"* CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED\r\n" + tag + b" OK done\r\n")
        tag, rest = peer.command()
        assert rest == b"STARTTLS"
        peer.send(tag + b" OK begin\r\n")
        peer.start_tls()
        replace(inside, greeting=b"")(peer)

    return dialogue


def numbers(sequence_set: bytes) -> set[int]:
    """Return the numbers of a sequence set."""
    found: set[int] = set()
    for part in sequence_set.split(b","):
        first, _, last = part.partition(b":")
        found.update(range(int(first), int(last or first) + 1))
    return found

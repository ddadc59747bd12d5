"""Bytes to and from a server, with overall deadlines.

The socket is non-blocking and every wait is bounded by the deadline of the operation and by the
grace period of a wish to stop, so nothing a server does (or leaves undone) can hold the engine.
"""

from __future__ import annotations

import select
import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from mailsync_syncjob.deadline import SILENCE_SECONDS, Deadline
from mailsync_syncjob.errors import ConnectionLostError, ProtocolError
from mailsync_syncjob.imap.deflate import Deflate

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from mailsync_syncjob.deadline import Clock, Stop
    from mailsync_syncjob.imap.tap import Tap
    from mailsync_syncjob.party import Party

__all__ = ["MAX_LINE_BYTES", "Wire"]

MAX_LINE_BYTES: Final = 1 << 20
"""The longest line taken from a server; literals do not count."""
_CHUNK: Final = 1 << 16
_MOST_AHEAD: Final = 1 << 20
"""How much is read while something is being sent; more is left to the server's own buffers."""
_LOOK_UP_SECONDS: Final = 0.5


class Wire:
    """One connection's bytes, read exactly: what was not asked for stays in the buffer.

    Raises
    ------
    ConnectionLostError
        From every method that touches the socket: the connection ended, or the deadline passed.
    InterruptedRunError
        The run was told to stop, and no message is being stored or its grace period is over.
    """

    def __init__(  # noqa: PLR0913  what a connection is made of
        self,
        sock: socket.socket,
        *,
        side: Party,
        clock: Clock,
        stop: Stop,
        tap: Tap | None = None,
        silence: float = SILENCE_SECONDS,
    ) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._side = side
        self._clock = clock
        self._stop = stop
        self._tap = tap
        self._silence = silence
        self._buffer = bytearray()
        self._deadline: Deadline | None = None
        self._allowance: int | None = None
        self._given_up = False
        self._deflate: Deflate | None = None

    @property
    def socket(self) -> socket.socket:
        """The socket, for facts about it; reading from it would break the framing."""
        return self._sock

    @property
    def stop(self) -> Stop:
        """The wish to stop, for waits for somebody else on the way."""
        return self._stop

    @property
    def buffered(self) -> int:
        """How many bytes have come that nobody has asked for yet."""
        return len(self._buffer)

    def ready(self) -> bool:
        """Whether something can be read without waiting for the server."""
        return bool(self._buffer) or self._read_ahead()

    @contextmanager
    def within(self, seconds: float, *, at_most: int | None = None) -> Iterator[Deadline]:
        """Give everything inside an overall deadline and a limit of bytes; the innermost count.

        Parameters
        ----------
        at_most
            How many bytes may come; more of them break the protocol. A server that talks without
            end would else fill the memory until the deadline.
        """
        outer = self._deadline, self._allowance
        self._deadline = Deadline(seconds, now=self._clock.monotonic)
        self._allowance = at_most
        try:
            yield self._deadline
        finally:
            self._deadline, self._allowance = outer

    def readline(self) -> bytes:
        """Return one line with its line end.

        Raises
        ------
        ProtocolError
            It is longer than ``MAX_LINE_BYTES``.
        """
        searched = 0
        while True:
            end = self._buffer.find(b"\n", searched)
            if end >= 0:
                return self._take(end + 1)
            searched = len(self._buffer)
            if searched > MAX_LINE_BYTES:
                raise ProtocolError(
                    f"{self._side}: the server sent a line of more than {MAX_LINE_BYTES} bytes",
                    side=self._side,
                )
            self._buffer += self._receive()

    def read(self, size: int) -> bytes:
        """Return exactly this many bytes; the caller has made sure that they may be held."""
        while len(self._buffer) < size:
            self._buffer += self._receive()
        return self._take(size)

    def read_some(self, limit: int) -> bytes:
        """Return at least one and at most this many bytes."""
        if not self._buffer:
            self._buffer += self._receive()
        return self._take(min(limit, len(self._buffer)))

    def compress(self) -> None:
        """Send and receive compressed from now on (RFC 4978); inside TLS where there is TLS."""
        self._deflate = Deflate()
        # What has come behind the server's consent is compressed already.
        self._deflate.feed(bytes(self._buffer))
        self._buffer.clear()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of it, and read meanwhile what the server says.

        A server that answers while it is spoken to, and stops listening until its answers are read,
        would else wait for us as we for it.
        """
        view = memoryview(self._deflate.pack(data) if self._deflate is not None else data)
        while view:
            view = view[self._send(view) :]
        if self._tap is not None:
            self._tap.sent(bytes(data))

    def give_up(self) -> None:
        """Let a thread that reads or writes end soon; the connection is of no use after that."""
        self._given_up = True

    def close(self) -> None:
        """Close the socket without a word."""
        self._sock.close()

    def _take(self, size: int) -> bytes:
        taken = bytes(memoryview(self._buffer)[:size])
        del self._buffer[:size]
        if self._tap is not None:
            self._tap.received(taken)
        return taken

    def _receive(self) -> bytes:
        # Also where there is always something to read: a server that never pauses has no more time
        # than one that says nothing.
        self._check_time(self._current())
        while True:
            try:
                return self._arrived()
            except (BlockingIOError, ssl.SSLWantReadError):
                self._wait(reading=True)
            except ssl.SSLWantWriteError:
                self._wait(reading=False, writing=True)

    def _arrived(self) -> bytes:
        """Return what has come, at least one byte of it; raise what a socket would if none has."""
        while self._deflate is not None:
            if data := self._unpacked(self._deflate):
                self._spend(len(data))
                return data
            self._deflate.feed(self._came())
        data = self._came()
        self._spend(len(data))
        return data

    def _unpacked(self, deflate: Deflate) -> bytes:
        try:
            return deflate.unpack()
        except ValueError as error:
            raise ProtocolError(
                f"{self._side}: the server's compressed stream is broken: {error}", side=self._side
            ) from None

    def _came(self) -> bytes:
        try:
            data = self._sock.recv(_CHUNK)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except (OSError, ValueError) as error:  # ValueError: the socket was closed
            raise self._lost(f"the connection broke ({error})") from error
        if not data:
            raise self._lost("the server closed the connection")
        return data

    def _read_ahead(self) -> bool:
        """Take what has come into the buffer, without waiting; whether there was anything."""
        try:
            self._buffer += self._arrived()
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        return True

    def _spend(self, size: int) -> None:
        if self._allowance is None:
            return
        self._allowance -= size
        if self._allowance < 0:
            raise ProtocolError(
                f"{self._side}: the server went on talking where a short answer was due",
                side=self._side,
            )

    def _send(self, view: memoryview) -> int:
        while True:
            self._check_wanted()
            try:
                # OpenSSL wants the same bytes again after "want write"; the view stays the same.
                return self._sock.send(view[:_CHUNK])
            except (BlockingIOError, ssl.SSLWantWriteError):
                self._wait_to_write()
            except ssl.SSLWantReadError:
                self._wait(reading=True)
            except (OSError, ValueError) as error:
                cause = self._alert() or error
                raise self._lost(f"the connection broke ({cause})") from cause

    def _alert(self) -> ssl.SSLError | None:
        """Return the TLS alert that a server left behind before a write to it failed, if any."""
        try:
            # What it said before that stays to be read: it may be a BYE.
            data = self._sock.recv(_CHUNK)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None
        except ssl.SSLError as error:
            return error
        except (OSError, ValueError):
            return None
        if self._deflate is not None:
            self._deflate.feed(data)
        else:
            self._buffer += data
        return None

    def _wait_to_write(self) -> None:
        """Wait until something can be sent, and read meanwhile."""
        while True:
            ahead = len(self._buffer) < _MOST_AHEAD
            readable, writable = self._wait(reading=ahead, writing=True)
            if readable:
                self._read_ahead()
            if writable:
                return

    def _wait(self, *, reading: bool, writing: bool = False) -> tuple[bool, bool]:
        """Wait until one of them is possible, and return which."""
        deadline = self._current()
        # A peer that has vanished without a word must not be waited for as long as a large message
        # may take.
        silence = Deadline(self._silence, now=self._clock.monotonic)
        while True:
            left = self._check_time(deadline)
            if silence.left() <= 0:
                raise self._lost(f"nothing came or went for {silence.seconds:.0f} s")
            pause = min(left, _LOOK_UP_SECONDS)
            readers, writers = [self._sock] * reading, [self._sock] * writing
            readable, writable, _ = select.select(readers, writers, [], pause)
            if readable or writable:
                return bool(readable), bool(writable)

    def _current(self) -> Deadline:
        if self._deadline is None:
            raise RuntimeError("waiting for a server without a deadline")
        return self._deadline

    def _check_time(self, deadline: Deadline) -> float:
        """Return the seconds that are left, if there are any and nobody wants to stop."""
        left = deadline.left()
        if left <= 0:
            raise self._lost(f"no complete answer within {deadline.seconds:.0f} s")
        self._check_wanted()
        self._stop.check_waiting()
        return left

    def _check_wanted(self) -> None:
        if self._given_up:
            raise self._lost("the connection was given up")

    def _lost(self, what: str) -> ConnectionLostError:
        return ConnectionLostError(f"{self._side}: {what}", side=self._side)

"""COMPRESS=DEFLATE (RFC 4978): what is said goes as two raw streams, below the framing."""

from __future__ import annotations

import zlib
from typing import Final

__all__ = ["Deflate"]

_RAW: Final = -15
_LEVEL: Final = 6
_MOST: Final = 1 << 16


class Deflate:
    """Both streams of one connection.

    What comes is unpacked piece by piece: a few bytes may stand for gigabytes, and how many of
    those are wanted is the caller's to say.
    """

    def __init__(self) -> None:
        self._out = zlib.compressobj(_LEVEL, zlib.DEFLATED, _RAW)
        self._in = zlib.decompressobj(_RAW)
        self._waiting = b""
        self._more = False
        """Whether the last piece was cut off."""

    def pack(self, data: bytes | bytearray | memoryview) -> bytes:
        """Return what stands for these bytes, complete: the other side can unpack all of them."""
        return self._out.compress(data) + self._out.flush(zlib.Z_SYNC_FLUSH)

    def feed(self, data: bytes) -> None:
        """Take what came."""
        self._waiting += data

    def unpack(self) -> bytes:
        """Return the next piece of what came; empty when more must come first.

        Raises
        ------
        ValueError
            It is no such stream, or the stream has ended.
        """
        while self._waiting or self._more or self._in.eof:
            if self._in.eof:
                raise ValueError("the stream has ended")
            try:
                piece = self._in.decompress(self._waiting, _MOST)
            except zlib.error as error:
                raise ValueError(str(error)) from None
            self._waiting = self._in.unconsumed_tail
            self._more = len(piece) == _MOST
            if piece:
                return piece
        return b""

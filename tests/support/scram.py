"""SCRAM from the server's side (RFC 5802)."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Literal

from mailsync_syncjob.imap.scram import MIN_ITERATIONS

__all__ = ["ScramServer"]


class ScramServer:
    """One login; the password must be prepared."""

    def __init__(self, digest: Literal["sha1", "sha256"], password: bytes) -> None:
        self.digest = digest
        self.salted = hashlib.pbkdf2_hmac(digest, password, b"salt", MIN_ITERATIONS)

    def first(self, client_first: bytes) -> bytes:
        """Return server-first-message."""
        flag, authorized, bare = client_first.split(b",", 2)
        self.header = flag + b"," + authorized + b","
        self.client_first = bare
        self.nonce = bare.rpartition(b",r=")[2] + b"server"
        salt = base64.b64encode(b"salt")
        self.server_first = b"r=%s,s=%s,i=%d" % (self.nonce, salt, MIN_ITERATIONS)
        return self.server_first

    def final(self, client_final: bytes, *, binding: bytes = b"") -> bytes:
        """Check the client's proof and return server-final-message."""
        without, _, proof = client_final.rpartition(b",p=")
        bound = base64.b64encode(self.header + binding)
        assert without == b"c=" + bound + b",r=" + self.nonce
        message = b",".join((self.client_first, self.server_first, without))
        client_key = self._hmac(self.salted, b"Client Key")
        stored_key = hashlib.new(self.digest, client_key).digest()
        signature = self._hmac(stored_key, message)
        sent = base64.b64decode(proof)
        assert bytes(a ^ b for a, b in zip(sent, signature, strict=True)) == client_key
        server_key = self._hmac(self.salted, b"Server Key")
        return b"v=" + base64.b64encode(self._hmac(server_key, message))

    def _hmac(self, key: bytes, message: bytes) -> bytes:
        return hmac.new(key, message, self.digest).digest()

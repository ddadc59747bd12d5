"""SCRAM (RFC 5802, RFC 7677), with channel binding, as a pure exchange.

Written on the standard library's PBKDF2 and HMAC: the Python packages for it know no authorization
identity, or refuse passwords that mail servers take (those with control characters, or that are no
UTF-8).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
import stringprep
import unicodedata
from typing import TYPE_CHECKING, Final, Literal

from mailsync_syncjob.imap.sasl import ExchangeError
from mailsync_syncjob.texts import sanitise

if TYPE_CHECKING:
    from mailsync_syncjob.imap.binding import Binding
    from mailsync_syncjob.imap.sasl import Identity

__all__ = ["MAX_ITERATIONS", "MIN_ITERATIONS", "Scram", "prepare"]

MIN_ITERATIONS: Final = 4096
"""RFC 5802 section 5.1. With fewer, who poses as the server could try passwords cheaply."""
MAX_ITERATIONS: Final = 2_000_000
"""About a second of work; with more a server could keep the engine busy at will."""
_MAX_MESSAGE_BYTES: Final = 4096

# reserved-mext ("m=") may stand first and must end the exchange; extensions may follow.
_SERVER_FIRST: Final = re.compile(
    rb"r=(?P<nonce>[\x21-\x2b\x2d-\x7e]+),s=(?P<salt>[A-Za-z0-9+/=]+)"
    rb",i=(?P<count>[1-9][0-9]{0,9})(?:,.*)?",
    re.DOTALL,
)
_SERVER_FINAL: Final = re.compile(rb"v=(?P<signature>[A-Za-z0-9+/=]+)(?:,.*)?", re.DOTALL)
_PROHIBITED: Final = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


class Scram:
    """One SCRAM login.

    Parameters
    ----------
    digest
        The hash function.
    binding
        What the login is bound to, for the -PLUS variants.
    unbound
        The flag of a login that is not bound: "y" says that the client would have but the server
        announced no -PLUS, which a server that did announce it takes for the attack that it is.
    nonce
        The client's; random but in tests.
    """

    def __init__(
        self,
        identity: Identity,
        digest: Literal["sha1", "sha256"],
        *,
        binding: Binding | None = None,
        unbound: Literal["n", "y"] = "n",
        nonce: bytes | None = None,
    ) -> None:
        self._digest = digest
        self._password = prepare(identity.password)
        flag = b"p=" + binding.kind.encode("ascii") if binding else unbound.encode("ascii")
        name = b"a=" + _saslname(identity.authorized) if identity.authorized else b""
        self._header = flag + b"," + name + b","
        self._binding_data = binding.data if binding else b""
        self._nonce = nonce or secrets.token_urlsafe(24).encode("ascii")
        self._first_bare = b"n=" + _saslname(identity.user) + b",r=" + self._nonce
        self._signature: bytes | None = None
        self.complete = False
        self.refusal = ""

    def first(self) -> bytes:
        """Return client-first-message."""
        return self._header + self._first_bare

    def answer(self, challenge: bytes) -> bytes | None:
        """Return client-final-message, then the empty answer to the server's proof.

        Raises
        ------
        ExchangeError
            The server does not know the password, or asks for what is not safe.
        """
        if self.complete:
            return None
        if len(challenge) > _MAX_MESSAGE_BYTES:
            raise ExchangeError(f"a SCRAM message of {len(challenge)} bytes")
        if challenge.startswith(b"e="):
            self.refusal = sanitise(challenge[2:])
            return None
        if self._signature is None:
            return self._prove(challenge)
        self._check(challenge, self._signature)
        self.complete = True
        return b""

    def _prove(self, server_first: bytes) -> bytes:
        found = _SERVER_FIRST.fullmatch(server_first)
        if found is None:
            raise ExchangeError("a first SCRAM message that is none")
        nonce = found["nonce"]
        if not nonce.startswith(self._nonce) or len(nonce) <= len(self._nonce):
            raise ExchangeError("a SCRAM nonce that does not go on from the client's")
        count = int(found["count"])
        if not MIN_ITERATIONS <= count <= MAX_ITERATIONS:
            raise ExchangeError(
                f"a SCRAM iteration count of {count}, and not one from {MIN_ITERATIONS} to "
                f"{MAX_ITERATIONS}"
            )
        salted = hashlib.pbkdf2_hmac(self._digest, self._password, _decoded(found["salt"]), count)
        bound = base64.b64encode(self._header + self._binding_data)
        without_proof = b"c=" + bound + b",r=" + nonce
        message = b",".join((self._first_bare, server_first, without_proof))
        client_key = self._hmac(salted, b"Client Key")
        stored_key = hashlib.new(self._digest, client_key).digest()
        signature = self._hmac(stored_key, message)
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        self._signature = self._hmac(self._hmac(salted, b"Server Key"), message)
        return without_proof + b",p=" + base64.b64encode(proof)

    def _check(self, server_final: bytes, expected: bytes) -> None:
        found = _SERVER_FINAL.fullmatch(server_final)
        if found is None or not hmac.compare_digest(_decoded(found["signature"]), expected):
            raise ExchangeError(
                "no proof that it knows the password (its SCRAM signature is wrong): it may not be "
                "the server that it says it is"
            )

    def _hmac(self, key: bytes, message: bytes) -> bytes:
        return hmac.new(key, message, self._digest).digest()


def prepare(value: bytes) -> bytes:
    """Return a name or password as SASLprep writes it (RFC 4013).

    What SASLprep refuses (control characters, text that is no UTF-8) is returned as it is: servers
    that take such passwords do not prepare them either. Code points that Unicode 3.2 does not know
    are allowed, as in any query (section 2.5).
    """
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        return value
    mapped = "".join(
        " " if stringprep.in_table_c12(char) else char
        for char in text
        if not stringprep.in_table_b1(char)
    )
    prepared = unicodedata.ucd_3_2_0.normalize("NFKC", mapped)
    if not prepared or any(table(char) for char in prepared for table in _PROHIBITED):
        return value
    return prepared.encode() if _direction_is_clear(prepared) else value


def _direction_is_clear(text: str) -> bool:
    """RFC 3454 section 6: no mixture of right-to-left and left-to-right."""
    if not any(stringprep.in_table_d1(char) for char in text):
        return True
    ends = stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])
    return ends and not any(stringprep.in_table_d2(char) for char in text)


def _saslname(value: bytes) -> bytes:
    return prepare(value).replace(b"=", b"=3D").replace(b",", b"=2C")


def _decoded(value: bytes) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error:
        raise ExchangeError("a SCRAM message that is not base64") from None

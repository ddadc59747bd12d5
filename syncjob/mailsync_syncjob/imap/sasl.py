"""SASL mechanisms as pure exchanges: a challenge in, an answer out. No socket, no clock."""

from __future__ import annotations

import hmac
import json
from dataclasses import dataclass, field
from typing import Protocol

__all__ = [
    "Bearer",
    "CramMd5",
    "Exchange",
    "ExchangeError",
    "Identity",
    "Recited",
    "external",
    "login",
    "oauthbearer",
    "plain",
    "xoauth2",
]


@dataclass(frozen=True, slots=True)
class Identity:
    """Who logs in, and as whom."""

    user: bytes
    password: bytes = field(repr=False)
    authorized: bytes = b""
    """The user to act as; empty for the same one."""


class ExchangeError(Exception):
    """The server's part of an exchange is not what the mechanism says.

    The message is what the server sent, as a phrase: "a signature that ...".
    """


class Exchange(Protocol):
    """One login's dialogue; each object serves once."""

    @property
    def complete(self) -> bool:
        """Whether all was said, so that the server may say OK."""
        ...

    @property
    def refusal(self) -> str:
        """The mechanism's own words of a refusal; empty if there were none."""
        ...

    def first(self) -> bytes | None:
        """Return the client's first message; None where the server speaks first."""
        ...

    def answer(self, challenge: bytes) -> bytes | None:
        """Return the answer to a challenge; None cancels the exchange.

        Raises
        ------
        ExchangeError
            Nothing more must be said to this server.
        """
        ...


class Recited:
    """A mechanism whose messages do not depend on the server's."""

    refusal = ""

    def __init__(self, *messages: bytes, server_first: bool = False) -> None:
        self._messages = list(messages)
        self._server_first = server_first

    @property
    def complete(self) -> bool:
        """Whether all was said."""
        return not self._messages

    def first(self) -> bytes | None:
        """Return the client's first message."""
        return None if self._server_first else self._messages.pop(0)

    def answer(self, challenge: bytes) -> bytes | None:  # noqa: ARG002  the protocol's signature
        """Return the next message, whatever the server's prompt says."""
        return self._messages.pop(0) if self._messages else None


def plain(identity: Identity) -> Recited:
    """RFC 4616: authorization identity, user and password, told apart by NUL."""
    return Recited(b"\0".join((identity.authorized, identity.user, identity.password)))


def external(identity: Identity) -> Recited:
    """RFC 4422 appendix A: who is known from TLS; at most the identity to act as is said."""
    return Recited(identity.authorized)


def login(identity: Identity) -> Recited:
    """Never made a standard: the prompts' words differ, their order does not."""
    return Recited(identity.user, identity.password, server_first=True)


class CramMd5:
    """RFC 2195: the challenge's HMAC under the password; the password itself is not sent."""

    refusal = ""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self.complete = False

    def first(self) -> bytes | None:
        """Return None: the server speaks first."""
        return None

    def answer(self, challenge: bytes) -> bytes | None:
        """Return user and digest."""
        if self.complete:
            return None
        # Without a challenge of its own choice the server would get the same answer each time.
        if not challenge:
            raise ExchangeError("a CRAM-MD5 challenge without any content")
        self.complete = True
        digest = hmac.new(self._identity.password, challenge, "md5").hexdigest()
        return self._identity.user + b" " + digest.encode("ascii")


class Bearer:
    """One message with a token; a challenge after it is the server's reason for refusing.

    Such a challenge must be answered before the server says NO.
    """

    def __init__(self, message: bytes, *, acknowledgement: bytes) -> None:
        self._message = message
        self._acknowledgement = acknowledgement
        self._refused = False
        self.complete = False
        self.refusal = ""

    def first(self) -> bytes | None:
        """Return the message."""
        self.complete = True
        return self._message

    def answer(self, challenge: bytes) -> bytes | None:
        """Take the reason and acknowledge it, once."""
        # OK is no longer an end of this login.
        self.complete = False
        if self._refused:
            return None
        self._refused = True
        self.refusal = _reason(challenge)
        return self._acknowledgement


def xoauth2(identity: Identity) -> Bearer:
    """Google's and Microsoft's mechanism: user and token; an empty line acknowledges a refusal."""
    message = b"user=%s\x01auth=Bearer %s\x01\x01" % (identity.user, identity.password)
    return Bearer(message, acknowledgement=b"")


def oauthbearer(identity: Identity, *, host: str, port: int) -> Bearer:
    """RFC 7628 section 3.1: the user as a GS2 name; ^A acknowledges a refusal (section 3.2.3)."""
    user = identity.user.replace(b"=", b"=3D").replace(b",", b"=2C")
    place = b"host=%s\x01port=%d" % (host.encode("utf-8"), port)
    message = b"n,a=%s,\x01%s\x01auth=Bearer %s\x01\x01" % (user, place, identity.password)
    return Bearer(message, acknowledgement=b"\x01")


def _reason(challenge: bytes) -> str:
    """Return status and scope of a refusal (RFC 7628 section 3.2.2); the words are the server's."""
    try:
        found = json.loads(challenge)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(found, dict):
        return ""
    said = ((name, found.get(name)) for name in ("status", "scope"))
    return ", ".join(f"{name} {value}" for name, value in said if isinstance(value, str | int))

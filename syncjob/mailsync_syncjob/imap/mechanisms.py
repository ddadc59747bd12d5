"""Which mechanism a login uses. Pure: what is announced and asked for in, one choice out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mailsync_api.endpoint import AUTHORIZING_MECHANISMS, Mechanism

if TYPE_CHECKING:
    from mailsync_api.endpoint import Authentication
    from mailsync_syncjob.imap.binding import Binding

__all__ = ["Choice", "announced", "choose", "wire_name"]

_NAMES: Final = {
    Mechanism.PLAIN: "PLAIN",
    Mechanism.LOGIN: "LOGIN",
    Mechanism.CRAM_MD5: "CRAM-MD5",
    Mechanism.SCRAM_SHA_1: "SCRAM-SHA-1",
    Mechanism.SCRAM_SHA_256: "SCRAM-SHA-256",
    Mechanism.EXTERNAL: "EXTERNAL",
    Mechanism.XOAUTH2: "XOAUTH2",
    Mechanism.OAUTHBEARER: "OAUTHBEARER",
}
_PLUS: Final = "-PLUS"
_SCRAM: Final = (Mechanism.SCRAM_SHA_256, Mechanism.SCRAM_SHA_1)
# Under TLS with a verified server, PLAIN goes before CRAM-MD5: it lets the server keep passwords
# hashed (CRAM-MD5 needs them in the clear), and MD5 adds nothing to TLS. Where anybody may listen
# or pose as the server, CRAM-MD5 at least does not hand the password over.
_PROVEN: Final = (Mechanism.PLAIN, Mechanism.CRAM_MD5)
_UNPROVEN: Final = (Mechanism.CRAM_MD5, Mechanism.PLAIN)
# The standard before its forerunner; nothing but a token goes with a token.
_TOKENS: Final = (Mechanism.OAUTHBEARER, Mechanism.XOAUTH2)
_LAST: Final = (Mechanism.LOGIN, Mechanism.LOGIN_COMMAND)


@dataclass(frozen=True, slots=True)
class Choice:
    """The mechanism of a login.

    Attributes
    ----------
    name
        As AUTHENTICATE takes it; LOGIN for the command.
    bound
        Whether it is a -PLUS variant.
    stripped
        Whether the client could bind the login, and the server announces no -PLUS at all.
    """

    mechanism: Mechanism
    name: str
    bound: bool = False
    stripped: bool = False


def choose(
    offered: frozenset[str],
    *,
    authentication: Authentication,
    binding: Binding | None,
    proven: bool,
) -> Choice | None:
    """Return the mechanism to use; None where the server offers none that may be used.

    Parameters
    ----------
    offered
        The capabilities under the final protection, in upper case.
    proven
        Whether the server's certificate was fully verified.
    """
    for mechanism in _candidates(authentication, proven=proven):
        for name in _variants(mechanism, binding):
            if _available(mechanism, name, offered):
                unique = binding is not None and binding.kind == "tls-unique"
                return Choice(
                    mechanism,
                    name,
                    bound=name.endswith(_PLUS),
                    stripped=unique and not any(word.endswith(_PLUS) for word in offered),
                )
    return None


def wire_name(mechanism: Mechanism) -> str:
    """Return a mechanism as servers announce it, for people."""
    if mechanism is Mechanism.LOGIN_COMMAND:
        return "the LOGIN command"
    return f"AUTH={_NAMES[mechanism]}"


def announced(offered: frozenset[str]) -> list[str]:
    """Return what a server offers for logging in, for people."""
    words = sorted(word for word in offered if word.startswith("AUTH="))
    return words if "LOGINDISABLED" in offered else [*words, "the LOGIN command"]


def _candidates(authentication: Authentication, *, proven: bool) -> tuple[Mechanism, ...]:
    if authentication.mechanism is not Mechanism.AUTO:
        return (authentication.mechanism,)
    if authentication.oauth2 is not None:
        return _TOKENS
    order = (*_SCRAM, *(_PROVEN if proven else _UNPROVEN), *_LAST)
    if authentication.authorization_identity is None:
        return order
    return tuple(mechanism for mechanism in order if mechanism in AUTHORIZING_MECHANISMS)


def _variants(mechanism: Mechanism, binding: Binding | None) -> tuple[str, ...]:
    name = _NAMES.get(mechanism, "LOGIN")
    if mechanism not in _SCRAM or binding is None:
        return (name,)
    # A server does not say which bindings it takes, and a refusal is final. tls-unique is known to
    # all; the certificate's hash is not, so it is used where the server leaves no choice.
    bound = name + _PLUS
    return (bound, name) if binding.kind == "tls-unique" else (name, bound)


def _available(mechanism: Mechanism, name: str, offered: frozenset[str]) -> bool:
    if mechanism is Mechanism.LOGIN_COMMAND:
        return "LOGINDISABLED" not in offered
    return f"AUTH={name}" in offered

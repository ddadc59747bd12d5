"""Flags and keywords on their way from one server to the other. Pure.

A source may send anything as a flag, even line ends inside a literal, and a STORE or APPEND made
from that would be commands at the destination. So nothing is passed on but what is an atom.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["FlagRules", "canonical", "is_keyword", "missing_flags"]

# RFC 9051 section 9: flag-keyword = atom, flag-extension = "\" atom. ATOM-CHAR is any CHAR (7-bit,
# no NUL) except atom-specials: ( ) { SP CTL list-wildcards quoted-specials resp-specials.
_ATOM: Final = re.compile(rb"\\?[!#$&'+,\-./0-9:;<=>?@A-Z\[^_`a-z|}~]{1,256}")
_SYSTEM: Final = {
    flag.lower(): flag
    for flag in (b"\\Seen", b"\\Answered", b"\\Flagged", b"\\Deleted", b"\\Draft")
}
_ANY_KEYWORD: Final = b"\\*"


def canonical(flag: bytes) -> bytes | None:
    r"""Return a flag as it may be sent to a server, None for one that must not be.

    System flags get the spelling of RFC 9051; some servers write them in lower case. ``\Recent``
    is the server's own and never sent.
    """
    if not _ATOM.fullmatch(flag) or flag.lower() == b"\\recent":
        return None
    return _SYSTEM.get(flag.lower(), flag)


def is_keyword(flag: bytes) -> bool:
    """Whether it is a user's keyword rather than a flag with a backslash."""
    return not flag.startswith(b"\\")


@dataclass(frozen=True, slots=True)
class FlagRules:
    """What one destination folder keeps.

    Attributes
    ----------
    permanent
        Its PERMANENTFLAGS in lower case; None where it does not say, which allows everything.
    refused
        Keywords, in lower case, that it turned out not to take.
    """

    permanent: frozenset[bytes] | None
    refused: frozenset[bytes] = frozenset()

    @classmethod
    def of(cls, permanent: Iterable[bytes] | None) -> FlagRules:
        """Return the rules of a folder with these PERMANENTFLAGS."""
        return cls(None if permanent is None else frozenset(flag.lower() for flag in permanent))

    def kept(self, flags: Iterable[bytes]) -> tuple[bytes, ...]:
        """Return those flags that the folder keeps, ready to be sent, each once, in order."""
        sendable = (canonical(flag) for flag in flags)
        unique = {flag.lower(): flag for flag in sendable if flag is not None}
        return tuple(flag for flag in unique.values() if self._keeps(flag))

    def dropped_keywords(self, flags: Iterable[bytes]) -> tuple[bytes, ...]:
        """Return the keywords that the folder does not keep."""
        return tuple(flag for flag in flags if is_keyword(flag) and not (self.kept((flag,))))

    def without(self, keywords: Iterable[bytes]) -> FlagRules:
        """Return rules that leave out these keywords too."""
        return FlagRules(self.permanent, self.refused | {word.lower() for word in keywords})

    def _keeps(self, flag: bytes) -> bool:
        key = flag.lower()
        if key in self.refused:
            return False
        if self.permanent is None:
            return is_keyword(flag) or key in _SYSTEM
        # "\*" means that new keywords may be made, not new system flags.
        return key in self.permanent or (is_keyword(flag) and _ANY_KEYWORD in self.permanent)


def missing_flags(
    source: Iterable[bytes], destination: Iterable[bytes], *, rules: FlagRules
) -> tuple[bytes, ...]:
    """Return what the destination's message lacks of the source's flags; case does not count."""
    present = {flag.lower() for flag in destination}
    return tuple(flag for flag in rules.kept(source) if flag.lower() not in present)

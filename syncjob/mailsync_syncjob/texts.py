"""What servers say, made safe to repeat, and what it means for the run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Meaning", "StatusText", "parse_status_text", "sanitise"]

_HOUR: Final = 3600

_SHOWN_CHARACTERS: Final = 300
_CODE: Final = re.compile(rb"\[([A-Za-z0-9!#$&'+,./:;<=>?@^_`|~-]{1,64})([^\]]{0,2000})\]\s*")
_TIME: Final = r"(\d{1,9}) ?(milliseconds|ms|seconds?|secs?|s|minutes?|min|hours?|h)\b"
# Microsoft's.
_BACKOFF: Final = re.compile(rf"back-?off time:? ?{_TIME}", re.IGNORECASE)
# Only where the text means a request to wait anyway: a refused password may be told so too.
_LATER: Final = re.compile(
    rf"(?:retry|try again|wait)(?: after| in| for| at least)? {_TIME}", re.IGNORECASE
)
_UNITS: Final = {"milliseconds": 1, "ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}
_THROTTLE_WORDS: Final = re.compile(
    r"throttl|too many (simultaneous |concurrent )?(connections|commands|requests|login)"
    r"|maximum (number of )?connections?|connection limit|bandwidth limit|command limit"
    r"|rate (limit|exceeded)|rate-limit|service (is )?temporarily unavailable",
    re.IGNORECASE,
)
# Google locks the mailbox for an hour at first, and up to a day for those who come back too soon.
_LOCKED_WORDS: Final = re.compile(r"bandwidth limit", re.IGNORECASE)
_QUOTA_WORDS: Final = re.compile(
    r"over ?quota|quota exceeded|exceed\w* (the )?quota|mailbox (is )?full|disk quota",
    re.IGNORECASE,
)
# Microsoft's word for it is AccessTokenExpired; EXPIRED is RFC 5530's code.
_EXPIRED_WORDS: Final = re.compile(
    r"(access|bearer) ?token ?(has |is )?expired|session (was |has been |is )?invalidated",
    re.IGNORECASE,
)
_UNSHOWABLE: Final = re.compile(r"[^\x20-\x7e\xa0-\uffef]+")
# LIMIT is none of them here: it may speak of one message that is too large (Dovecot does).
_THROTTLE_CODES: Final = frozenset({"THROTTLED"})
_REFUSAL_CODES: Final = frozenset({"AUTHENTICATIONFAILED", "AUTHORIZATIONFAILED"})


class Meaning(Enum):
    """What a refusal means beyond the command that was refused."""

    THROTTLED = "throttled"
    OVER_QUOTA = "over quota"
    EXPIRED = "expired"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class StatusText:
    """The text of an OK, NO, BAD or BYE, taken apart."""

    code: str
    """The response code in upper case, without its arguments; empty if there is none."""
    arguments: bytes
    """What follows the code inside the brackets, as it came."""
    text: str
    """The words for people, safe to show."""

    @property
    def retry_after_seconds(self) -> int | None:
        """How long the server asks to wait, rounded up to whole seconds.

        A text that is known to stand for a certain time counts as that.
        """
        if self.meaning is not Meaning.THROTTLED:
            return None
        found = _BACKOFF.search(self.text) or _LATER.search(self.text)
        if found is None:
            return _HOUR if _LOCKED_WORDS.search(self.text) else None
        unit = found[2].lower()
        milliseconds = int(found[1]) * (_UNITS.get(unit) or _UNITS[unit[0]])
        return -(-milliseconds // 1000)

    @property
    def meaning(self) -> Meaning:
        """What it means for the run."""
        if self.code == "OVERQUOTA":
            return Meaning.OVER_QUOTA
        if self.code in _REFUSAL_CODES:
            return Meaning.OTHER  # whatever it says of waiting: the password is not tried again
        throttled = self.code in _THROTTLE_CODES or _BACKOFF.search(self.text)
        if throttled or _THROTTLE_WORDS.search(self.text):
            return Meaning.THROTTLED
        if _QUOTA_WORDS.search(self.text):
            return Meaning.OVER_QUOTA
        if self.code == "EXPIRED" or _EXPIRED_WORDS.search(self.text):
            return Meaning.EXPIRED
        return Meaning.OTHER


def parse_status_text(raw: bytes, *, secrets: Iterable[str] = ()) -> StatusText:
    """Take apart what follows OK, NO, BAD or BYE; secrets are masked wherever they appear."""
    found = _CODE.match(raw)
    if found is None:
        return StatusText(code="", arguments=b"", text=sanitise(raw, secrets=secrets))
    text = sanitise(raw[found.end() :], secrets=secrets)
    code = found[1].decode("ascii").upper()
    return StatusText(code=code, arguments=found[2].strip(), text=text or f"[{code}]")


def sanitise(raw: bytes | str, *, secrets: Iterable[str] = ()) -> str:
    """Return a server's words as one line of bounded length without control characters.

    Some servers repeat the command that they refuse, so secrets are masked here, before the text
    can get anywhere else.
    """
    text = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else raw
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    text = " ".join(_UNSHOWABLE.sub(" ", text).split())
    if len(text) > _SHOWN_CHARACTERS:
        text = text[: _SHOWN_CHARACTERS - 1] + "…"
    return text or "(no text)"

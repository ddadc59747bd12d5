"""Which folders are migrated. Pure.

Patterns are matched against names as people read them: levels separated by slashes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from mailsync_api.spec import REGEX_PREFIX

if TYPE_CHECKING:
    from mailsync_api.spec import FolderSelection

__all__ = ["Selector", "compile_pattern"]

_INBOX: Final = "INBOX"
_BELOW: Final = "/**"


class Selector:
    """Decides for each folder name."""

    def __init__(self, selection: FolderSelection) -> None:
        self._include = tuple(compile_pattern(text) for text in selection.include)
        self._exclude = tuple(compile_pattern(text) for text in selection.exclude)

    def selects(self, name: str) -> bool:
        """Whether the folder is migrated: included (all are, without a list), not excluded."""
        included = not self._include or any(p.fullmatch(name) for p in self._include)
        return included and not any(p.fullmatch(name) for p in self._exclude)


def compile_pattern(text: str) -> re.Pattern[str]:
    """Return the regular expression of a pattern, for matching whole names.

    ``?`` is one character and ``*`` any number of them within a level, ``**`` crosses levels,
    ``X/**`` is X and all below it, ``**/X`` is X at any level. What follows ``re:`` is taken as it
    is. The first level INBOX has no case (RFC 9051 section 5.1).
    """
    if text.startswith(REGEX_PREFIX):
        return re.compile(text.removeprefix(REGEX_PREFIX))
    body, below = text, ""
    if text.endswith(_BELOW) and text != _BELOW:
        body, below = text.removesuffix(_BELOW), "(?:/.*)?"
    first, slash, rest = body.partition("/")
    if first.upper() == _INBOX:
        body, prefix = slash + rest, f"(?i:{_INBOX})"
    else:
        prefix = ""
    return re.compile(prefix + _glob(body) + below, re.DOTALL)


def _glob(text: str) -> str:
    pieces: list[str] = []
    for part in re.findall(r"\*\*/|\*\*|\*|\?|[^*?]+", text):
        if part == "**/":
            pieces.append("(?:.*/)?")
        elif part == "**":
            pieces.append(".*")
        elif part == "*":
            pieces.append("[^/]*")
        elif part == "?":
            pieces.append("[^/]")
        else:
            pieces.append(re.escape(part))
    return "".join(pieces)

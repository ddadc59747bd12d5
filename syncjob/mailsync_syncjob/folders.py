"""Folder names: from one server's separators and prefixes to the other's. Pure.

A folder is a path of levels. ``INBOX`` stands for itself in any case; the prefix of the personal
namespace (``INBOX.`` at Courier and Cyrus) belongs to no path.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "INBOX",
    "Layout",
    "Path",
    "Placed",
    "display",
    "guess_layout",
    "lookup_key",
    "place",
]

INBOX: Final = "INBOX"
_REPLACEMENT: Final = "_"

Path: TypeAlias = "tuple[str, ...]"


@dataclass(frozen=True, slots=True)
class Layout:
    """How one server writes folder names."""

    separator: str
    """Between levels: one character, or empty where there are no levels."""
    prefix: str
    """Before every personal folder but INBOX, with its separator; usually empty."""

    def path(self, name: str) -> Path:
        """Return the path of a name of this server."""
        if name.upper() == INBOX:
            return (INBOX,)
        if self.prefix and name.startswith(self.prefix) and name != self.prefix:
            name = name.removeprefix(self.prefix)
        elif self.prefix and name.upper().startswith(self.prefix.upper()):
            # INBOX has no case, so neither has a prefix made of it.
            name = name[len(self.prefix) :]
        levels = name.split(self.separator) if self.separator else [name]
        if levels[0].upper() == INBOX and not self.prefix:
            levels[0] = INBOX
        # A folder called INBOX below the prefix is another one than INBOX itself.
        return (INBOX, *levels) if levels == [INBOX] else tuple(levels)

    def name(self, path: Path) -> str:
        """Return the name of a path at this server; its levels hold no separator."""
        if path == (INBOX,):
            return INBOX
        return self.prefix + self.separator.join(path)


def guess_layout(names: Sequence[str], *, separator: str) -> Layout:
    """Return the layout of a server that has no NAMESPACE command.

    Where every folder is below INBOX, ``INBOX`` and the separator are a prefix.
    """
    prefix = INBOX + separator
    others = [name for name in names if name.upper() != INBOX]
    below = bool(separator and others) and all(n.upper().startswith(prefix) for n in others)
    return Layout(separator, prefix if below else "")


def display(path: Path) -> str:
    """Return a path as people read and select it: levels separated by slashes."""
    return "/".join(path)


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a source folder goes."""

    source: Path
    destination: Path


def place(paths: Iterable[Path], *, layout: Layout) -> list[Placed]:
    """Return for each source path its path at a destination of this layout.

    A level that holds the destination's separator, or is empty, is written with ``_`` in its place;
    where that would name another folder too, with the character's number instead. Two folders never
    become one, and what a folder becomes does not depend on what was copied before.
    """
    ordered = sorted(set(paths))
    plain = {path: _replaced(path, layout.separator, escape=False) for path in ordered}
    taken = Counter(_folded(target) for target in plain.values())
    placed: list[Placed] = []
    for path in ordered:
        target = plain[path]
        if target != path and taken[_folded(target)] > 1:
            target = _replaced(path, layout.separator, escape=True)
        placed.append(Placed(path, target))
    return placed


def _replaced(path: Path, separator: str, *, escape: bool) -> Path:
    if not separator:
        # A server without levels: everything in one name.
        return path if len(path) == 1 else (_REPLACEMENT.join(path),)
    mark = f"%{ord(separator):02X}" if escape else _REPLACEMENT
    return tuple(level.replace(separator, mark) or mark for level in path)


def _folded(path: Path) -> Path:
    return tuple(unicodedata.normalize("NFC", level) for level in path)


def lookup_key(path: Path) -> Path:
    """Return what two spellings of the same folder have in common (Unicode normalisation)."""
    return _folded(path)

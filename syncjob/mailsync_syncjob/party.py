"""Whom a message is about: a side of a run, or the one server of a probe."""

from __future__ import annotations

from typing import Literal, TypeAlias

from mailsync_api.endpoint import Side

__all__ = ["Party", "side_of"]

Party: TypeAlias = Side | Literal["server"]
"""``mailsync_api.names.PROBED_SERVER`` is the other one: a probe has no sides."""


def side_of(party: Party | None) -> Side | None:
    """Return the side of a run that it is, if it is one."""
    return party if isinstance(party, Side) else None

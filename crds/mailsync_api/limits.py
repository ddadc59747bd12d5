"""Limits: how fast, by how many connections and how much a day; whose limit holds where several do.

A server's limits are those of its MailEndpoint, and its preset's where that has none. The
MailSync's own hold besides, and of all limits of one kind the strictest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final, Self

from pydantic import Field, model_validator

from mailsync_api.base import ApiModel, Bytes, Count
from mailsync_api.endpoint import Side
from mailsync_api.presets import DEFAULT_CONNECTIONS, PresetInfo
from mailsync_api.schema import cel

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "DAY_SECONDS",
    "Bound",
    "DailyAllowance",
    "EndpointLimits",
    "Limits",
    "Pace",
    "Resolved",
    "Terms",
    "resolve",
]

DAY_SECONDS: Final = 86400
_ORIGIN_LENGTH: Final = 400
_CONNECTIONS: Final = "maxConnectionsPerMailbox"
_BYTES_PER_SECOND: Final = "maxBytesPerSecond"
_MESSAGES_PER_SECOND: Final = "maxMessagesPerSecond"
_BYTES_PER_DAY: Final = "maxBytesPerDay"

_Connections = Annotated[int, Field(ge=1, le=32)]
_BytesPerSecond = Annotated[int, Field(ge=1024, le=10**12)]
_MessagesPerSecond = Annotated[int, Field(ge=1, le=100_000)]
_BytesPerDay = Annotated[int, Field(ge=10**6, le=10**15)]
_DAY_TOO_SMALL: Final = "maxBytesPerDay must not be less than maxBytesPerSecond"


class EndpointLimits(ApiModel):
    """What a server allows, for each mailbox by itself."""

    max_connections_per_mailbox: _Connections | None = None
    """How many connections a run may have to the server at once, for one mailbox. The preset's by
    default, which is 4 for most."""
    max_bytes_per_day: _BytesPerDay | None = None
    """How many bytes of messages are copied from or to one mailbox within any 24 hours. The
    preset's by default, which is none for most; Gmail documents one for each direction. A run
    that has copied that much ends, and the next one starts when there is room again."""


class Limits(ApiModel):
    """What a MailSync restrains itself to; the stricter of these and the servers' limits hold."""

    model_config = cel(
        (
            "!has(self.maxBytesPerDay) || !has(self.maxBytesPerSecond)"
            " || self.maxBytesPerDay >= self.maxBytesPerSecond",
            _DAY_TOO_SMALL,
        ),
    )

    max_connections_per_mailbox: _Connections | None = None
    """How many connections a run may have to each server at once."""
    max_bytes_per_second: _BytesPerSecond | None = None
    """How many bytes of messages are copied per second, on average; all connections of a run
    together. A message larger than that is copied whole, and what follows waits for it."""
    max_messages_per_second: _MessagesPerSecond | None = None
    """How many messages are copied per second, on average; all connections of a run together."""
    max_bytes_per_day: _BytesPerDay | None = None
    """How many bytes of messages are copied within any 24 hours. A run that has copied that much
    ends, and the next one starts when there is room again."""

    @model_validator(mode="after")
    def _day_holds_a_second(self) -> Self:
        # The same rule as the CEL one above: manifests are also read without an API server.
        day, second = self.max_bytes_per_day, self.max_bytes_per_second
        if day is not None and second is not None and day < second:
            raise ValueError(f"{_DAY_TOO_SMALL} ({day} is less than {second})")
        return self


class Bound(ApiModel):
    """A limit that holds, and whose it is."""

    value: Annotated[int, Field(ge=1)]
    """The limit."""
    origin: Annotated[str, Field(max_length=_ORIGIN_LENGTH)]
    """Where it comes from, for people."""


class DailyAllowance(ApiModel):
    """What a run may still copy of a daily limit."""

    limit: Bound
    """Bytes within any 24 hours."""
    left: Bytes
    """Bytes that are left of it when the run starts."""
    renewed_after_seconds: Count | None = None
    """How long after the start of the run what earlier runs copied stops to count, in seconds;
    absent where only this run itself counts."""


class Pace(ApiModel):
    """How fast a run may copy, and how much."""

    bytes_per_second: Bound | None = None
    """Bytes of messages; none for as fast as it goes."""
    messages_per_second: Bound | None = None
    """Messages; none for as fast as it goes."""
    daily: DailyAllowance | None = None
    """Bytes of messages in this run; none for all there are."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a MailEndpoint asks of those who copy from or to its server."""

    name: str
    """The MailEndpoint's name."""
    limits: EndpointLimits
    info: PresetInfo


@dataclass(frozen=True, slots=True)
class Resolved:
    """The strictest limit of each kind; None where there is none."""

    connections: Bound
    bytes_per_second: Bound | None = None
    messages_per_second: Bound | None = None
    bytes_per_day: Bound | None = None


def resolve(own: Limits, terms: Mapping[Side, Terms]) -> Resolved:
    """Return what holds for a run.

    Parameters
    ----------
    own
        The MailSync's limits.
    terms
        Those of the MailEndpoints that it refers to, by side.
    """
    ends = [(side, terms.get(side)) for side in Side]
    return Resolved(
        connections=_strictest(
            _own(own.max_connections_per_mailbox, _CONNECTIONS),
            *(_connections(side, end) for side, end in ends),
        )
        or Bound(value=DEFAULT_CONNECTIONS, origin="the default"),
        bytes_per_second=_own(own.max_bytes_per_second, _BYTES_PER_SECOND),
        messages_per_second=_own(own.max_messages_per_second, _MESSAGES_PER_SECOND),
        bytes_per_day=_strictest(
            _own(own.max_bytes_per_day, _BYTES_PER_DAY),
            *(_bytes_per_day(side, end) for side, end in ends),
        ),
    )


def _own(value: int | None, field: str) -> Bound | None:
    return None if value is None else Bound(value=value, origin=f"spec.limits.{field}")


def _connections(side: Side, terms: Terms | None) -> Bound:
    if terms is None:
        return Bound(value=DEFAULT_CONNECTIONS, origin=f"the default for the {side}")
    given = terms.limits.max_connections_per_mailbox
    if given is not None:
        return _given(given, side, terms, _CONNECTIONS)
    return Bound(value=terms.info.connections, origin=_preset(side, terms))


def _bytes_per_day(side: Side, terms: Terms | None) -> Bound | None:
    if terms is None:
        return None
    given = terms.limits.max_bytes_per_day
    if given is not None:
        return _given(given, side, terms, _BYTES_PER_DAY)
    info = terms.info
    known = info.download_bytes_per_day if side is Side.SOURCE else info.upload_bytes_per_day
    return None if known is None else Bound(value=known, origin=_preset(side, terms))


def _given(value: int, side: Side, terms: Terms, field: str) -> Bound:
    origin = f'{field} of MailEndpoint "{terms.name}" ({side})'
    return Bound(value=value, origin=origin)


def _preset(side: Side, terms: Terms) -> str:
    return f'preset {terms.info.preset} of MailEndpoint "{terms.name}" ({side})'


def _strictest(*bounds: Bound | None) -> Bound | None:
    """Return the least of those that there are; the first of equal ones."""
    return min((bound for bound in bounds if bound), key=lambda bound: bound.value, default=None)

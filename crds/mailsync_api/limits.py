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
_Syncs = Annotated[int, Field(ge=1, le=10_000)]
_LEAST_SHARE: Final = 1024
_BOTH_SLOTS: Final = "(has(self.maxConcurrentInitialSyncs) && has(self.maxConcurrentDeltaSyncs))"
_SLOTS: Final = "(self.maxConcurrentInitialSyncs + self.maxConcurrentDeltaSyncs)"
_SLOTS_MISSING: Final = (
    "maxBytesPerSecond and maxMessagesPerSecond are shared by all runs, so they need "
    "maxConcurrentInitialSyncs and maxConcurrentDeltaSyncs"
)
_BYTES_SHARE: Final = (
    "maxBytesPerSecond must be at least 1024 for each of the maxConcurrentInitialSyncs and "
    "maxConcurrentDeltaSyncs"
)
_MESSAGES_SHARE: Final = (
    "maxMessagesPerSecond must be at least 1 for each of the maxConcurrentInitialSyncs and "
    "maxConcurrentDeltaSyncs"
)
_DAY_TOO_SMALL: Final = "maxBytesPerDay must not be less than maxBytesPerSecond"


class EndpointLimits(ApiModel):
    """What a server allows: for each mailbox by itself, and for all of them together."""

    model_config = cel(
        (
            "!(has(self.maxBytesPerSecond) || has(self.maxMessagesPerSecond))"
            " || (has(self.maxConcurrentInitialSyncs) && has(self.maxConcurrentDeltaSyncs))",
            _SLOTS_MISSING,
        ),
        (
            f"!has(self.maxBytesPerSecond) || !{_BOTH_SLOTS}"
            f" || self.maxBytesPerSecond >= {_LEAST_SHARE} * {_SLOTS}",
            _BYTES_SHARE,
        ),
        (
            f"!has(self.maxMessagesPerSecond) || !{_BOTH_SLOTS}"
            f" || self.maxMessagesPerSecond >= {_SLOTS}",
            _MESSAGES_SHARE,
        ),
    )

    max_concurrent_initial_syncs: _Syncs | None = None
    """How many MailSyncs that refer to it may run at once for the first time, all batches together;
    any number by default. Others wait as Queued, without a pod."""
    max_concurrent_delta_syncs: _Syncs | None = None
    """The same for further runs."""
    max_bytes_per_second: _BytesPerSecond | None = None
    """How many bytes of messages are copied from and to the server per second, on average, by all
    MailSyncs together: each run gets an equal share, so both numbers of concurrent syncs must be
    given."""
    max_messages_per_second: _MessagesPerSecond | None = None
    """The same for messages."""
    max_connections_per_mailbox: _Connections | None = None
    """How many connections a run may have to the server at once, for one mailbox. The preset's by
    default, which is 4 for most."""
    max_bytes_per_day: _BytesPerDay | None = None
    """How many bytes of messages are copied from or to one mailbox within any 24 hours. The
    preset's by default, which is none for most; Gmail documents one for each direction. A run
    that has copied that much ends, and the next one starts when there is room again."""

    @model_validator(mode="after")
    def _can_be_shared(self) -> Self:
        # The same rules as the CEL ones above: manifests are also read without an API server.
        size, messages, slots = self.max_bytes_per_second, self.max_messages_per_second, self.slots
        if slots is None:
            if size is not None or messages is not None:
                raise ValueError(_SLOTS_MISSING)
        elif size is not None and size < _LEAST_SHARE * slots:
            raise ValueError(f"{_BYTES_SHARE} ({size} for {slots})")
        elif messages is not None and messages < slots:
            raise ValueError(f"{_MESSAGES_SHARE} ({messages} for {slots})")
        return self

    @property
    def slots(self) -> int | None:
        """How many runs there may be at once; None for any number."""
        initial, delta = self.max_concurrent_initial_syncs, self.max_concurrent_delta_syncs
        return None if initial is None or delta is None else initial + delta


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
    # What is read from a server and stored there again passes it twice.
    twice = len(terms) > len({each.name for each in terms.values()})
    return Resolved(
        connections=_strictest(
            _own(own.max_connections_per_mailbox, _CONNECTIONS),
            *(_connections(side, end) for side, end in ends),
        )
        or Bound(value=DEFAULT_CONNECTIONS, origin="the default"),
        bytes_per_second=_strictest(
            _own(own.max_bytes_per_second, _BYTES_PER_SECOND),
            *(
                _share(side, end, end.limits.max_bytes_per_second, _BYTES_PER_SECOND, twice=twice)
                for side, end in ends
                if end
            ),
        ),
        messages_per_second=_strictest(
            _own(own.max_messages_per_second, _MESSAGES_PER_SECOND),
            *(
                _share(
                    side, end, end.limits.max_messages_per_second, _MESSAGES_PER_SECOND, twice=twice
                )
                for side, end in ends
                if end
            ),
        ),
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


def _share(side: Side, terms: Terms, rate: int | None, field: str, *, twice: bool) -> Bound | None:
    slots = terms.limits.slots
    if rate is None or slots is None:
        return None
    parts = slots * (2 if twice else 1)
    text = f'{field} {rate} of MailEndpoint "{terms.name}" ({side}), shared by {slots} runs'
    return Bound(value=max(1, rate // parts), origin=text)


def _given(value: int, side: Side, terms: Terms, field: str) -> Bound:
    origin = f'{field} of MailEndpoint "{terms.name}" ({side})'
    return Bound(value=value, origin=origin)


def _preset(side: Side, terms: Terms) -> str:
    return f'preset {terms.info.preset} of MailEndpoint "{terms.name}" ({side})'


def _strictest(*bounds: Bound | None) -> Bound | None:
    """Return the least of those that there are; the first of equal ones."""
    return min((bound for bound in bounds if bound), key=lambda bound: bound.value, default=None)

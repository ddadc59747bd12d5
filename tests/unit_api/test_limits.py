"""Limits: bounds, whose limit holds, and what is left of a day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mailsync_api.allowance import allowance, closed_until, noted
from mailsync_api.endpoint import Side
from mailsync_api.job import JobInput, job_input
from mailsync_api.limits import Bound, EndpointLimits, Limits, Terms, resolve
from mailsync_api.manifest import MailEndpoint
from mailsync_api.presets import PRESETS, Preset
from mailsync_api.spec import Accounts
from mailsync_api.status import CopiedBytes
from tests.support.builders import endpoint_manifest, mailsync

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
DAY = timedelta(days=1)
MB = 10**6

BAD: list[tuple[str, dict[str, Any], str, str]] = [
    # what, limits, field, words of the message
    ("no connection", {"maxConnectionsPerMailbox": 0}, "maxConnectionsPerMailbox", "1"),
    ("too many", {"maxConnectionsPerMailbox": 33}, "maxConnectionsPerMailbox", "32"),
    ("too slow", {"maxBytesPerSecond": 1023}, "maxBytesPerSecond", "1024"),
    ("no message", {"maxMessagesPerSecond": 0}, "maxMessagesPerSecond", "1"),
    ("a day of nothing", {"maxBytesPerDay": 999_999}, "maxBytesPerDay", "1000000"),
    (
        "a second above a day",
        {"maxBytesPerDay": MB, "maxBytesPerSecond": MB + 1},
        "",
        "must not be less than maxBytesPerSecond (1000000 is less than 1000001)",
    ),
    ("misspelt", {"maxByteRate": 1}, "maxByteRate", "Extra inputs"),
]


@pytest.mark.parametrize(
    ("limits", "field", "words"), [bad[1:] for bad in BAD], ids=[bad[0] for bad in BAD]
)
def test_bad_limits_are_refused_by_field(limits: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        mailsync(limits=limits)
    [error] = caught.value.errors()
    path = ".".join(str(part) for part in error["loc"])
    assert path == f"spec.limits{'.' if field else ''}{field}"
    assert words in str(error["msg"])


def _terms(preset: Preset = Preset.GENERIC, **limits: int) -> Terms:
    return Terms("old", EndpointLimits(**limits), PRESETS[preset])


@pytest.mark.parametrize(
    ("own", "terms", "value", "origin"),
    [
        ({}, {}, 4, "the default for the source"),
        ({"max_connections_per_mailbox": 9}, {}, 4, "the default for the source"),
        ({"max_connections_per_mailbox": 2}, {}, 2, "spec.limits.maxConnectionsPerMailbox"),
        ({}, {Side.DESTINATION: _terms(Preset.COURIER)}, 2, "preset Courier"),
        ({}, {Side.SOURCE: _terms(Preset.GMAIL)}, 4, "the default for the destination"),
        (
            {"max_connections_per_mailbox": 7},
            {
                Side.SOURCE: _terms(Preset.GMAIL),
                Side.DESTINATION: _terms(max_connections_per_mailbox=10),
            },
            7,
            "spec.limits.maxConnectionsPerMailbox",
        ),
        (
            {},
            {
                Side.SOURCE: _terms(Preset.COURIER, max_connections_per_mailbox=3),
                Side.DESTINATION: _terms(),
            },
            3,
            'maxConnectionsPerMailbox of MailEndpoint "old" (source)',
        ),
    ],
)
def test_the_strictest_number_of_connections_holds(
    own: dict[str, int], terms: dict[Side, Terms], value: int, origin: str
) -> None:
    bound = resolve(Limits(**own), terms).connections
    assert bound.value == value
    assert origin in bound.origin


@pytest.mark.parametrize(
    ("side", "limits", "value"),
    [
        (Side.SOURCE, {}, 2500 * MB),
        (Side.DESTINATION, {}, 500 * MB),
        (Side.DESTINATION, {"max_bytes_per_day": 900 * MB}, 900 * MB),
    ],
)
def test_a_service_limits_each_direction_by_itself(
    side: Side, limits: dict[str, int], value: int
) -> None:
    bound = resolve(Limits(), {side: _terms(Preset.GMAIL, **limits)}).bytes_per_day
    assert bound is not None
    assert bound.value == value
    assert f"({side})" in bound.origin


def test_of_three_daily_limits_the_least_is_told_with_its_name() -> None:
    both = {side: _terms(Preset.GMAIL) for side in Side}
    bound = resolve(Limits(max_bytes_per_day=100 * MB), both).bytes_per_day
    assert bound == Bound(value=100 * MB, origin="spec.limits.maxBytesPerDay")


def test_every_preset_that_differs_says_why() -> None:
    plain = PRESETS[Preset.GENERIC]
    for info in PRESETS.values():
        own = (info.connections, info.download_bytes_per_day, info.upload_bytes_per_day)
        if own != (plain.connections, None, None):
            assert info.limits_note, info.preset


def test_a_job_gets_what_holds() -> None:
    spec = mailsync(
        limits={"maxBytesPerSecond": 2048, "maxMessagesPerSecond": 5},
        source={"host": None, "endpointRef": {"name": "old"}},
    ).spec
    endpoint = MailEndpoint.from_object(endpoint_manifest(limits={"maxBytesPerDay": MB})).spec
    job = job_input(
        spec,
        Accounts.of(spec, {"old": endpoint.server}),
        namespace="default",
        name="alice",
        terms={Side.SOURCE: endpoint.terms("old")},
        copied_lately=[CopiedBytes(time=NOW - timedelta(hours=20), bytes=400_000)],
        now=NOW,
    )
    again = JobInput.model_validate_json(job.model_dump_json(by_alias=True))
    assert again == job
    pace = job.pace
    assert job.connections == 4
    assert job.connections_origin
    assert pace.bytes_per_second is not None
    assert pace.bytes_per_second.value == 2048
    assert pace.messages_per_second is not None
    assert pace.messages_per_second.value == 5
    assert pace.daily is not None
    assert pace.daily.left == 600_000
    assert pace.daily.renewed_after_seconds == 4 * 3600


LIMIT = Bound(value=1000, origin="a test")


def _copied(*entries: tuple[float, int]) -> list[CopiedBytes]:
    """Return entries of so many hours ago and bytes."""
    return [CopiedBytes(time=NOW - timedelta(hours=ago), bytes=size) for ago, size in entries]


@pytest.mark.parametrize(
    ("copied", "left", "renewed", "closed"),
    [
        ([], 1000, None, None),
        ([(25, 1000)], 1000, None, None),
        ([(1, 300)], 700, 23, None),
        ([(1, 995)], 5, 23, 23),  # not worth a pod
        ([(1, 500), (3, 500)], 0, 21, 21),
        ([(1, 900), (3, 5), (2, 5)], 90, 22, None),  # the third of an hour ago is too little
        ([(1, 1500)], 0, 23, 23),
        ([(1, 1000), (20, 500)], 0, 4, 23),  # over the limit: the first to end is not enough
    ],
)
def test_what_is_left_of_a_day(
    copied: list[tuple[float, int]], left: int, renewed: int | None, closed: int | None
) -> None:
    entries = _copied(*copied)
    found = allowance(LIMIT, entries, now=NOW)
    assert found.left == left
    assert found.renewed_after_seconds == (None if renewed is None else renewed * 3600)
    until = closed_until(LIMIT, entries, now=NOW)
    assert until == (None if closed is None else NOW + timedelta(hours=closed))


def test_runs_of_one_hour_are_one_entry() -> None:
    entries: list[CopiedBytes] = []
    for minute in range(0, 120, 5):
        end = NOW + timedelta(minutes=minute)
        entries = noted(entries, size=10, end=end, now=end)
    assert [each.bytes for each in entries] == [120, 120]
    assert entries[0].time == NOW + timedelta(minutes=55)
    assert noted(entries, size=0, end=NOW, now=NOW + timedelta(days=2)) == []


@given(
    st.lists(
        st.tuples(
            st.integers(0, 30 * 3600),  # waits before it
            st.integers(0, 8 * 3600),  # takes so long
            st.integers(0, 100),  # copies this part of what it may
        ),
        max_size=40,
    )
)
def test_no_24_hours_hold_more_than_the_limit(runs: list[tuple[int, int, int]]) -> None:
    entries: list[CopiedBytes] = []
    moved: list[tuple[datetime, int]] = []
    now = NOW
    for wait, takes, part in runs:
        now += timedelta(seconds=wait)
        until = closed_until(LIMIT, entries, now=now)
        if until is not None:
            assert until > now
            now = until
        may = allowance(LIMIT, entries, now=now)
        assert may.left > 0
        size = may.left * part // 100
        # All of it may have been copied at any moment of the run: at its first and at its last.
        moved.extend([(now, size // 2), (now + timedelta(seconds=takes), size - size // 2)])
        now += timedelta(seconds=takes)
        entries = noted(entries, size=size, end=now, now=now)
        assert len(entries) <= 48
    for end, _ in moved:
        assert sum(size for at, size in moved if end - DAY < at <= end) <= LIMIT.value

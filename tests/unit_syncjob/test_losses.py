"""What lost and refused connections mean for going on."""

from __future__ import annotations

import pytest

from mailsync_api.endpoint import Side
from mailsync_syncjob.errors import (
    ConnectionLostError,
    CredentialsError,
    EngineError,
    ThrottledError,
    UnreachableError,
)
from mailsync_syncjob.losses import Losses, is_about_their_number, may_pass


def test_waits_double_up_to_half_a_minute_and_end_after_five() -> None:
    losses = Losses()
    assert losses.wait == 0
    waits = []
    while not losses.hopeless:
        losses.lost(moved=False)
        waits.append(losses.wait)
    assert waits == [1, 2, 4, 8, 16, 30]


def test_what_was_achieved_begins_the_count_anew() -> None:
    losses = Losses()
    for _ in range(20):
        losses.lost(moved=True)
        assert losses.wait == 1
    losses.lost(moved=False)
    assert losses.wait == 2
    losses.forget()
    assert not losses.row


@pytest.mark.parametrize(
    ("words", "about"),
    [
        ("Too many simultaneous connections. (Failure)", True),
        ("Maximum number of connections from user+IP exceeded", True),
        ("too many open sessions", True),
        ("Limit of concurrent connections reached", True),
        ("Suggested Backoff Time: 299961 Milliseconds", False),
        ("Account exceeded command or bandwidth limits", False),
    ],
)
def test_too_many_connections_is_told_from_too_much_work(words: str, *, about: bool) -> None:
    assert is_about_their_number(ThrottledError(words, side=Side.DESTINATION)) is about
    assert not is_about_their_number(ConnectionLostError(words))


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (UnreachableError("x"), True),
        (ConnectionLostError("x"), True),
        (CredentialsError("x"), False),
        (ThrottledError("x"), False),
    ],
)
def test_what_may_pass_in_a_moment(error: EngineError, *, passes: bool) -> None:
    assert may_pass(error) is passes

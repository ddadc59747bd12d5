"""The resume state: compact, bounded, and refused as soon as anything about it is odd."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsync_api.job import JobInput, job_input
from mailsync_api.limits import Limits
from mailsync_api.spec import Accounts, Mode
from mailsync_api.state import (
    STATE_BYTES,
    FolderNumbers,
    StateUnusableError,
    folder_key,
    parse_state,
    state_subject,
    state_text,
)
from tests.support.builders import mailsync

SUBJECT = "5a" * 16
ONE = FolderNumbers(7, 12, 10, 99, 8, 15, 11, 120, 4096)
FOLDERS = {folder_key(SUBJECT, b"INBOX", b"INBOX"): ONE}
TEXT, _ = state_text(SUBJECT, FOLDERS)


def job(**spec: Any) -> JobInput:
    wanted = mailsync(**spec).spec
    return job_input(wanted, Accounts.of(wanted, {}), namespace="default", name="alice")


def test_what_is_written_is_what_is_read() -> None:
    assert parse_state(TEXT, subject=SUBJECT) == FOLDERS
    assert parse_state(TEXT.encode(), subject=SUBJECT) == FOLDERS
    [one] = parse_state(TEXT, subject=SUBJECT).values()
    assert one.destination_messages == 11


def test_no_name_of_a_folder_is_in_it() -> None:
    text, _ = state_text(SUBJECT, {folder_key(SUBJECT, b"Divorce", b"INBOX.Divorce"): ONE})
    assert "ivorce" not in text


def test_two_pairs_of_names_that_join_to_the_same_are_two_folders() -> None:
    assert folder_key(SUBJECT, b"a", b"bc") != folder_key(SUBJECT, b"ab", b"c")
    assert folder_key(SUBJECT, b"a", b"b") != folder_key("5b" * 16, b"a", b"b")


def test_5000_folders_with_the_largest_numbers_fit() -> None:
    most = 2**32 - 1
    numbers = FolderNumbers(most, most, most, 2**53, most, most, most, 2**53, 2**50)
    folders = {folder_key(SUBJECT, b"%d" % n, b""): numbers for n in range(5000)}
    text, left_out = state_text(SUBJECT, folders)
    assert left_out == 0
    assert len(text) < STATE_BYTES
    assert parse_state(text, subject=SUBJECT) == folders


def test_of_too_many_folders_those_are_kept_that_cost_most() -> None:
    folders = {
        folder_key(SUBJECT, b"%d" % n, b""): ONE._replace(source_messages=n) for n in range(30_000)
    }
    text, left_out = state_text(SUBJECT, folders)
    kept = parse_state(text, subject=SUBJECT)
    assert len(text) <= STATE_BYTES
    assert len(kept) + left_out == 30_000
    assert min(one.source_messages for one in kept.values()) == left_out


def _changed(**changes: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda wire: wire | changes


ODD: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "a later version": (_changed(version=2), "version is not 1"),
    "a version of another type": (_changed(version=True), "version is not 1"),
    "no version": (lambda wire: {k: v for k, v in wire.items() if k != "version"}, "version"),
    "a list": (lambda wire: [wire], "not a JSON object"),
    "a field more": (_changed(more=1), "more"),
    "a number less": (_changed(folders={next(iter(FOLDERS)): [1] * 8}), "folders"),
    "a number more": (_changed(folders={next(iter(FOLDERS)): [1] * 10}), "folders"),
    "numbers as texts": (_changed(folders={next(iter(FOLDERS)): ["1"] * 9}), "folders"),
    "a negative number": (_changed(folders={next(iter(FOLDERS)): [-1] * 9}), "folders"),
    "no modification sequence": (
        _changed(folders={next(iter(FOLDERS)): [*ONE[:3], 0, *ONE[4:]]}),
        "folders",
    ),
    "a key that is none": (_changed(folders={"INBOX": list(ONE)}), "folders"),
    "another number": (
        _changed(folders={next(iter(FOLDERS)): [*ONE[:8], ONE.size + 1]}),
        "damaged",
    ),
    "a folder less": (_changed(folders={}), "damaged"),
    "another subject": (_changed(subject="5b" * 16), "damaged"),
}


@pytest.mark.parametrize("case", ODD)
def test_what_is_odd_is_no_state(case: str) -> None:
    change, why = ODD[case]
    with pytest.raises(StateUnusableError, match=why):
        parse_state(json.dumps(change(json.loads(TEXT))), subject=SUBJECT)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not JSON"),
        ("\x00" * 40, "not JSON"),
        (TEXT[:-1], "not JSON"),
        ("[" * 200_000, "not JSON"),
        (" " * (STATE_BYTES + 1), "more than"),
        (b"\xff\xfe", "not JSON"),
    ],
    ids=["nothing", "zeros", "torn", "deep", "long", "no text"],
)
def test_what_is_no_json_is_no_state(text: str | bytes, why: str) -> None:
    with pytest.raises(StateUnusableError, match=why):
        parse_state(text, subject=SUBJECT)


def test_the_state_of_another_mailbox_is_none() -> None:
    with pytest.raises(StateUnusableError, match="another mailbox"):
        parse_state(TEXT, subject="5b" * 16)


@given(data=st.binary(max_size=300))
def test_any_bytes_are_refused_in_words(data: bytes) -> None:
    with pytest.raises(StateUnusableError):
        parse_state(data, subject=SUBJECT)


@given(place=st.integers(0, len(TEXT) - 1), bit=st.integers(0, 6))
def test_a_flipped_bit_is_found(place: int, bit: int) -> None:
    damaged = bytearray(TEXT.encode())
    damaged[place] ^= 1 << bit
    with contextlib.suppress(StateUnusableError):
        assert parse_state(bytes(damaged), subject=SUBJECT) == FOLDERS


def test_the_subject_is_both_mailboxes_and_the_work() -> None:
    plain = state_subject(job())
    others = [
        job(source={"host": "other.example.org"}),
        job(source={"username": "bob@example.org"}),
        job(destination={"port": 1993}),
        job(destination={"authentication": {"proxyAuthUser": "bob@example.org"}}),
        job(folders={"include": ["INBOX"]}),
    ]
    subjects = {plain, *(state_subject(other) for other in others)}
    assert len(subjects) == 1 + len(others)


def test_how_and_when_it_is_done_changes_no_subject() -> None:
    plain = state_subject(job())
    assert state_subject(job(mode=Mode.DRY_RUN)) == plain
    assert state_subject(job(source={"host": "SOURCE.example.org"})) == plain
    assert state_subject(job(source={"authentication": {"secretRef": {"name": "new"}}})) == plain
    limits = Limits(max_bytes_per_second=4096).to_wire()
    assert state_subject(job(limits=limits)) == plain
    assert state_subject(job().model_copy(update={"run": 7})) == plain

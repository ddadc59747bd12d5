"""What a folder's numbers say about the work that it needs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mailsync_api.job import JobInput, job_input
from mailsync_api.spec import Accounts
from mailsync_api.state import FolderNumbers
from mailsync_syncjob.imap.survey import Standing
from mailsync_syncjob.ledger import Ledger
from mailsync_syncjob.resume import (
    Done,
    Full,
    NewOnly,
    Unchanged,
    decide,
    new_numbers,
    only_new,
)
from mailsync_syncjob.statefile import read_ledger, write_state
from tests.support.builders import mailsync
from tests.support.recorded import Recorded

SUBJECT = "5a" * 16
NUMBERS = FolderNumbers(7, 12, 10, 99, 8, 15, 10, 120, 4096)
HERE = Standing(uid_validity=7, uid_next=12, messages=10, highest_mod_seq=99)
THERE = Standing(uid_validity=8, uid_next=15, messages=10, highest_mod_seq=120)
GROWN = replace(HERE, uid_next=14, messages=12, highest_mod_seq=103)


def test_equal_numbers_are_an_unchanged_folder() -> None:
    assert decide(NUMBERS, HERE, THERE) == Unchanged(NUMBERS)


def test_a_source_that_grew_has_new_messages() -> None:
    assert decide(NUMBERS, GROWN, THERE) == NewOnly(NUMBERS)
    assert NewOnly(NUMBERS).first_uid == 12
    # Some came and went again: whether only those did is seen when it is opened.
    assert isinstance(decide(NUMBERS, replace(GROWN, uid_next=20), THERE), NewOnly)
    assert isinstance(decide(NUMBERS, replace(GROWN, messages=10), THERE), NewOnly)


FULL: dict[str, tuple[FolderNumbers | None, Standing | None, Standing | None]] = {
    "no numbers": (None, HERE, THERE),
    "does not tell its numbers": (NUMBERS, None, THERE),
    "a side does not tell": (NUMBERS, HERE, None),
    "no HIGHESTMODSEQ": (NUMBERS, replace(HERE, highest_mod_seq=None), THERE),
    "no HIGHESTMOD": (NUMBERS, HERE, replace(THERE, highest_mod_seq=0)),
    "no UIDVALIDITY": (NUMBERS, replace(HERE, uid_validity=None), THERE),
    "no UIDNEXT": (NUMBERS, replace(HERE, uid_next=None), THERE),
    "UIDNEXT that can be right": (NUMBERS, HERE, replace(THERE, uid_next=10)),
    "UIDVALIDITY of the source": (NUMBERS, replace(GROWN, uid_validity=9), THERE),
    "the destination has changed": (NUMBERS, HERE, replace(THERE, uid_validity=9)),
    "destination has changed": (NUMBERS, HERE, replace(THERE, uid_next=16)),
    "has changed": (NUMBERS, GROWN, replace(THERE, messages=9)),
    "changed": (NUMBERS, HERE, replace(THERE, highest_mod_seq=121)),
    "go backwards": (NUMBERS, replace(HERE, highest_mod_seq=98), THERE),
    "numbers of the source go backwards": (NUMBERS, replace(GROWN, uid_next=11, messages=9), THERE),
    "are gone": (NUMBERS, replace(GROWN, messages=9), THERE),
    "messages of the source are gone": (NUMBERS, replace(GROWN, uid_next=13), THERE),
    "flags at the source": (NUMBERS, replace(HERE, highest_mod_seq=100), THERE),
    "did not rise": (NUMBERS, replace(GROWN, highest_mod_seq=99), THERE),
    "messages of its own": (
        NUMBERS._replace(destination_messages=11),
        GROWN,
        replace(THERE, messages=11),
    ),
    "cannot be right": (NUMBERS._replace(source_uid_next=10), HERE, THERE),
    "numbers cannot be right": (NUMBERS._replace(destination_messages=9), HERE, THERE),
}


@pytest.mark.parametrize("reason", FULL)
def test_whatever_else_they_say_is_compared_in_full(reason: str) -> None:
    decision = decide(*FULL[reason])
    assert isinstance(decision, Full)
    assert reason in decision.reason


def confirmed(
    *,
    numbers: FolderNumbers = NUMBERS,
    exists: int = 12,
    uid_validity: int = 7,
    uids: tuple[int, ...] = (11, 12, 13),
    flags_changed: bool = False,
    destination: Standing = THERE,
) -> str | None:
    return only_new(
        numbers,
        source=replace(HERE, messages=exists, uid_validity=uid_validity),
        uids=uids,
        flags_changed=flags_changed,
        destination=destination,
    )


def test_the_border_between_old_and_new_confirms_that_no_old_one_is_gone() -> None:
    assert confirmed() is None
    assert confirmed(exists=10, uids=(11,)) is None
    nothing = NUMBERS._replace(source_messages=0)
    assert confirmed(numbers=nothing, exists=2, uids=(12, 13)) is None
    assert confirmed(numbers=nothing, exists=0, uids=()) is None


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (confirmed(exists=9, uids=()), "gone"),
        (confirmed(exists=12, uids=(12, 13, 14)), "gone"),
        (confirmed(exists=12, uids=(11, 12)), "gone"),
        (confirmed(exists=12, uids=(10, 11, 13)), "gone"),
        (confirmed(numbers=NUMBERS._replace(source_messages=0), exists=1, uids=(11,)), "gone"),
        (confirmed(flags_changed=True), "flags"),
        (confirmed(uid_validity=9), "UIDVALIDITY"),
        (confirmed(destination=replace(THERE, uid_next=16, messages=11)), "destination"),
    ],
)
def test_and_everything_else_does_not(said: str | None, why: str) -> None:
    assert said is not None
    assert why in said


DONE = Done(source=HERE, listed=10, last_uid=11, size=4096, destination=THERE, copied=0)
COPIED = replace(DONE, destination=replace(THERE, uid_next=12, messages=7), copied=3)


def test_a_pass_that_left_nothing_out_gives_the_numbers() -> None:
    assert new_numbers(DONE, THERE) == NUMBERS
    assert new_numbers(COPIED, THERE) == NUMBERS


@pytest.mark.parametrize(
    ("done", "after"),
    [
        (replace(DONE, listed=9), THERE),  # somebody deleted, or a message was not listed
        (replace(DONE, last_uid=12), THERE),  # one that came later was listed
        (replace(DONE, source=replace(HERE, highest_mod_seq=None)), THERE),
        (replace(DONE, source=replace(HERE, uid_next=None)), THERE),
        (DONE, replace(THERE, uid_validity=9)),
        (DONE, replace(THERE, highest_mod_seq=None)),
        (COPIED, replace(THERE, uid_next=16)),  # somebody delivered, and another deleted
        (COPIED, replace(THERE, messages=11, uid_next=16)),
        (replace(COPIED, copied=2), THERE),
        (replace(DONE, destination=Standing(messages=10)), THERE),
        (DONE, replace(THERE, highest_mod_seq=119)),
    ],
)
def test_any_doubt_gives_none(done: Done, after: Standing) -> None:
    assert new_numbers(done, after) is None


def ledger(**folders: FolderNumbers) -> Ledger:
    ours = Ledger(SUBJECT, {})
    for name, numbers in folders.items():
        here = Standing(*numbers[2:3], numbers[1], numbers[0], numbers[3])
        there = Standing(*numbers[6:7], numbers[5], numbers[4], numbers[7])
        done = Done(here, numbers[2], numbers[1] - 1, numbers.size, there, 0)
        ours.done(name.encode(), name.encode(), done, touched=False)
    return ours


def test_a_second_attempt_compares_in_full() -> None:
    ours = ledger(INBOX=NUMBERS)
    first, second = (
        ours.decide(b"INBOX", b"INBOX", source=HERE, destination=THERE) for _ in range(2)
    )
    assert first == Unchanged(NUMBERS)
    assert isinstance(second, Full)


def test_a_folder_that_went_elsewhere_is_another_one() -> None:
    ours = ledger(INBOX=NUMBERS)
    decision = ours.decide(b"INBOX", b"Old/INBOX", source=HERE, destination=THERE)
    assert isinstance(decision, Full)


def test_folders_that_were_not_reached_keep_their_numbers() -> None:
    ours = ledger(INBOX=NUMBERS, Sent=NUMBERS)
    before, _ = ours.text()
    ours.decide(b"INBOX", b"INBOX", source=GROWN, destination=THERE)
    assert ours.text() == (before, 0)
    ours.keep_only([(b"INBOX", b"INBOX")])
    assert ours.text() == ledger(INBOX=NUMBERS).text()


def test_a_folder_that_was_changed_needs_its_numbers_read_again() -> None:
    ours = ledger()
    ours.done(b"INBOX", b"INBOX", COPIED, touched=True)
    assert ours.text() == ledger().text()
    assert list(ours.unsettled) == [b"INBOX"]
    ours.settle({b"Sent": THERE})
    assert list(ours.unsettled) == [b"INBOX"]
    ours.settle({b"INBOX": THERE})
    assert not list(ours.unsettled)
    assert ours.text() == ledger(INBOX=NUMBERS).text()


def job() -> JobInput:
    spec = mailsync().spec
    return job_input(spec, Accounts.of(spec, {}), namespace="default", name="alice")


def test_the_first_run_finds_no_file_and_says_nothing(tmp_path: Path) -> None:
    output = Recorded()
    text, _ = read_ledger(tmp_path / "state.json", job(), output=output).text()
    assert output.logs == []
    write_state(tmp_path / "state.json", text)
    assert read_ledger(tmp_path / "state.json", job(), output=output).text() == (text, 0)
    assert output.logs == []
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]


def test_an_unusable_file_is_said_once(tmp_path: Path) -> None:
    for content, why in (("{", "not JSON"), (ledger().text()[0], "another mailbox")):
        (tmp_path / "state").write_text(content)
        output = Recorded()
        read_ledger(tmp_path / "state", job(), output=output)
        [(_, line)] = output.logs
        assert why in line
        assert "compared in full" in line
    output = Recorded()
    read_ledger(tmp_path, job(), output=output)
    [(_, line)] = output.logs
    assert "Is a directory" in line


def test_a_state_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "state"
    target.mkdir()
    with pytest.raises(OSError, match="directory"):
        write_state(target, "{}")
    assert [path.name for path in tmp_path.iterdir()] == ["state"]

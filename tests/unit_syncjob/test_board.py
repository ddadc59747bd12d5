"""Who is called to what: each folder compared by one, copied by many, concluded by one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mailsync_syncjob.board import Board, Call, Doing, FolderWork
from mailsync_syncjob.compare import Item
from mailsync_syncjob.copier import Target
from mailsync_syncjob.deadline import Clock, Stop
from mailsync_syncjob.flags import FlagRules
from mailsync_syncjob.identity import Identity
from mailsync_syncjob.imap.survey import Standing
from mailsync_syncjob.plan import Task
from mailsync_syncjob.sharing import Shares, Supply
from mailsync_syncjob.tracker import FolderFigures

_SHARES = Shares(least_messages=2, most_messages=3)
_NOBODY = Identity(None, None, None)


def _work(name: str, *, messages: int = 0, there: int | None = None) -> FolderWork:
    task = Task(
        *(name.encode(), (name,), (name,), False),
        here=Standing(messages, size=100 * messages),
        there=None if there is None else Standing(there),
    )
    return FolderWork(task, FolderFigures(name, name, messages=messages))


def _board(*works: FolderWork) -> Board:
    return Board(works, shares=_SHARES, stop=Stop(Clock()))


def _supply(count: int) -> Supply:
    return Supply([Item(uid, 10, None, (), _NOBODY) for uid in range(1, count + 1)], _SHARES)


def _share(board: Board, work: FolderWork, count: int, *, doubtful: bool = False) -> Supply:
    supply = _supply(count)
    target = Target(b"x", FlagRules(None))
    board.share(work, supply, target=target, uid_validity=7, doubtful=doubtful)
    return supply


def _taken(board: Board, done: Call | None = None) -> tuple[str, Doing]:
    call = board.take(done)
    assert call is not None
    return call.work.figures.source, call.doing


def test_inbox_comes_first_and_then_the_largest() -> None:
    board = _board(_work("a"), _work("b", messages=9), _work("INBOX"), _work("c", messages=50))
    assert [_taken(board)[0] for _ in range(4)] == ["INBOX", "c", "b", "a"]


def test_a_folder_of_ones_own_comes_before_helping_others() -> None:
    first, second = _work("a", messages=100), _work("b")
    board = _board(first, second)
    board.take(None)
    _share(board, first, 50)
    assert _taken(board) == ("b", Doing.COMPARE)
    assert _taken(board) == ("a", Doing.COPY)


def test_a_little_is_left_to_the_one_that_has_the_folder_open() -> None:
    first = _work("a")
    board = _board(first, _work("b"))
    comparing = board.take(None)
    _share(board, first, 2)
    assert _taken(board) == ("b", Doing.COMPARE)
    assert board._next(None) is None
    assert _taken(board, comparing) == ("a", Doing.COPY)


def test_a_folder_is_concluded_when_the_last_worker_is_done() -> None:
    work = _work("a")
    board = _board(work)
    one = board.take(None)
    supply = _share(board, work, 10)
    other = board.take(None)
    while supply.take(2):
        pass
    assert other is not None
    board.lost(other, closed=False, forgiven=False)
    # One was lost: what it had under way is in doubt, so the folder is compared anew.
    assert _taken(board, one) == ("a", Doing.COMPARE)
    _share(board, work, 0, doubtful=True)
    again = Call(work, Doing.COMPARE, work.lost)
    concluding = board.take(again)
    assert concluding is not None
    assert (concluding.doing, work.doubtful) == (Doing.CONCLUDE, True)
    board.conclude(work)
    assert board.take(concluding) is None


def test_what_is_left_of_a_replaced_folder_is_copied_by_nobody() -> None:
    work = _work("a")
    board = _board(work)
    one = board.take(None)
    assert one is not None
    supply = _share(board, work, 10)
    board.lost(one, closed=True, forgiven=False)
    assert not supply.messages
    assert _taken(board) == ("a", Doing.COMPARE)


def test_an_outage_that_all_workers_see_counts_once() -> None:
    work = _work("a")
    board = _board(work)
    calls = [board.take(None)]
    _share(board, work, 100)
    calls += [board.take(None) for _ in range(3)]
    assert [
        board.lost(call, closed=False, forgiven=False).row for call in calls if call is not None
    ] == [1, 1, 1, 1]
    later = board.take(None)
    assert later is not None
    assert board.lost(later, closed=False, forgiven=False).row == 2
    work.figures.copied = 5
    later = board.take(None)
    assert later is not None
    assert board.lost(later, closed=False, forgiven=False).row == 1
    later = board.take(None)
    work.figures.copied = 6
    assert later is not None
    assert not board.lost(later, closed=False, forgiven=True).row


def test_what_is_to_copy_is_what_is_surely_missing() -> None:
    old, new = _work("INBOX", messages=1000, there=990), _work("b", messages=30)
    board = _board(old, new, _work("c", messages=5, there=7))
    assert board.to_copy() == (40, 4000)
    comparing = board.take(None)
    _share(board, old, 5)
    assert board.to_copy() == (35, 3050)
    board.conclude(old)
    board.take(comparing)
    assert board.to_copy() == (30, 3000)


class _Crew:
    """Any number of workers, each of which ends or loses its connection whenever it likes."""

    def __init__(self, counts: list[int]) -> None:
        self.works = {_work(f"f{n}"): count for n, count in enumerate(counts)}
        self.stored: dict[FolderWork, set[int]] = {work: set() for work in self.works}
        self.board = _board(*self.works)
        self.busy: list[tuple[Call, list[Item]]] = []

    def can_come(self) -> bool:
        return self.board._next(None) is not None

    def come(self) -> None:
        call = self.board.take(None)
        assert call is not None
        share: list[Item] = []
        if call.doing is Doing.COPY:
            assert call.work.supply is not None
            share = list(call.work.supply.take(3))
        else:
            assert call.work.workers == 1, "whoever compares or concludes is alone"
        self.busy.append((call, share))

    def finish(self, number: int) -> None:
        call, share = self.busy.pop(number)
        work = call.work
        if call.doing is Doing.COMPARE:
            there = self.stored[work]
            missing = [
                Item(uid, 10, None, (), _NOBODY)
                for uid in range(self.works[work])
                if uid not in there
            ]
            supply, target = Supply(missing, _SHARES), Target(b"x", FlagRules(None))
            self.board.share(work, supply, target=target, uid_validity=7, doubtful=False)
        elif call.doing is Doing.COPY:
            uids = {item.uid for item in share}
            assert not uids & self.stored[work], "given away twice"
            self.stored[work] |= uids
        else:
            assert len(self.stored[work]) == self.works[work], "concluded too early"
            self.board.conclude(work)
        with self.board._changed:
            self.board._off(work)

    def lose(self, number: int, *, closed: bool) -> None:
        call, _ = self.busy.pop(number)
        self.board.lost(call, closed=closed, forgiven=False)


@given(st.lists(st.integers(0, 20), min_size=1, max_size=5), st.data())
def test_whoever_leaves_when_everything_is_copied_once(
    counts: list[int], data: st.DataObject
) -> None:
    crew = _Crew(counts)
    losses = 10
    while not crew.board.done:
        assert crew.busy or crew.can_come(), "nobody can go on"
        if crew.can_come() and (not crew.busy or data.draw(st.booleans())):
            crew.come()
            continue
        number = data.draw(st.integers(0, len(crew.busy) - 1))
        if losses and data.draw(st.integers(0, 4)) == 0:
            losses -= 1
            crew.lose(number, closed=data.draw(st.booleans()))
        else:
            crew.finish(number)
    assert {work: len(uids) for work, uids in crew.stored.items()} == crew.works

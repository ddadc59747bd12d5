"""Any history, any state: a run with a resume state leaves what a run without one would leave.

Two mailboxes that keep the promises of RFC 3501 and RFC 7162 live through deliveries, expunges,
changed flags, new UIDVALIDITYs, runs in the middle of all that, and runs that are killed. Each run
is given some state: the last one, any older one, one of another mailbox, a damaged one, none.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from typing_extensions import override

from mailsync_api.state import StateUnusableError, parse_state, state_text
from mailsync_syncjob.imap.survey import Standing
from mailsync_syncjob.ledger import Ledger
from mailsync_syncjob.resume import Done, NewOnly, Unchanged, only_new

SUBJECT = "5a" * 16
FOREIGN = "c3" * 16
HERE, THERE = b"INBOX", b"INBOX"
CONTENTS = st.sampled_from("abcd")
FLAGS = st.frozensets(st.sampled_from(["seen", "flagged"]))


@dataclass
class Mail:
    content: str
    flags: frozenset[str]
    mod_seq: int


@dataclass
class Box:
    """A folder at a server that does as it should."""

    uid_validity: int = 1
    uid_next: int = 1
    mod_seq: int = 1
    mails: dict[int, Mail] = field(default_factory=dict)
    condstore: bool = True

    def standing(self) -> Standing:
        return Standing(
            messages=len(self.mails),
            uid_next=self.uid_next,
            uid_validity=self.uid_validity,
            highest_mod_seq=self.mod_seq if self.condstore else None,
        )

    def deliver(self, content: str, flags: frozenset[str] = frozenset()) -> None:
        self.mod_seq += 1
        self.mails[self.uid_next] = Mail(content, flags, self.mod_seq)
        self.uid_next += 1

    def expunge(self, number: int) -> None:
        if self.mails:
            self.mod_seq += 1
            del self.mails[sorted(self.mails)[number % len(self.mails)]]

    def flag(self, number: int, flags: frozenset[str]) -> None:
        if self.mails:
            self.mod_seq += 1
            mail = self.mails[sorted(self.mails)[number % len(self.mails)]]
            mail.flags, mail.mod_seq = flags, self.mod_seq

    def renumber(self) -> None:
        """Come back from a backup, or a repair: other UIDs, so another UIDVALIDITY."""
        mails = [self.mails[uid] for uid in sorted(self.mails)]
        self.uid_validity += 1
        self.mails = dict(enumerate(mails, 1))
        self.uid_next = len(mails) + 1

    def messages(self) -> Counter[str]:
        return Counter(mail.content for mail in self.mails.values())

    def content(self) -> Counter[tuple[str, frozenset[str]]]:
        return Counter((mail.content, mail.flags) for mail in self.mails.values())


class KilledError(Exception):
    """The run ends here."""


@dataclass
class Run:
    """One run, as the engine does it; between any two of its steps the world may go on."""

    source: Box
    destination: Box
    ledger: Ledger
    meanwhile: Callable[[], None] = lambda: None
    die_after: int | None = None
    """After how many stored messages."""
    settles: bool = True
    """Whether its end is one at which it still can."""
    decided: str = ""

    def execute(self) -> None:
        here, there = self.source.standing(), self.destination.standing()
        self.meanwhile()
        decision = self.ledger.decide(HERE, THERE, source=here, destination=there)
        self.decided = type(decision).__name__
        if isinstance(decision, Unchanged):
            return
        if not (isinstance(decision, NewOnly) and self._new_only(decision)):
            self._full()
        self.meanwhile()
        self.settle()

    def settle(self) -> None:
        if self.settles:
            self.ledger.settle(dict.fromkeys(self.ledger.unsettled, self.destination.standing()))

    def _new_only(self, decision: NewOnly) -> bool:
        numbers, there, here = (
            decision.numbers,
            self.destination.standing(),
            self.source.standing(),
        )
        uids = sorted(self.source.mails)
        before = numbers.source_messages
        changed = [
            mail.mod_seq > numbers.source_mod_seq
            for mail in (self.source.mails[uid] for uid in uids[:before])
        ]
        doubt = only_new(
            numbers,
            source=here,
            uids=uids[max(before - 1, 0) :],
            flags_changed=any(changed),
            destination=there,
        )
        if doubt is not None:
            self.decided = "Doubt"
            return False
        new = [uid for uid in uids if uid >= decision.first_uid]
        self._copy(new)
        self._done(here, there, listed=before + len(new), last=max(uids, default=0), copied=new)
        return True

    def _full(self) -> None:
        there = self.destination.standing()
        offers: dict[str, list[int]] = {}
        for uid in sorted(self.destination.mails, reverse=True):
            offers.setdefault(self.destination.mails[uid].content, []).append(uid)
        self.meanwhile()
        here = self.source.standing()
        uids = sorted(self.source.mails)
        pairs: list[tuple[int, int]] = []
        missing: list[int] = []
        for uid in uids:
            found = offers.get(self.source.mails[uid].content)
            if found:
                pairs.append((uid, found.pop()))
            else:
                missing.append(uid)
        wanted = {uid: self.source.mails[uid].flags for uid in uids}
        self._copy(missing)
        updated = 0
        for uid, other in pairs:
            mail = self.destination.mails.get(other)
            if mail is not None and not wanted[uid] <= mail.flags:
                updated += 1
                self.destination.mod_seq += 1
                mail.flags, mail.mod_seq = mail.flags | wanted[uid], self.destination.mod_seq
        self._done(
            here,
            there,
            listed=len(uids),
            last=max(uids, default=0),
            copied=missing,
            touched=updated,
        )

    def _copy(self, uids: list[int]) -> None:
        wanted = [self.source.mails[uid] for uid in uids]
        for number, mail in enumerate(wanted):
            if number == self.die_after:
                raise KilledError
            self.destination.deliver(mail.content, mail.flags)
        if self.die_after is not None:
            raise KilledError

    def _done(
        self,
        here: Standing,
        there: Standing,
        *,
        listed: int,
        last: int,
        copied: list[int],
        touched: int = 0,
    ) -> None:
        done = Done(
            source=here,
            listed=listed,
            last_uid=last,
            size=0,
            destination=there,
            copied=len(copied),
        )
        self.ledger.done(HERE, THERE, done, touched=bool(copied or touched))


def ledger_of(text: str) -> Ledger:
    try:
        return Ledger(SUBJECT, parse_state(text, subject=SUBJECT))
    except StateUnusableError:
        return Ledger(SUBJECT, {})


class Histories(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.source = Box()
        self.destination = Box()
        self.states = [state_text(SUBJECT, {})[0]]
        self.flags_amid = False
        """Whether somebody changed flags at the destination while a run was at it. The numbers
        after the run cannot tell that from the run's own changes, so such a flag is not set again
        before the source's changes; without a state it would be, against whoever took it off."""

    @initialize(
        source=st.lists(st.tuples(CONTENTS, FLAGS), max_size=4),
        destination=st.one_of(st.just([]), st.lists(st.tuples(CONTENTS, FLAGS), max_size=3)),
        condstore=st.sampled_from([(True, True)] * 8 + [(False, True), (True, False)]),
    )
    def begin(
        self,
        source: list[tuple[str, frozenset[str]]],
        destination: list[tuple[str, frozenset[str]]],
        condstore: tuple[bool, bool],
    ) -> None:
        for box, mails in ((self.source, source), (self.destination, destination)):
            for content, flags in mails:
                box.deliver(content, flags)
        self.source.condstore, self.destination.condstore = condstore

    def act(self, side: str, what: str, number: int, content: str, flags: frozenset[str]) -> None:
        box = self.source if side == "source" else self.destination
        match what:
            case "deliver":
                box.deliver(content, flags)
            case "expunge":
                box.expunge(number)
            case "flag":
                box.flag(number, flags)
            case "move":  # a message that goes as another one comes: MESSAGES stays
                box.expunge(number)
                box.deliver(content, flags)
            case "come and go":
                box.deliver(content, flags)
                box.expunge(len(box.mails) - 1)
            case _:
                box.renumber()

    acts = st.tuples(
        st.sampled_from(["source", "source", "destination"]),
        st.sampled_from(
            ["deliver"] * 4 + ["expunge", "flag", "flag", "move", "come and go", "renumber"]
        ),
        st.integers(0, 5),
        CONTENTS,
        FLAGS,
    )

    @rule(act=acts)
    def live(self, act: tuple[str, str, int, str, frozenset[str]]) -> None:
        self.act(*act)

    @rule(which=st.integers(0, 100))
    def run(self, which: int) -> None:
        """Nothing else happens: the run must leave what a run without a state leaves."""
        text = self.states[-1 - which % min(len(self.states), 4)]
        twin = Run(copy.deepcopy(self.source), copy.deepcopy(self.destination), Ledger(SUBJECT, {}))
        twin.execute()
        run = Run(self.source, self.destination, ledger_of(text))
        run.execute()
        event(f"a quiet run: {run.decided}")
        if self.flags_amid:
            assert self.destination.messages() == twin.destination.messages()
        else:
            assert self.destination.content() == twin.destination.content()
        self.states.append(run.ledger.text()[0])

    @rule()
    def run_again(self) -> None:
        """Run with the last state."""
        self.run(0)

    @rule(contents=st.lists(CONTENTS, min_size=1, max_size=3))
    def new_mail(self, contents: list[str]) -> None:
        """Do what most runs are for."""
        self.run(0)
        for content in contents:
            self.source.deliver(content)
        self.run(0)

    @rule(which=st.integers(0, 100), acts=st.lists(acts, max_size=4), settled=st.booleans())
    def run_amid_life(
        self,
        which: int,
        acts: list[tuple[str, str, int, str, frozenset[str]]],
        *,
        settled: bool,
    ) -> None:
        """Let the world go on in the middle; what is left over, the next run must find."""
        left = list(acts)

        def meanwhile() -> None:
            if left:
                act = left.pop()
                self.flags_amid |= act[:2] == ("destination", "flag")
                self.act(*act)

        text = self.states[-1 - which % len(self.states)]
        run = Run(self.source, self.destination, ledger_of(text), meanwhile, settles=settled)
        run.execute()
        event(f"amid life: {run.decided}")
        self.states.append(run.ledger.text()[0])

    @rule(content=CONTENTS, acts=st.lists(acts, max_size=3), settled=st.booleans())
    def new_mail_amid_life(
        self,
        content: str,
        acts: list[tuple[str, str, int, str, frozenset[str]]],
        *,
        settled: bool,
    ) -> None:
        """Let something happen just when only the new messages are copied."""
        self.run(0)
        self.source.deliver(content)
        self.run_amid_life(0, acts, settled=settled)

    @rule(which=st.integers(0, 100), after=st.integers(0, 3), written=st.booleans())
    def run_killed(self, which: int, after: int, *, written: bool) -> None:
        """Killed while it copied; an orderly end still writes the state, SIGKILL does not."""
        text = self.states[-1 - which % len(self.states)]
        run = Run(self.source, self.destination, ledger_of(text), die_after=after)
        try:
            run.execute()
        except KilledError:
            event("killed")
        if written:
            self.states.append(run.ledger.text()[0])

    @rule(
        which=st.integers(0, 100),
        place=st.integers(0, 10_000),
        character=st.characters(codec="ascii"),
        cut=st.booleans(),
    )
    def damage(self, which: int, place: int, character: str, *, cut: bool) -> None:
        text = self.states[which % len(self.states)]
        place %= len(text) or 1
        damaged = text[:place] if cut else text[:place] + character + text[place + 1 :]
        if damaged != text:
            # It is refused, or says the same in another way.
            try:
                assert parse_state(damaged, subject=SUBJECT) == parse_state(text, subject=SUBJECT)
            except StateUnusableError:
                event("damage found")
        self.states.append(damaged)

    @rule()
    def confuse(self) -> None:
        """Come by the state of another mailbox, whose numbers are the same."""
        folders = ledger_of(self.states[-1])._folders
        self.states.append(state_text(FOREIGN, folders)[0])

    @invariant()
    def numbers_are_sane(self) -> None:
        for box in (self.source, self.destination):
            assert all(uid < box.uid_next for uid in box.mails)

    @override
    def teardown(self) -> None:
        for which in (0, 1):
            self.run(which)
        # Everything of the source is there, as often as the source has it.
        assert not self.source.messages() - self.destination.messages()


TestHistories = Histories.TestCase
TestHistories.settings = settings(
    max_examples=4 * settings().max_examples,
    stateful_step_count=25,
    suppress_health_check=[HealthCheck.too_slow],
)


@given(
    start=st.lists(CONTENTS, max_size=4),
    later=st.lists(Histories.acts, min_size=1, max_size=8),
    runs=st.integers(1, 3),
)
def test_a_state_from_a_later_moment_is_harmless(
    start: list[str], later: list[tuple[str, str, int, str, frozenset[str]]], runs: int
) -> None:
    """Both mailboxes are back where they were, and the state knows the future."""
    world = Histories()
    for content in start:
        world.source.deliver(content)
    world.run(0)
    then = copy.deepcopy((world.source, world.destination))
    for act in later:
        world.act(*act)
    for _ in range(runs):
        world.run(0)
    for text in world.states:
        source, destination = copy.deepcopy(then)
        twin = Run(copy.deepcopy(source), copy.deepcopy(destination), Ledger(SUBJECT, {}))
        twin.execute()
        Run(source, destination, ledger_of(text)).execute()
        assert destination.content() == twin.destination.content()

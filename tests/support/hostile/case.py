"""What a hostile case is, and the words that its scripts are written in.

The scripts follow the attacks of "Why TLS is better without STARTTLS" (USENIX Security 2021); in
their texts ``%T`` stands for the tag of the command that is answered, ``%B`` for the port of a bait
that nobody must connect to, and ``%W`` for a word that must not be shown to anybody.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeAlias

from mailsync_api.exitcodes import EXIT_TABLE, ExitCode
from tests.support.scripted import Peer, TinyServer, with_starttls

if TYPE_CHECKING:
    from collections.abc import Callable

    from mailsync_api.conditions import Reason
    from tests.support.scripted import Answer, Dialogue

__all__ = [
    "BOTH",
    "CLEAR",
    "MAIL",
    "WORD",
    "Case",
    "Phase",
    "Scene",
    "answers",
    "clear",
    "endless",
    "inside",
    "listening",
    "mute",
]

WORD = b"Zwetschgendatschi"
MAIL = b"Message-ID: <1@x>\r\nDate: Mon, 1 Jan 2024 10:00:00 +0000\r\n\r\nbody\r\n"
_CHUNK = 1 << 14


class Phase(Enum):
    """When the harm is done."""

    CLEAR = "In clear text, before TLS"
    HANDSHAKE = "Where the TLS handshake is due"
    SECURED = "Under TLS, before the login"
    LOGIN = "During the login"
    SESSION = "After the login"


CLEAR = ("StartTLS", "Auto", "Opportunistic")
"""The modes that may begin in clear text."""
BOTH = ("Implicit", "StartTLS")


@dataclass(frozen=True, slots=True)
class Scene:
    """What a script may refer to."""

    bait: int
    """A port that a referral names."""
    messages: dict[int, bytes] = field(default_factory=dict)
    """What the server has."""

    def fill(self, text: bytes, tag: bytes = b"") -> bytes:
        """Return a text with the names in it replaced."""
        bait = b"%d" % self.bait
        return text.replace(b"%T", tag).replace(b"%B", bait).replace(b"%W", WORD)


Action: TypeAlias = "Callable[[Scene, Peer], None]"
Make: TypeAlias = "Callable[[Scene], Dialogue]"


@dataclass(frozen=True)
class Case:
    """One row.

    Attributes
    ----------
    make
        The server. In the phase of the handshake it begins where that is due, from then on it
        speaks under TLS, as a ``TinyServer``.
    finer
        The reason, where it is not the exit code's own.
    words
        What the message says.
    slow
        It ends by a deadline, so that a test's patience decides how long it takes.
    endless
        The server never stops sending: the memory is measured.
    logins
        How many login commands are sent.
    said
        How many lines are said to a server that announced its capabilities; None where that is not
        the point.
    """

    name: str
    make: Make
    code: ExitCode
    finer: Reason | None = None
    phase: Phase = Phase.CLEAR
    modes: tuple[str, ...] = CLEAR
    sides: tuple[str, ...] = ("source", "destination")
    words: str = ""
    slow: bool = False
    endless: bool = False
    logins: int = 0
    said: int | None = None
    account: dict[str, Any] = field(default_factory=dict)

    @property
    def reason(self) -> Reason:
        """What the condition says."""
        return self.finer or EXIT_TABLE[self.code].reason

    @property
    def shown_modes(self) -> str:
        """The modes for people."""
        return ", ".join(f"`{mode}`" for mode in self.modes)


def listening(case: Case, mode: str, scene: Scene) -> tuple[Dialogue, bool]:
    """Return a case's server in a TLS mode, and whether it starts TLS on its own at once."""
    made = case.make(scene)
    if case.phase is Phase.CLEAR:
        return made, False
    if case.phase is Phase.HANDSHAKE:
        return (made if mode == "Implicit" else _until_handshake(made)), False
    if mode == "Implicit":
        return made, True
    assert isinstance(made, TinyServer)
    return with_starttls(made), False


def _until_handshake(then: Dialogue) -> Dialogue:
    return clear(then=lambda _, peer: then(peer))(Scene(0))


# --- the phase in clear text


def mute(_: Scene, peer: Peer) -> None:
    """Say nothing more, and listen."""
    peer.wait_for_hang_up()


def endless(text: bytes, *, before: bytes = b"") -> Action:
    """Say something, and then the same for ever."""

    def talk(scene: Scene, peer: Peer) -> None:
        peer.send(scene.fill(before))
        filled = scene.fill(text)
        chunk = filled * max(_CHUNK // len(filled), 1)
        while True:
            peer.send(chunk)

    return talk


def inside(**server: Any) -> Action:
    """Shake hands and be an honest server then."""

    def shake(scene: Scene, peer: Peer) -> None:
        peer.start_tls()
        TinyServer(scene.messages, **{**server, "greeting": b""})(peer)

    return shake


_OFFER = b"* CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN\r\n%T OK %W\r\n"


def clear(
    greeting: bytes | Action = b"* OK %W\r\n",
    capability: bytes | Action = _OFFER,
    starttls: bytes | Action = b"%T OK %W\r\n",
    then: Action = mute,
) -> Make:
    """Return a server by what it says to each of the three steps, and what it does then.

    A step that is an action is the last one.
    """

    def make(scene: Scene) -> Dialogue:
        def dialogue(peer: Peer) -> None:
            if not isinstance(greeting, bytes):
                greeting(scene, peer)
                return
            peer.send(scene.fill(greeting))
            for wanted, answer in ((b"CAPABILITY", capability), (b"STARTTLS", starttls)):
                tag, rest = peer.command()
                if rest != wanted:
                    # Anything else is on the record and must not be there; a handshake may be.
                    peer.wait_for_hang_up()
                    return
                if not isinstance(answer, bytes):
                    answer(scene, peer)
                    return
                peer.send(scene.fill(answer, tag))
            then(scene, peer)

        return dialogue

    return make


# --- under TLS


def answers(scene: Scene, **texts: bytes) -> dict[bytes, Answer]:
    """Return answers by command, as ``TinyServer`` takes them, from texts."""

    def answer(text: bytes) -> Answer:
        return lambda peer, tag, _: peer.send(scene.fill(text, tag))

    return {name.replace("_", " ").encode(): answer(text) for name, text in texts.items()}

"""What goes wrong in the rows of the table of faults."""

from __future__ import annotations

from collections.abc import Callable

from mailsync_api.endpoint import Side
from tests.faults.case import Scene
from tests.faults.relay import GREETING, Link, Piece, Trouble
from tests.support.imap import layout, quote, run
from tests.support.mailbox import Message, load

__all__ = [
    "amid",
    "asks",
    "at_greeting",
    "beside",
    "burn",
    "cut",
    "drip_down",
    "drip_up",
    "freeze",
    "idles",
    "none",
    "recreate",
    "restart",
    "stop",
    "stored",
]

Begins = Callable[[Piece], bool]
Make = Callable[[Scene, Side], Trouble]


# --- when


def at_greeting(piece: Piece) -> bool:
    """Begin at once after connecting."""
    return piece is GREETING


def asks(*words: bytes) -> Begins:
    """Begin when the engine says one of these words."""
    return lambda piece: piece.says(*words)


def stored(piece: Piece) -> bool:
    """Begin when a message is stored and the answer is on its way."""
    return piece.answers(b"APPENDUID")


# --- what


def amid(begins: Begins, act: Callable[[Link], None], *, times: int | None = None) -> Make:
    """Let something happen to a connection."""
    return lambda _, __: Trouble(begins, act, times)


def freeze(link: Link) -> None:
    """Let the peer vanish."""
    link.freeze()


def drip_down(link: Link) -> None:
    """Let the answers come at one byte a second."""
    link.drip_down()


def drip_up(link: Link) -> None:
    """Let the server take one byte a second."""
    link.drip_up()


def cut(link: Link) -> None:
    """End the connection."""
    link.cut()


def idles(seconds: float, farewell: bytes = b"") -> Make:
    """Let the server close connections that are silent for so long."""
    return lambda _, __: Trouble(idle=seconds, farewell=farewell)


def none(_: Scene, __: Side) -> Trouble:
    """Let nothing go wrong on the way."""
    return Trouble()


def beside(
    begins: Begins, act: Callable[[Scene, Side], None], *, times: int | None = 1, after: int = 0
) -> Make:
    """Let something happen on a server while the engine is at work."""

    def make(scene: Scene, side: Side) -> Trouble:
        return Trouble(begins, lambda _: act(scene, side), times, after)

    return make


def restart(scene: Scene, side: Side) -> None:
    """Stop a server and start it again."""
    scene.servers[side].restart()


def stop(scene: Scene, side: Side) -> None:
    """Stop a server."""
    scene.servers[side].stop()


def burn(folder: str) -> Callable[[Scene, Side], None]:
    """Delete a folder."""

    def act(scene: Scene, side: Side) -> None:
        with scene.login(side) as session:
            run(session, b"DELETE " + quote(layout(session).raw((folder,))))

    return act


def recreate(folder: str, *messages: Message) -> Callable[[Scene, Side], None]:
    """Delete a folder and make it anew, with messages in it."""

    def act(scene: Scene, side: Side) -> None:
        burn(folder)(scene, side)
        with scene.login(side) as session:
            run(session, b"CREATE " + quote(layout(session).raw((folder,))))
            load(session, messages)

    return act

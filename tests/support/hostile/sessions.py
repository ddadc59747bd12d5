"""Servers that took the login and misuse it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from mailsync_api.exitcodes import ExitCode
from tests.support.hostile.case import Case, Phase, answers, endless
from tests.support.scripted import TinyServer

if TYPE_CHECKING:
    from tests.support.hostile.case import Make, Scene
    from tests.support.scripted import Dialogue

__all__ = ["SESSIONS"]

_REFERRAL: Final = b"[REFERRAL imap://alice;AUTH=*@127.0.0.1:%B/INBOX]"
_SOURCE: Final = ("source",)
_DESTINATION: Final = ("destination",)


def _answers(**texts: bytes) -> Make:
    return lambda scene: TinyServer(scene.messages, answers=answers(scene, **texts))


def _for_ever(command: bytes, text: bytes) -> Make:
    talk = endless(text)

    def make(scene: Scene) -> Dialogue:
        return TinyServer(scene.messages, answers={command: lambda peer, _, __: talk(scene, peer)})

    return make


def _cut(command: bytes, text: bytes) -> Make:
    """Return a server whose connection ends amid an answer, without TLS's own farewell."""

    def make(scene: Scene) -> Dialogue:
        def cut(peer: Any, _tag: bytes, _rest: bytes) -> None:
            peer.send(text)
            peer.close()

        return TinyServer(scene.messages, answers={command: cut})

    return make


def _case(name: str, make: Make, code: ExitCode, **more: Any) -> Case:
    # Once logged in, how TLS came about makes no difference.
    modes = ("Implicit",)
    return Case(name, make, code, phase=Phase.SESSION, modes=modes, **{"logins": 1, **more})


SESSIONS: Final = (
    _case(
        "a referral instead of the folder",
        _answers(EXAMINE=b"%T NO " + _REFERRAL + b" x\r\n"),
        ExitCode.SKIPPED_ITEMS,
        sides=_SOURCE,
    ),
    _case(
        "a referral instead of the folder",
        _answers(SELECT=b"%T NO " + _REFERRAL + b" x\r\n"),
        ExitCode.SKIPPED_ITEMS,
        sides=_DESTINATION,
    ),
    _case(
        "a referral instead of storing",
        _answers(APPEND=b"%T NO " + _REFERRAL + b" x\r\n"),
        ExitCode.SKIPPED_ITEMS,
        sides=_DESTINATION,
    ),
    _case(
        "BYE with a referral instead of the folders",
        _answers(LIST=b"* BYE " + _REFERRAL + b"\r\n"),
        ExitCode.CONNECTION_LOST,
        logins=6,
    ),
    _case(
        "a new list of capabilities that forbids the login",
        _answers(AUTHENTICATE=b"%T OK [CAPABILITY IMAP4rev1 LOGINDISABLED STARTTLS] ok\r\n"),
        ExitCode.DONE,
    ),
    _case(
        "endless folders",
        _for_ever(b"LIST", b'* LIST () "/" x\r\n'),
        ExitCode.PROTOCOL,
        endless=True,
    ),
    _case(
        "a folder's name of 100 GB",
        _answers(LIST=b'* LIST () "/" {99999999999}\r\n'),
        ExitCode.PROTOCOL,
    ),
    _case(
        "endless answers to EXAMINE",
        _for_ever(b"EXAMINE", b"* OK x\r\n"),
        ExitCode.PROTOCOL,
        endless=True,
        sides=_SOURCE,
    ),
    _case(
        "endless answers to SELECT",
        _for_ever(b"SELECT", b"* OK x\r\n"),
        ExitCode.PROTOCOL,
        endless=True,
        sides=_DESTINATION,
    ),
    _case(
        "endless metadata",
        _for_ever(b"FETCH", b"* 1 FETCH (UID 1 FLAGS ())\r\n"),
        ExitCode.PROTOCOL,
        endless=True,
        sides=_SOURCE,
    ),
    _case(
        "endless news instead of a message",
        _for_ever(b"UID FETCH", b"* OK x\r\n"),
        ExitCode.CONNECTION_LOST,
        endless=True,
        slow=True,
        logins=6,
        sides=_SOURCE,
    ),
    _case(
        "endless news instead of a message's receipt",
        _for_ever(b"APPEND", b"* OK x\r\n"),
        ExitCode.PROTOCOL,
        endless=True,
        sides=_DESTINATION,
    ),
    _case(
        "a connection cut amid the list of folders",
        _cut(b"LIST", b'* LIST () "/" IN'),
        ExitCode.CONNECTION_LOST,
        logins=6,
    ),
    _case(
        "a connection cut amid a message",
        _cut(b"UID FETCH", b"* 1 FETCH (UID 1 BODY[] {5000}\r\nonly the beginning"),
        ExitCode.CONNECTION_LOST,
        logins=6,
        sides=_SOURCE,
    ),
    _case(
        "a message for which nobody asked",
        _answers(UID_FETCH=b"* 9 FETCH (UID 99 BODY[] {6}\r\nwrong!)\r\n%T OK done\r\n"),
        ExitCode.DONE,
        sides=_SOURCE,
    ),
    _case(
        "a message without its UID",
        _answers(UID_FETCH=b"* 1 FETCH (BODY[] {6}\r\nwrong!)\r\n%T OK done\r\n"),
        ExitCode.PROTOCOL,
        sides=_SOURCE,
    ),
)

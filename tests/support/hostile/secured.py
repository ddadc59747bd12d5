"""Servers that are whom they should be, and still break the rules under TLS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mailsync_api.exitcodes import ExitCode
from tests.support.hostile.case import BOTH, WORD, Case, Phase, answers, endless
from tests.support.scripted import TinyServer

if TYPE_CHECKING:
    from tests.support.hostile.case import Action, Make, Scene
    from tests.support.scripted import Dialogue

__all__ = ["SECURED"]

_IMPLICIT: Final = ("Implicit",)


def _greets(text: bytes) -> Make:
    return lambda scene: TinyServer(greeting=scene.fill(text))


def _greeting(action: Action) -> Make:
    def make(scene: Scene) -> Dialogue:
        return lambda peer: action(scene, peer)

    return make


def _answers(**texts: bytes) -> Make:
    return lambda scene: TinyServer(scene.messages, answers=answers(scene, **texts))


def _announces(capabilities: bytes) -> Make:
    return lambda scene: TinyServer(scene.messages, capabilities=capabilities)


def _case(
    name: str,
    make: Make,
    code: ExitCode,
    *,
    modes: tuple[str, ...] = BOTH,
    words: str = "",
    slow: bool = False,
    endless: bool = False,
    logins: int = 0,
) -> Case:
    return Case(
        name,
        make,
        code,
        phase=Phase.SECURED,
        modes=modes,
        words=words,
        slow=slow,
        endless=endless,
        logins=logins,
    )


def _endless_answer(text: bytes) -> Make:
    talk = endless(text)

    def make(scene: Scene) -> Dialogue:
        return TinyServer(answers={b"CAPABILITY": lambda peer, _, __: talk(scene, peer)})

    return make


_OK = ExitCode.DONE
_CAPS = b"* CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR\r\n"

SECURED: Final = (
    _case("PREAUTH", _greets(b"* PREAUTH %W\r\n"), ExitCode.PROTOCOL, modes=_IMPLICIT),
    _case("BYE for a greeting", _greets(b"* BYE %W\r\n"), ExitCode.UNREACHABLE, modes=_IMPLICIT),
    _case(
        "BYE with a referral",
        _greets(b"* BYE [REFERRAL imap://127.0.0.1:%B/] %W\r\n"),
        ExitCode.UNREACHABLE,
        modes=_IMPLICIT,
    ),
    _case("an SMTP server", _greets(b"220 ESMTP %W\r\n"), ExitCode.PROTOCOL, modes=_IMPLICIT),
    _case("no greeting", _greets(b""), ExitCode.UNREACHABLE, modes=_IMPLICIT, slow=True),
    _case(
        "a greeting of one endless line",
        _greeting(endless(WORD, before=b"* OK ")),
        ExitCode.PROTOCOL,
        modes=_IMPLICIT,
        endless=True,
    ),
    _case(
        "endless untagged lines after the greeting",
        _greeting(endless(b"* 1\r\n", before=b"* OK %W\r\n")),
        ExitCode.PROTOCOL,
        modes=_IMPLICIT,
        endless=True,
    ),
    _case(
        "a greeting with a literal of 4 MB",
        _greeting(endless(WORD, before=b"* OK {4000000}\r\n")),
        ExitCode.PROTOCOL,
        modes=_IMPLICIT,
        endless=True,
    ),
    _case("NO to CAPABILITY", _answers(CAPABILITY=b"%T NO %W\r\n"), ExitCode.PROTOCOL),
    _case("BYE to CAPABILITY", _answers(CAPABILITY=b"* BYE %W\r\n"), ExitCode.UNREACHABLE),
    _case("no answer to CAPABILITY", _answers(CAPABILITY=b""), ExitCode.UNREACHABLE, slow=True),
    _case(
        "endless capabilities",
        _endless_answer(b"* CAPABILITY X\r\n"),
        ExitCode.PROTOCOL,
        endless=True,
    ),
    _case("another tag", _answers(CAPABILITY=_CAPS + b"a1 OK %W\r\n"), ExitCode.PROTOCOL),
    _case("a continuation", _answers(CAPABILITY=b"+ %W\r\n"), ExitCode.PROTOCOL),
    _case(
        "a login's OK before its command",
        _answers(CAPABILITY=_CAPS + b"%T OK %W\r\nm3 OK %W\r\n"),
        ExitCode.PROTOCOL,
        logins=1,
    ),
    _case(
        "a second greeting",
        _answers(CAPABILITY=b"* OK %W\r\n" + _CAPS + b"%T OK %W\r\n"),
        _OK,
        logins=1,
    ),
    _case(
        "an alert and a referral before the capabilities",
        _answers(
            CAPABILITY=b"* OK [ALERT] %W\r\n* OK [REFERRAL imap://127.0.0.1:%B/] %W\r\n"
            + _CAPS
            + b"%T OK %W\r\n"
        ),
        _OK,
        logins=1,
    ),
    _case(
        "STARTTLS once more", _announces(b"IMAP4rev1 STARTTLS AUTH=PLAIN SASL-IR"), _OK, logins=1
    ),
    _case(
        "LOGINDISABLED",
        _announces(b"IMAP4rev1 LOGINDISABLED"),
        ExitCode.CONFIGURATION,
        words="offers no mechanism",
    ),
    _case(
        "STARTTLS once more, and LOGINDISABLED",
        _announces(b"IMAP4rev1 STARTTLS LOGINDISABLED"),
        ExitCode.CONFIGURATION,
        words="offers no mechanism",
    ),
    _case(
        "only mechanisms that nobody has",
        _announces(b"IMAP4rev1 AUTH=GSSAPI AUTH=NTLM LOGINDISABLED"),
        ExitCode.CONFIGURATION,
        words="It offers: AUTH=GSSAPI, AUTH=NTLM.",
    ),
)

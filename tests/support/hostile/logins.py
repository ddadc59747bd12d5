"""Servers that want more from a login than it gives, or less proof than it demands."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final

from mailsync_api.conditions import Reason
from mailsync_api.exitcodes import ExitCode
from tests.support.hostile.case import BOTH, Case, Phase, endless
from tests.support.recorded import PASSWORD
from tests.support.scram import ScramServer
from tests.support.scripted import Peer, TinyServer

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from tests.support.hostile.case import Make, Scene
    from tests.support.scripted import Answer, Dialogue

    Change: TypeAlias = Callable[[bytes], bytes]

__all__ = ["LOGINS", "challenge", "initial"]

_PLAIN: Final = b"IMAP4rev1 AUTH=PLAIN SASL-IR"
_SCRAM: Final = b"IMAP4rev1 AUTH=SCRAM-SHA-256 AUTH=SCRAM-SHA-1 AUTH=PLAIN SASL-IR"
_TRUST = ExitCode.PROTOCOL


def challenge(peer: Peer, text: bytes) -> bytes:
    """Send a challenge and return the decoded answer; "*" as it is."""
    peer.send(b"+ " + base64.b64encode(text) + b"\r\n")
    line, _ = peer.command()
    return line if line == b"*" else base64.b64decode(line, validate=True)


def initial(rest: bytes) -> bytes:
    """Return the message that came along with AUTHENTICATE."""
    return base64.b64decode(rest.split(b" ")[2])


def _login(answer: Callable[[Scene], Answer], capabilities: bytes) -> Make:
    def make(scene: Scene) -> Dialogue:
        given = answer(scene)
        answers = {b"AUTHENTICATE": given, b"LOGIN": given}
        return TinyServer(scene.messages, capabilities=capabilities, answers=answers)

    return make


def _text(text: bytes, capabilities: bytes = _PLAIN) -> Make:
    """Return a server that answers a login so, and listens then for what else comes."""

    def answer(scene: Scene) -> Answer:
        def say(peer: Peer, tag: bytes, _: bytes) -> None:
            peer.send(scene.fill(text, tag))

        return say

    return _login(answer, capabilities)


def _plays(answer: Answer, capabilities: bytes = _SCRAM) -> Make:
    return _login(lambda _: answer, capabilities)


def _endless(text: bytes, before: bytes = b"") -> Make:
    talk = endless(text, before=before)
    return _login(lambda scene: lambda peer, _, __: talk(scene, peer), _PLAIN)


def _case(name: str, make: Make, code: ExitCode, finer: Reason | None = None, **more: Any) -> Case:
    return Case(name, make, code, finer, phase=Phase.LOGIN, **{"modes": BOTH, "logins": 1, **more})


# --- SCRAM


def _first(change: Change) -> Answer:
    def answer(peer: Peer, _: bytes, rest: bytes) -> None:
        server = ScramServer("sha256", PASSWORD.encode())
        challenge(peer, change(server.first(initial(rest))))

    return answer


def _impostor(peer: Peer, _: bytes, rest: bytes) -> None:
    """Play along without knowing the password."""
    server = ScramServer("sha256", PASSWORD.encode())
    challenge(peer, server.first(initial(rest)))
    challenge(peer, b"v=" + base64.b64encode(b"\0" * 32))


def _unproven(peer: Peer, tag: bytes, rest: bytes) -> None:
    server = ScramServer("sha256", PASSWORD.encode())
    challenge(peer, server.first(initial(rest)))
    peer.send(tag + b" OK welcome\r\n")


def _once_more(peer: Peer, tag: bytes, rest: bytes) -> None:
    server = ScramServer("sha256", PASSWORD.encode())
    final = challenge(peer, server.first(initial(rest)))
    assert challenge(peer, server.final(final)) == b""
    assert challenge(peer, b"and now your password") == b"*"
    peer.send(tag + b" OK anyway\r\n")


def _unknown(peer: Peer, tag: bytes, _: bytes) -> None:
    assert challenge(peer, b"e=unknown-user") == b"*"
    peer.send(tag + b" BAD cancelled\r\n")


_BREACHES: Final = (
    ("a signature that is wrong", _impostor, "no proof that it knows the password", 2),
    ("OK without a signature", _unproven, "before all was said", 2),
    ("a challenge after the end", _once_more, "cancelled", 4),
    ("a shortened nonce", _first(lambda t: b"r=x" + t[t.index(b",s=") :]), "nonce", 1),
    ("the client's own nonce", _first(lambda t: t.replace(b"server", b"")), "nonce", 1),
    ("1 iteration", _first(lambda t: t.replace(b"i=4096", b"i=1")), "count of 1,", 1),
    (
        "a thousand million iterations",
        _first(lambda t: t.replace(b"4096", b"1000000000")),
        "1000000000",
        1,
    ),
    ("a mandatory extension", _first(lambda t: b"m=x," + t), "that is none", 1),
    ("an empty challenge", _first(lambda _: b""), "that is none", 1),
    ("a challenge of 9 kB", _first(lambda t: t + b",x=" + b"y" * 9000), "bytes", 1),
)


# --- one challenge too many


def _more(end: bytes) -> Make:
    def answer(scene: Scene) -> Answer:
        def ask(peer: Peer, tag: bytes, _: bytes) -> None:
            # As OAuth's mechanisms report errors: the client has to say something before the end.
            assert challenge(peer, b'{"status":"400"}') == b"*"
            peer.send(scene.fill(end, tag))
            peer.wait_for_hang_up()

        return ask

    return _login(answer, _PLAIN)


_REFERRAL: Final = b"[REFERRAL imap://alice;AUTH=*@127.0.0.1:%B/] "
_OAUTH_END = "after another challenge"

LOGINS: Final = (
    _case("NO", _text(b"%T NO no\r\n"), ExitCode.CREDENTIALS),
    _case("BAD", _text(b"%T BAD no\r\n"), ExitCode.CREDENTIALS),
    _case("NO to the strongest mechanism", _text(b"%T NO no\r\n", _SCRAM), ExitCode.CREDENTIALS),
    _case("BAD to the strongest mechanism", _text(b"%T BAD no\r\n", _SCRAM), ExitCode.CREDENTIALS),
    _case("NO with a referral", _text(b"%T NO " + _REFERRAL + b"\r\n"), ExitCode.CREDENTIALS),
    _case("OK with a referral", _text(b"%T OK " + _REFERRAL + b"\r\n"), ExitCode.DONE),
    _case("BYE with a referral", _text(b"* BYE " + _REFERRAL + b"\r\n"), ExitCode.UNREACHABLE),
    _case("NO with an alert", _text(b"%T NO [ALERT] pay first\r\n"), ExitCode.CREDENTIALS),
    _case("NO, UNAVAILABLE", _text(b"%T NO [UNAVAILABLE] later\r\n"), ExitCode.UNREACHABLE),
    _case("NO, PRIVACYREQUIRED", _text(b"%T NO [PRIVACYREQUIRED] x\r\n"), ExitCode.TLS_POLICY),
    _case(
        "NO, too many connections",
        _text(b"%T NO [ALERT] Too many simultaneous connections\r\n"),
        ExitCode.THROTTLED,
    ),
    _case("BYE", _text(b"* BYE go away\r\n"), ExitCode.UNREACHABLE),
    _case("no answer", _text(b""), ExitCode.UNREACHABLE, slow=True),
    _case("another tag", _text(b"a1 OK welcome\r\n"), _TRUST),
    _case("PREAUTH under the login's tag", _text(b"%T PREAUTH welcome\r\n"), _TRUST),
    _case("OK twice", _text(b"%T OK welcome\r\n%T OK welcome\r\n"), _TRUST),
    _case(
        "OK before the password was asked for",
        _text(b"%T OK welcome\r\n", b"IMAP4rev1 AUTH=PLAIN"),
        _TRUST,
        words="before all was said",
    ),
    _case("OK at once to SCRAM", _text(b"%T OK hi\r\n", _SCRAM), _TRUST, words="before all was"),
    _case("no base64", _text(b"+ ???\r\n", _SCRAM), _TRUST, words="not base64"),
    _case("a challenge without a text", _text(b"+\r\n", _SCRAM), _TRUST, words="that is none"),
    _case("a challenge of 100 GB", _text(b"+ {99999999999}\r\n", _SCRAM), _TRUST),
    _case("a challenge of one endless line", _endless(b"eHg", b"+ "), _TRUST, endless=True),
    _case("endless untagged lines", _endless(b"* 1\r\n"), _TRUST, endless=True),
    _case("endless challenges", _endless(b"+ eHh4\r\n"), _TRUST, endless=True),
    *(
        _case(f"SCRAM: {name}", _plays(answer), _TRUST, words=words, said=said)
        for name, answer, words, said in _BREACHES
    ),
    _case("SCRAM: an error", _plays(_unknown), ExitCode.CREDENTIALS, words="unknown-user", said=2),
    _case(f"NO {_OAUTH_END}", _more(b"%T NO no\r\n"), ExitCode.CREDENTIALS, said=2),
    _case(f"BAD {_OAUTH_END}", _more(b"%T BAD cancelled\r\n"), ExitCode.CREDENTIALS, said=2),
    _case(
        f"UNAVAILABLE {_OAUTH_END}",
        _more(b"%T NO [UNAVAILABLE] x\r\n"),
        ExitCode.UNREACHABLE,
        said=2,
    ),
    _case(f"OK {_OAUTH_END}", _more(b"%T OK anyway\r\n"), _TRUST, words="was cancelled", said=2),
    _case(f"BYE {_OAUTH_END}", _more(b"* BYE had enough\r\n"), ExitCode.UNREACHABLE, said=2),
    _case(f"one more {_OAUTH_END}", _more(b"+ and again\r\n"), _TRUST, said=2),
    *(
        _case(
            f"`mechanism: {wanted}`, announced are {offered.replace('AUTH=', '')}",
            _text(b"%T OK hi\r\n", f"IMAP4rev1 {offered}".encode()),
            ExitCode.CONFIGURATION,
            logins=0,
            said=0,
            words=f"{wanted} demands. It offers: {shown}" if shown else "offers no mechanism",
            account={"authentication": {"mechanism": wanted}},
        )
        for wanted, offered, shown in (
            ("ScramSha256", "AUTH=SCRAM-SHA-1 AUTH=PLAIN", "AUTH=PLAIN, AUTH=SCRAM-SHA-1, the "),
            ("ScramSha256", "AUTH=PLAIN", "AUTH=PLAIN, the LOGIN command."),
            ("ScramSha1", "AUTH=SCRAM-SHA-256", "AUTH=SCRAM-SHA-256, the LOGIN command."),
            ("CramMd5", "AUTH=PLAIN", "AUTH=PLAIN, the LOGIN command."),
            ("Login", "AUTH=PLAIN", "AUTH=PLAIN, the LOGIN command."),
            ("Plain", "AUTH=LOGIN", "AUTH=LOGIN, the LOGIN command."),
            ("LoginCommand", "AUTH=PLAIN LOGINDISABLED", "AUTH=PLAIN."),
            ("Auto", "AUTH=GSSAPI LOGINDISABLED", ""),
        )
    ),
)

"""STARTTLS hidden, refused or half answered, and what is put in around it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mailsync_api.conditions import Reason
from mailsync_api.exitcodes import ExitCode
from tests.support.hostile.case import Case, clear, endless, inside, mute

if TYPE_CHECKING:
    from tests.support.scripted import Peer

__all__ = ["INJECTED", "STRIPPING"]

_STRICT: Final = ("StartTLS",)
# Opportunistic goes on in clear text here: that is what it is for.
_SAFE: Final = ("StartTLS", "Auto")
INJECTED: Final = "Injected"


def _hidden(name: str, capability: bytes, greeting: bytes = b"* OK %W\r\n") -> Case:
    make = clear(greeting=greeting, capability=capability)
    return Case(name, make, ExitCode.TLS_POLICY, Reason.STARTTLS_NOT_OFFERED, modes=_SAFE)


def _capability(name: str, capability: bytes) -> Case:
    return Case(name, clear(capability=capability), ExitCode.PROTOCOL)


def _refused(name: str, starttls: bytes) -> Case:
    make = clear(starttls=starttls)
    return Case(name, make, ExitCode.TLS_POLICY, Reason.STARTTLS_REFUSED)


def _broken(name: str, starttls: bytes) -> Case:
    return Case(name, clear(starttls=starttls), ExitCode.PROTOCOL)


def _close(_: object, peer: Peer) -> None:
    peer.close()


# What the paper calls tampering: data of a mailbox, before there is any. None may be believed.
_DATA: Final = {
    "LIST": b'* LIST () "/" Injected\r\n',
    "LSUB": b'* LSUB () "/" Injected\r\n',
    "STATUS": b"* STATUS Injected (MESSAGES 7 UIDNEXT 8)\r\n",
    "STATUS of INBOX": b"* STATUS INBOX (MESSAGES 700)\r\n",
    "NAMESPACE": b'* NAMESPACE (("Injected/" "/")) NIL NIL\r\n',
    "ID": b'* ID ("name" "%W" "support-url" "https://127.0.0.1:%B/")\r\n',
    "SEARCH": b"* SEARCH 1 2 3\r\n",
    "FLAGS": b"* FLAGS (\\Deleted Injected)\r\n",
    "EXISTS": b"* 7 EXISTS\r\n",
    "RECENT": b"* 7 RECENT\r\n",
    "EXPUNGE": b"* 1 EXPUNGE\r\n",
    "FETCH": b"* 1 FETCH (UID 1 FLAGS (\\Deleted) BODY[] {8}\r\nInjected)\r\n",
}


def _early(kind: str, data: bytes) -> tuple[Case, Case]:
    after = clear(greeting=b"* OK %W\r\n" + data, then=inside())
    before = clear(starttls=data + b"%T OK %W\r\n", then=inside())
    return (
        Case(f"{kind} after the greeting", after, ExitCode.DONE, modes=_STRICT, logins=1),
        Case(f"{kind} before STARTTLS's OK", before, ExitCode.DONE, modes=_STRICT, logins=1),
    )


STRIPPING: Final = (
    # --- capabilities
    _hidden("STARTTLS not announced", b"* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n%T OK %W\r\n"),
    _hidden("no capabilities", b"%T OK %W\r\n"),
    _hidden("only IMAP4 announced", b"* CAPABILITY IMAP4\r\n%T OK %W\r\n"),
    _hidden("a word like STARTTLS announced", b"* CAPABILITY XSTARTTLS STARTTLS2\r\n%T OK %W\r\n"),
    _hidden("STARTTLS only in the OK's text", b"%T OK [CAPABILITY IMAP4rev1 STARTTLS] %W\r\n"),
    _hidden(
        "STARTTLS only in the greeting",
        b"* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n%T OK %W\r\n",
        greeting=b"* OK [CAPABILITY IMAP4rev1 STARTTLS] %W\r\n",
    ),
    Case(
        "starttls in small letters",
        clear(capability=b"* capability imap4rev1 starttls\r\n%T ok %W\r\n", then=inside()),
        ExitCode.DONE,
        logins=1,
    ),
    _capability("NO to CAPABILITY", b"%T NO %W\r\n"),
    _capability("BAD to CAPABILITY", b"%T BAD %W\r\n"),
    _capability("a continuation for CAPABILITY", b"+ %W\r\n"),
    _capability("an end of CAPABILITY without a status", b"%T\r\n"),
    _capability("capabilities that end with PREAUTH", b"%T PREAUTH %W\r\n"),
    _capability("the end of another command", b"%T1 OK %W\r\n"),
    _capability("a tag of somebody else", b"a1 OK %W\r\n"),
    _capability(
        "STARTTLS's OK before its command", b"* CAPABILITY STARTTLS\r\n%T OK %W\r\nm2 OK %W\r\n"
    ),
    _capability(
        "CAPABILITY's end twice in one segment",
        b"* CAPABILITY STARTTLS\r\n%T OK %W\r\n%T OK %W\r\n",
    ),
    Case("BYE to CAPABILITY", clear(capability=b"* BYE %W\r\n"), ExitCode.UNREACHABLE),
    Case("a hang-up at CAPABILITY", clear(capability=_close), ExitCode.UNREACHABLE),
    Case(
        "no answer to CAPABILITY",
        clear(capability=mute),
        ExitCode.UNREACHABLE,
        modes=_STRICT,
        slow=True,
    ),
    Case(
        "endless capabilities",
        clear(capability=endless(b"AUTH=%W ", before=b"* CAPABILITY ")),
        ExitCode.PROTOCOL,
        endless=True,
    ),
    Case(
        "endless lines of capabilities",
        clear(capability=endless(b"* CAPABILITY STARTTLS\r\n")),
        ExitCode.PROTOCOL,
        endless=True,
    ),
    _capability("a capability of 100 GB", b"* CAPABILITY {99999999999}\r\n"),
    # --- STARTTLS refused, or half answered
    _refused("NO to STARTTLS", b"%T NO %W\r\n"),
    _refused("BAD to STARTTLS", b"%T BAD %W\r\n"),
    _refused("NO to STARTTLS with an alert", b"%T NO [ALERT] call +1 900 555 %W\r\n"),
    _refused("NO to STARTTLS with a referral", b"%T NO [REFERRAL imap://127.0.0.1:%B/] %W\r\n"),
    _broken("a continuation for STARTTLS", b"+ %W\r\n"),
    _broken("another tag for STARTTLS", b"x99 OK %W\r\n"),
    _broken("STARTTLS answered without a status", b"%T\r\n"),
    _broken("STARTTLS answered with PREAUTH", b"%T PREAUTH %W\r\n"),
    _broken("STARTTLS answered with BYE under its tag", b"%T BYE %W\r\n"),
    Case("BYE to STARTTLS", clear(starttls=b"* BYE %W\r\n"), ExitCode.UNREACHABLE),
    Case(
        "BYE to STARTTLS with a referral",
        clear(starttls=b"* BYE [REFERRAL imap://127.0.0.1:%B/] %W\r\n"),
        ExitCode.UNREACHABLE,
    ),
    Case(
        "no answer to STARTTLS",
        clear(starttls=mute),
        ExitCode.UNREACHABLE,
        modes=_STRICT,
        slow=True,
    ),
    Case(
        "half an OK for STARTTLS, then nothing",
        clear(starttls=b"%T OK"),
        ExitCode.UNREACHABLE,
        modes=_STRICT,
        slow=True,
    ),
    Case(
        "endless untagged lines for STARTTLS",
        clear(starttls=endless(b"* 1\r\n")),
        ExitCode.PROTOCOL,
        endless=True,
    ),
    Case(
        "STARTTLS's OK without a text",
        clear(starttls=b"%T OK\r\n", then=inside()),
        ExitCode.DONE,
        logins=1,
    ),
    # --- words in clear text behind STARTTLS's OK (CVE-2011-0411 turned round)
    _broken(
        "capabilities behind STARTTLS's OK",
        b"%T OK %W\r\n* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\nm3 OK %W\r\n",
    ),
    _broken("an alert behind STARTTLS's OK", b"%T OK %W\r\n* OK [ALERT] %W\r\n"),
    _broken("BYE behind STARTTLS's OK", b"%T OK %W\r\n* BYE %W\r\n"),
    _broken("PREAUTH behind STARTTLS's OK", b"%T OK %W\r\n* PREAUTH %W\r\n"),
    _broken("one byte behind STARTTLS's OK", b"%T OK %W\r\n*"),
    _broken("an empty line behind STARTTLS's OK", b"%T OK %W\r\n\r\n"),
    _broken("a NUL byte behind STARTTLS's OK", b"%T OK %W\r\n\0"),
    _broken("a handshake before ours", b"%T OK %W\r\n\x16\x03\x03\x00\x04\x0e\x00\x00\x00"),
    # --- data of a mailbox before TLS
    *(case for kind, data in _DATA.items() for case in _early(kind, data)),
    Case(
        "LOGINDISABLED before TLS only",
        clear(
            capability=b"* CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED\r\n%T OK %W\r\n",
            then=inside(capabilities=b"IMAP4rev1"),
        ),
        ExitCode.DONE,
        logins=1,
    ),
    Case(
        "LOGINDISABLED under TLS only",
        clear(then=inside(capabilities=b"IMAP4rev1 LOGINDISABLED")),
        ExitCode.CONFIGURATION,
        words="offers no mechanism",
    ),
    Case(
        "AUTH=PLAIN before TLS only",
        clear(then=inside(capabilities=b"IMAP4rev1 AUTH=GSSAPI LOGINDISABLED")),
        ExitCode.CONFIGURATION,
        words="It offers: AUTH=GSSAPI.",
    ),
    Case(
        "weaker mechanisms announced before TLS",
        clear(
            capability=b"* CAPABILITY IMAP4rev1 STARTTLS AUTH=LOGIN\r\n%T OK %W\r\n",
            then=inside(),
        ),
        ExitCode.DONE,
        logins=1,
    ),
)

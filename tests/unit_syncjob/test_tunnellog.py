"""What a tunnel's log means: the facts, the failures, and what it must not be taken for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from typing_extensions import override

from mailsync_api.conditions import Reason
from mailsync_api.exitcodes import ExitCode
from mailsync_syncjob.credentials import TunnelEnd
from mailsync_syncjob.deadline import Clock, Stop
from mailsync_syncjob.errors import ConfigurationError, TLSPolicyError, UnreachableError
from mailsync_syncjob.tunnellog import (
    TunnelLog,
    check_started,
    facts_in,
    failure_in,
    lines_of,
)
from tests.support.recorded import endpoint

if TYPE_CHECKING:
    from pathlib import Path

    from mailsync_syncjob.credentials import Endpoint

_AT = "2026.11.24 22:07:31"
# As stunnel 5.68 writes it, with "debug = info".
_GOOD = (
    'CERT: Host name "imap.example.org" matched with "*.example.org"',
    "Certificate accepted at depth=1: O=Test, OU=Testing CA",
    "Certificate accepted at depth=0: O=Test, CN=imap.example.org",
    "TLS connected: new session negotiated",
    "TLSv1.3 ciphersuite: TLS_AES_256_GCM_SHA384 (256-bit encryption)",
    "Peer temporary key: X25519, 253 bits",
)
_VERIFY_FAILED = (
    "SSL_connect: ../ssl/statem/statem_clnt.c:1889: error:0A000086:SSL routines::"
    "certificate verify failed"
)


def openssl(words: str) -> str:
    return f"SSL_connect: ../ssl/x.c:1: error:0A00010B:SSL routines::{words}"


def tunnelled(tls: dict[str, Any] | None = None, **ends: Any) -> Endpoint:
    account = endpoint(
        993, host="imap.example.org", tunnel={}, tls={"mode": "Implicit", **(tls or {})}
    )
    return replace(account, **ends)


def log(*lines: str, thread: int = 0, port: int = 4000) -> str:
    """Return the log of one connection."""
    all_lines = [f"Service [imap] accepted connection from 127.0.0.1:{port}", *lines]
    return "".join(f"{_AT} LOG5[{thread}]: {line}\n" for line in all_lines)


def test_the_lines_of_one_connection_among_others() -> None:
    text = (
        "[.] Configuration successful\n"
        + log("old", thread=0, port=4000)
        + log("other", thread=1, port=4001)
        + log("new", thread=2, port=4000)
        + f"{_AT} LOG6[1]: still the other\n{_AT} LOG6[2]: more\n{_AT} LOG6[cron]: no\nnoise\n"
        + log("reused", thread=2, port=4002)
    )
    assert lines_of(text, port=4000) == ["new", "more"]
    assert lines_of(text, port=4001) == ["other", "still the other"]
    assert lines_of(text, port=9) == []


def test_the_facts_of_a_good_connection() -> None:
    facts = facts_in(_GOOD, endpoint=tunnelled())
    assert facts is not None
    assert facts.to_wire() == {
        "mode": "Implicit",
        "secured": True,
        "verified": "Full",
        "protocol": "TLSv1.3",
        "cipher": "TLS_AES_256_GCM_SHA384",
        "serverName": "imap.example.org",
        "subject": "O=Test, CN=imap.example.org",
        "issuer": "O=Test, OU=Testing CA",
        "pinned": False,
        "tunnel": "Stunnel",
    }


@pytest.mark.parametrize(
    ("missing", "verify", "enough"),
    [
        (4, "Full", False),  # no cipher
        (2, "Full", False),  # no certificate
        (0, "Full", False),  # no name
        (0, "ChainOnly", True),
        (2, "ChainOnly", False),
        (2, "None", True),
        (4, "None", False),
    ],
)
def test_what_the_policy_demands_must_be_in_the_log(
    missing: int, verify: str, *, enough: bool
) -> None:
    lines = [line for number, line in enumerate(_GOOD) if number != missing]
    found = facts_in(lines, endpoint=tunnelled({"verify": verify}))
    assert (found is not None) is enough


def test_another_name_than_the_policys_is_not_enough() -> None:
    assert facts_in(_GOOD, endpoint=tunnelled({"serverName": "else.example.org"})) is None


_FAILURES: list[tuple[str, list[str], ExitCode, Reason]] = [
    (
        "expired",
        ["CERT: Pre-verification error: certificate has expired", _VERIFY_FAILED],
        ExitCode.TLS_POLICY,
        Reason.CERTIFICATE_EXPIRED,
    ),
    (
        "not yet valid",
        ["CERT: Pre-verification error: certificate is not yet valid", _VERIFY_FAILED],
        ExitCode.TLS_POLICY,
        Reason.CERTIFICATE_NOT_YET_VALID,
    ),
    (
        "weak",
        ["CERT: Pre-verification error: EE certificate key too weak", _VERIFY_FAILED],
        ExitCode.TLS_POLICY,
        Reason.CERTIFICATE_TOO_WEAK,
    ),
    (
        "unknown CA",
        ["CERT: Pre-verification error: unable to get local issuer certificate", _VERIFY_FAILED],
        ExitCode.TLS_POLICY,
        Reason.CERTIFICATE_NOT_TRUSTED,
    ),
    ("only OpenSSL", [_VERIFY_FAILED], ExitCode.TLS_POLICY, Reason.CERTIFICATE_NOT_TRUSTED),
    *(
        (words, [words, _VERIFY_FAILED], ExitCode.TLS_POLICY, Reason.CERTIFICATE_NAME_MISMATCH)
        for words in (
            "CERT: Subject checks failed",
            "CERT: No matching host name found",
            "CERT: No matching IP address found",
        )
    ),
    (
        "no TLS",
        [openssl("wrong version number")],
        ExitCode.TLS_POLICY,
        Reason.TLS_NOT_SPOKEN,
    ),
    (
        "nothing in common",
        [openssl("tlsv1 alert protocol version")],
        ExitCode.TLS_POLICY,
        Reason.TLS_HANDSHAKE_FAILED,
    ),
    (
        "client certificate",
        [*_GOOD, openssl("tlsv13 alert certificate required").replace("_connect", "_read")],
        ExitCode.TLS_POLICY,
        Reason.CLIENT_CERTIFICATE_REFUSED,
    ),
    (
        "client certificate, the alert lost",
        [
            "Received trusted client CA list not found",
            *_GOOD,
            "TLS socket closed (SSL_write) with 21 unsent byte(s)",
            "Connection reset: 0 byte(s) sent to TLS, 0 byte(s) sent to socket",
        ],
        ExitCode.TLS_POLICY,
        Reason.CLIENT_CERTIFICATE_REFUSED,
    ),
    (
        "no STARTTLS",
        ["Server does not support TLS"],
        ExitCode.TLS_POLICY,
        Reason.STARTTLS_NOT_OFFERED,
    ),
    ("no IMAP", ["Unknown server welcome"], ExitCode.PROTOCOL, Reason.PROTOCOL_VIOLATION),
    (
        "hung up",
        [openssl("unexpected eof while reading")],
        ExitCode.UNREACHABLE,
        Reason.UNREACHABLE,
    ),
    (
        "refused",
        ["s_connect: connect 192.0.2.7:993: Connection refused (111)", "No more addresses"],
        ExitCode.UNREACHABLE,
        Reason.UNREACHABLE,
    ),
    (
        "no such name",
        ['Error resolving "x.invalid": Neither nodename nor servname known (EAI_NONAME)'],
        ExitCode.UNREACHABLE,
        Reason.UNREACHABLE,
    ),
    (
        "silent",
        ["s_read_eof: s_poll_wait: TIMEOUTbusy exceeded: sending reset"],
        ExitCode.UNREACHABLE,
        Reason.UNREACHABLE,
    ),
]


@pytest.mark.parametrize(
    ("lines", "code", "reason"), [case[1:] for case in _FAILURES], ids=[c[0] for c in _FAILURES]
)
def test_failures_have_the_engines_own_codes_and_reasons(
    lines: list[str], code: ExitCode, reason: Reason
) -> None:
    error = failure_in(["s_connect: connecting 192.0.2.7:993", *lines], endpoint=tunnelled())
    assert error is not None
    assert (error.exit_code, error.reason) == (code, reason)
    assert "source imap.example.org:993" in error.message


def test_a_good_connection_is_no_failure() -> None:
    over = "Connection closed: 14 byte(s) sent to TLS, 155 byte(s) sent to socket"
    assert failure_in([*_GOOD, over], endpoint=tunnelled()) is None


class FakeClock(Clock):
    """Time that passes only by waiting; ``then`` happens at the first wait."""

    def __init__(self, then: Any = None) -> None:
        self.now = 0.0
        self.then = then

    @override
    def monotonic(self) -> float:
        return self.now

    @override
    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.then is not None:
            self.then()
            self.then = None


def opened(path: Path, clock: Clock) -> TunnelLog:
    end = TunnelEnd(10143, path, path.with_suffix(".failure"))
    return TunnelLog(tunnelled(tunnel=end), path, 4000, clock, Stop(clock))


def test_a_log_that_is_late_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "source.log"
    clock = FakeClock(lambda: path.write_text(log(*_GOOD)))
    assert opened(path, clock).facts(seconds=5).protocol == "TLSv1.3"

    path.write_text("")
    over = "Connection reset: 0 byte(s) sent to TLS, 0 byte(s) sent to socket"
    text = log("CERT: Pre-verification error: certificate has expired", over)
    clock = FakeClock(lambda: path.write_text(text))
    error = opened(path, clock).failure()
    assert error is not None
    assert error.reason is Reason.CERTIFICATE_EXPIRED
    with pytest.raises(TLSPolicyError) as caught:
        opened(path, FakeClock()).facts(seconds=5)
    assert caught.value.reason is Reason.CERTIFICATE_EXPIRED


def test_without_a_log_nothing_is_taken_for_secured(tmp_path: Path) -> None:
    path = tmp_path / "source.log"
    with pytest.raises(UnreachableError, match="No credentials were sent"):
        opened(path, FakeClock()).facts(seconds=5)
    assert opened(path, FakeClock()).failure() is None
    path.write_text(log(*_GOOD[3:]))
    with pytest.raises(TLSPolicyError, match="does not say that it verified"):
        opened(path, FakeClock()).facts(seconds=5)


def test_a_tunnel_that_could_not_start_is_said_to(tmp_path: Path) -> None:
    end = TunnelEnd(1, tmp_path / "log", tmp_path / "failure")
    check_started(tunnelled(tunnel=end))
    end.failure.write_text("source.tls.caRef: no PEM\n")
    with pytest.raises(ConfigurationError, match=r"the tunnel could not start: source\.tls\.caRef"):
        check_started(tunnelled(tunnel=end))

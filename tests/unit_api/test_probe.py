"""The contract of a probe: what fits a termination message, what an older reader makes of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from mailsync_api.endpoint import TLSMode, TLSVerify
from mailsync_api.exitcodes import ExitCode
from mailsync_api.names import TERMINATION_MESSAGE_BYTES
from mailsync_api.probe import (
    CertificateFacts,
    EndpointFacts,
    Offer,
    ProbeInput,
    ProbeVerdict,
    parse_probe_verdict,
)
from mailsync_api.status import TLSFacts

_NOW = datetime(2026, 11, 24, tzinfo=UTC)


def _facts(**changes: Any) -> EndpointFacts:
    base: dict[str, Any] = {
        "tls": TLSFacts(mode=TLSMode.IMPLICIT, secured=True, verified=TLSVerify.FULL),
        "names": ["mail.example.org"],
        "capabilities": ["AUTH=PLAIN", "IMAP4REV1"],
        "auth_mechanisms": ["LOGIN", "PLAIN"],
        "server_id": "Dovecot",
        "probe_time": _NOW,
    }
    return EndpointFacts(**{**base, **changes})


def _verdict(message: str = "fine", **facts: Any) -> ProbeVerdict:
    return ProbeVerdict(
        exit_code=ExitCode.DONE, reason="Completed", message=message, facts=_facts(**facts)
    )


def test_what_fits_is_whole() -> None:
    verdict = _verdict()
    assert parse_probe_verdict(verdict.to_termination_message()) == verdict


_LONG = "é" * 1024  # six characters each as JSON in ASCII
_OFFERS = [Offer(port=993, mode=TLSMode.IMPLICIT, offered=False, message="m" * 4000)] * 8
_HUGE: dict[str, Any] = {
    "capabilities": [f"X-CAPABILITY-{number}-{'y' * 100}" for number in range(100)],
    "names": [f"{number}{'n' * 200}" for number in range(20)],
    "auth_mechanisms": [f"MECHANISM-{number}-{'z' * 100}" for number in range(40)],
    "server_id": "é" * 256,
    "alternatives": _OFFERS,
    "certificate": CertificateFacts(subject=_LONG, issuer=_LONG),
    "tls": TLSFacts(
        mode=TLSMode.IMPLICIT,
        secured=True,
        verified=TLSVerify.FULL,
        subject=_LONG,
        issuer=_LONG,
        server_name=_LONG,
    ),
}


@pytest.mark.parametrize("message", ["short", "ü" * 32768])
@pytest.mark.parametrize("fields", [*([name] for name in _HUGE), [*_HUGE]], ids="-".join)
def test_it_never_grows_beyond_a_termination_message(fields: list[str], message: str) -> None:
    text = _verdict(message, **{name: _HUGE[name] for name in fields}).to_termination_message()
    assert len(text.encode()) <= TERMINATION_MESSAGE_BYTES
    read = parse_probe_verdict(text)
    assert read is not None
    assert (read.exit_code, read.reason) == (ExitCode.DONE, "Completed")


def test_what_matters_least_is_cut_first() -> None:
    text = _verdict(capabilities=_HUGE["capabilities"]).to_termination_message()
    read = parse_probe_verdict(text)
    assert read is not None
    assert read.message == "fine"
    assert read.facts.auth_mechanisms == ["LOGIN", "PLAIN"]
    assert 0 < len(read.facts.capabilities) < 100


def test_a_newer_engine_is_understood() -> None:
    wire = json.loads(_verdict(alternatives=[_OFFERS[0]]).to_termination_message())
    wire["unheard"] = wire["facts"]["unheard"] = wire["facts"]["alternatives"][0]["unheard"] = 1
    read = parse_probe_verdict(json.dumps(wire))
    assert read is not None
    assert read.facts.server_id == "Dovecot"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"exitCode": 3, "reason": "x"}'])
def test_anything_else_is_no_verdict(text: str) -> None:
    assert parse_probe_verdict(text) is None


def test_an_input_is_strict() -> None:
    wire = {"namespace": "a", "name": "b", "server": {"host": "x"}, "unheard": 1}
    with pytest.raises(ValueError, match="unheard"):
        ProbeInput.model_validate(wire)

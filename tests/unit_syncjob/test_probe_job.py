"""A probe as its pod runs it: what it is given, what it ends with, what it leaves behind."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from mailsync_api import names
from mailsync_api.report import LogLine, parse_line
from tests.support.probing import PodResult, pod_probe
from tests.support.scripted import TinyServer, serve, with_starttls

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.certificates import Authority, KeyPair

_TRUST = {"caRef": {"name": "ca"}}


def _server(port: int, **tls: Any) -> dict[str, Any]:
    return {"host": "127.0.0.1", "port": port, "tls": tls}


def _lines(result: PodResult) -> list[LogLine]:
    lines = [parse_line(line) for line in result.stdout.splitlines()]
    assert all(isinstance(line, LogLine) for line in lines)
    return [line for line in lines if isinstance(line, LogLine)]


def test_a_policy_that_is_met(tmp_path: Path, authority: Authority, key_pair: KeyPair) -> None:
    many = b" ".join(b"X-%d-%s" % (number, b"y" * 90) for number in range(500))
    inside = TinyServer(capabilities=b"IMAP4rev1 AUTH=PLAIN LOGINDISABLED " + many)
    with serve(with_starttls(inside), key_pair=key_pair) as script:
        server = _server(script.port, mode="Auto", **_TRUST)
        result = pod_probe(tmp_path, server, ca_pem=authority.pem)
    assert result.exit_code == 0, result.stdout
    assert len(result.message.encode()) <= names.TERMINATION_MESSAGE_BYTES
    assert result.verdict is not None
    facts = result.verdict.facts
    assert (result.verdict.exit_code, result.verdict.reason) == (0, "Completed")
    assert facts.tls is not None
    assert (facts.tls.mode, facts.tls.secured, facts.tls.verified) == ("StartTLS", True, "Full")
    assert facts.names == ["127.0.0.1", "localhost"]
    assert facts.auth_mechanisms == ["PLAIN"]
    assert [(o.mode, o.offered) for o in facts.alternatives] == [
        ("Implicit", False),
        ("None", True),
        ("StartTLS", True),
    ]
    assert facts.probe_time is not None
    assert [line.level for line in _lines(result)] == ["info"]


def test_a_refused_certificate_is_shown(tmp_path: Path, key_pair: KeyPair) -> None:
    with serve(TinyServer(), key_pair=key_pair, implicit_tls=True) as script:
        result = pod_probe(tmp_path, _server(script.port, mode="Implicit"))
    assert result.exit_code == 76
    assert result.verdict is not None
    assert result.verdict.reason == "CertificateNotTrusted"
    facts = result.verdict.facts
    assert facts.tls is None
    assert facts.certificate is not None
    assert facts.certificate.spki_sha256
    assert facts.certificate.not_after_time
    # Not a word on the connection that was not verified.
    assert script.said == b""
    assert [line.level for line in _lines(result)] == ["error"]


def test_nothing_listens(tmp_path: Path) -> None:
    result = pod_probe(tmp_path, _server(1, mode="Auto"))
    assert result.exit_code == 69
    assert result.verdict is not None
    assert result.verdict.reason == "Unreachable"


@pytest.mark.parametrize(
    ("server", "words"),
    [
        ({"host": "127.0.0.1", "port": 0}, "server.port"),
        (_server(1, **_TRUST), "the CA certificates of the server is empty"),
    ],
)
def test_a_bad_input_ends_with_a_verdict(
    tmp_path: Path, server: dict[str, Any], words: str
) -> None:
    result = pod_probe(tmp_path, server)
    assert result.exit_code == 78
    assert result.verdict is not None
    assert result.verdict.reason == "InvalidConfiguration"
    assert words in result.verdict.message


def test_the_verdict_is_one_object(tmp_path: Path) -> None:
    result = pod_probe(tmp_path, _server(1, mode="Auto"))
    assert set(json.loads(result.message)) == {"exitCode", "reason", "message", "facts"}

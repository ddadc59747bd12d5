"""The entry point in the pod: what it is given, and what it says of it."""

from __future__ import annotations

import json
import re
import signal
from typing import TYPE_CHECKING, Any

import pytest

from mailsync_api import names
from mailsync_api.endpoint import MailAccount, Side
from mailsync_api.report import Verdict
from mailsync_syncjob.clientcert import ClientCertificate
from mailsync_syncjob.errors import ConfigurationError
from mailsync_syncjob.job import read_endpoint, read_input
from tests.support.builders import account, merged
from tests.support.engine import Account, Engine
from tests.support.recorded import PASSWORD
from tests.support.scripted import Peer, TinyServer, serve

if TYPE_CHECKING:
    from pathlib import Path


def _input(**changes: Any) -> dict[str, str]:
    base = {
        "namespace": "a",
        "name": "b",
        "source": account("source"),
        "destination": account("destination"),
    }
    return {names.INPUT_ENV: json.dumps(merged(base, changes))}


def test_the_input_is_read() -> None:
    job = read_input(_input(run=7, runType="Delta"))
    assert (job.run, job.run_type, job.source.host) == (7, "Delta", "source.example.org")


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, names.INPUT_ENV),
        ({names.INPUT_ENV: "{"}, "input"),
        (_input(source={"port": 0}), "source.port"),
        (_input(source={"username": None}), "source.username"),
        (_input(unheard=1), "unheard"),
    ],
)
def test_a_bad_input_is_named(environment: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        read_input(environment)


def _plain(port: int, user: str) -> Account:
    return Account("127.0.0.1", port, user, PASSWORD, "", {"mode": "None"})


def test_a_bad_input_ends_with_a_verdict(tmp_path: Path) -> None:
    engine = Engine(tmp_path, _plain(1, "a"), _plain(1, "b"))
    engine.environment[names.INPUT_ENV] = "{}"
    result = engine.run()
    assert result.exit_code == 78
    assert result.verdict is not None
    assert "source: Field required" in result.verdict.message
    assert result.report is not None


def test_no_password_file_is_looked_for_where_none_is_needed(tmp_path: Path) -> None:
    wire = account("source", authentication={"mechanism": "External", "secretRef": None})
    end = read_endpoint(Side.SOURCE, MailAccount.model_validate(wire), root=tmp_path)
    assert end.password is None


def test_a_missing_ca_file_is_named(tmp_path: Path) -> None:
    secure = Account("127.0.0.1", 1, "a", PASSWORD, "pem", {"mode": "Implicit"})
    engine = Engine(tmp_path, secure, _plain(1, "b"))
    (tmp_path / "source-ca" / names.CA_FILE_NAME).unlink()
    result = engine.run()
    assert result.exit_code == 78
    assert result.verdict is not None
    assert "source-ca/ca.crt" in result.verdict.message


def test_the_client_certificates_files_are_read(tmp_path: Path) -> None:
    tls = {"clientCertificateRef": {"name": "own", "certKey": "a", "keyKey": "b"}}
    wire = account("source", tls=tls)
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / names.PASSWORD_FILE_NAME).write_text("word")
    folder = tmp_path / "source-client"
    folder.mkdir()
    (folder / names.CLIENT_CERTIFICATE_FILE_NAME).write_text("certificate")
    with pytest.raises(ConfigurationError, match=r"source-client/tls\.key"):
        read_endpoint(Side.SOURCE, MailAccount.model_validate(wire), root=tmp_path)
    (folder / names.CLIENT_KEY_FILE_NAME).write_text("private")
    found = read_endpoint(Side.SOURCE, MailAccount.model_validate(wire), root=tmp_path)
    assert found.client_certificate == ClientCertificate(b"certificate", b"private")


def test_what_a_token_needs_is_read_from_files(tmp_path: Path) -> None:
    oauth2 = {
        "grant": "RefreshToken",
        "tokenURL": "https://login.example.org/token",
        "clientID": "app",
        "caRef": {"name": "ca"},
    }
    keys = {"clientSecretKey": "secret"}
    wire = account("source", authentication={"oauth2": oauth2, "secretRef": keys})
    model = MailAccount.model_validate(wire)
    for name in ("source/token", "source/client-secret", "source-token-ca/ca.crt"):
        with pytest.raises(ConfigurationError, match=re.escape(str(tmp_path / name))):
            read_endpoint(Side.SOURCE, model, root=tmp_path)
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("hush")
    end = read_endpoint(Side.SOURCE, model, root=tmp_path)
    assert end.password is None
    assert end.tokens is not None
    assert "hush" not in repr(end)


def test_the_verdict_fits_the_termination_message(tmp_path: Path) -> None:
    with serve(TinyServer({1: b"Message-ID: <1@x>\r\n\r\n"})) as a, serve(TinyServer()) as b:
        result = Engine(tmp_path, _plain(a.port, "a"), _plain(b.port, "b")).run()
    assert result.exit_code == 0, result.said
    assert result.verdict is not None
    assert len(result.verdict.to_termination_message()) <= names.TERMINATION_MESSAGE_BYTES
    assert isinstance(result.verdict, Verdict)
    assert PASSWORD not in result.said


def test_sigterm_while_a_server_is_silent_ends_the_run(tmp_path: Path) -> None:
    source = TinyServer({1: b"Message-ID: <1@x>\r\n\r\n"})
    engine = None

    def silent(peer: Peer, _: bytes, __: bytes) -> None:
        process.send_signal(signal.SIGTERM)
        peer.wait_for_hang_up()

    source.answers[b"LIST"] = silent
    with serve(source) as a, serve(TinyServer()) as b:
        engine = Engine(tmp_path, _plain(a.port, "a"), _plain(b.port, "b"))
        with engine.started() as process:
            result = engine.finish(process, timeout=28)
    assert result.exit_code == 143
    assert result.verdict is not None
    assert result.verdict.reason == "Interrupted"

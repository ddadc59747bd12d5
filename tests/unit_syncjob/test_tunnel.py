"""The tunnel's container: what it is told, what it configures, and what it says when it cannot."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mailsync_api import names
from mailsync_api.tunnel import TunnelInput
from mailsync_syncjob import tunnel
from mailsync_syncjob.errors import ConfigurationError
from mailsync_syncjob.tunnel import prepared, refusal, start

if TYPE_CHECKING:
    from tests.support.certificates import Authority, KeyPair


def wanted(place: str = "source", **tls: Any) -> TunnelInput:
    server = {"host": "imap.example.org", "tunnel": {}, "tls": tls}
    return TunnelInput.model_validate({"place": place, "server": server})


def test_the_files_are_those_of_the_place(
    tmp_path: Path, authority: Authority, key_pair: KeyPair
) -> None:
    for folder, name, text in (
        ("destination-ca", names.CA_FILE_NAME, authority.pem),
        (
            "destination-client",
            names.CLIENT_CERTIFICATE_FILE_NAME,
            key_pair.certificate.read_text(),
        ),
        ("destination-client", names.CLIENT_KEY_FILE_NAME, key_pair.key.read_text()),
    ):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / name).write_text(text)
    refs = {"caRef": {"name": "ca"}, "clientCertificateRef": {"name": "client"}}
    lines = prepared(wanted("destination", **refs), root=tmp_path).splitlines()
    for line in (
        f"CAfile = {tmp_path}/destination-ca/ca.crt",
        f"cert = {tmp_path}/destination-client/tls.crt",
        f"key = {tmp_path}/destination-client/tls.key",
        "accept = 127.0.0.1:10144",
        "pid = /var/run/mailsync-tunnel/destination.ready",
    ):
        assert line in lines


@pytest.mark.parametrize(
    ("tls", "words"),
    [
        ({"caRef": {"name": "ca"}}, r"source\.tls\.caRef: no PEM"),
        ({"ciphers": "NONSENSE"}, r"source\.tls\.ciphers: 'NONSENSE'"),
        ({"clientCertificateRef": {"name": "x"}}, "tls.crt cannot be read"),
    ],
)
def test_what_cannot_be_used_is_named_before_stunnel_sees_it(
    tls: dict[str, Any], words: str, tmp_path: Path
) -> None:
    (tmp_path / "source-ca").mkdir()
    (tmp_path / "source-ca" / names.CA_FILE_NAME).write_text("nothing")
    with pytest.raises(ConfigurationError, match=words):
        prepared(wanted(**tls), root=tmp_path)


_FAILED = "[ ] Initializing\n[!] No trusted certificates found\n[!] Configuration failed\n[ ] x\n"


def test_a_refused_configuration_is_found_in_the_log() -> None:
    assert refusal(_FAILED) == "No trusted certificates found; Configuration failed"
    assert refusal(f"{_FAILED}2026.11.24 22:07:31 LOG5[ui]: Configuration successful\n") == ""
    assert refusal("") == ""


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the pod's shared folder; nothing becomes another process."""

    def become(program: str, configuration: Path, *, log: Path) -> None:
        assert configuration.exists()
        log.write_text(program)

    monkeypatch.setattr(names, "TUNNEL_ROOT", str(tmp_path))
    monkeypatch.setattr(tunnel, "_become", become)
    return tmp_path


def environment(shared: Path, program: str = "stunnel4") -> dict[str, str]:
    folder = shared / "bin"
    folder.mkdir()
    (folder / program).write_text("#!/bin/sh\n")
    (folder / program).chmod(0o755)
    return {"PATH": str(folder)}


@pytest.mark.parametrize("program", ["stunnel4", "stunnel"])
def test_it_becomes_stunnel(program: str, shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", environment(shared, program)["PATH"])
    start({names.TUNNEL_INPUT_ENV: wanted().model_dump_json(by_alias=True)})
    assert (shared / "source.log").read_text() == f"{shared}/bin/{program}"
    assert "checkHost = imap.example.org" in (shared / "source.conf").read_text()
    assert not (shared / "source.failure").exists()


@pytest.mark.parametrize(
    ("text", "log", "words", "place"),
    [
        ("{}", "", "is not a tunnel's input", "server"),
        (wanted(ciphers="NONSENSE").model_dump_json(by_alias=True), "", "NONSENSE", "source"),
        (wanted().model_dump_json(by_alias=True), _FAILED, "No trusted certificates", "source"),
        (wanted().model_dump_json(by_alias=True), "", "the image has no stunnel", "source"),
    ],
)
def test_why_it_cannot_start_is_said_and_counts_as_started(  # noqa: PLR0917  one case's parts
    text: str, log: str, words: str, place: str, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = environment(shared)["PATH"]
    monkeypatch.setenv("PATH", str(shared) if "no stunnel" in words else installed)
    if log:
        (shared / "source.log").write_text(log)
    start({names.TUNNEL_INPUT_ENV: text})
    assert words in (shared / f"{place}.failure").read_text()
    assert (shared / f"{place}.ready").stat().st_size > 0

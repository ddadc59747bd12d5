"""``mailsync probe`` as a user meets it: arguments, outputs, exit codes."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from mailsync_api.endpoint import Server
from mailsync_syncjob import cli, probecommand
from mailsync_syncjob.errors import UsageError
from mailsync_syncjob.probe.arguments import split_host
from mailsync_syncjob.probe.report import ProbeReport
from tests.support.builders import manifest
from tests.support.recorded import PASSWORD
from tests.support.scripted import TinyServer, serve, with_starttls
from tests.support.secrecy import WATCH

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.certificates import Authority, KeyPair


@dataclass(frozen=True, slots=True)
class Done:
    """How the command ended."""

    returncode: int
    stdout: str
    stderr: str


@dataclass(frozen=True, slots=True)
class Command:
    """``mailsync probe`` in this process: starting an interpreter takes longer than most probes."""

    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str, stdin: str = "") -> Done:
        self.monkeypatch.setattr(sys, "argv", ["mailsync", "probe", *arguments])
        typed = io.TextIOWrapper(io.BytesIO(stdin.encode()))
        self.monkeypatch.setattr(sys, "stdin", typed)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = self.capsys.readouterr()
        WATCH.keep("mailsync probe", said.out + said.err)
        assert "Traceback" not in said.out + said.err
        assert isinstance(ended.value.code, int)
        return Done(ended.value.code, said.out, said.err)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    # What concerns the whole process stays out of this one.
    monkeypatch.setattr(cli, "keep_memory_private", lambda: None)
    monkeypatch.setattr(probecommand, "stop_on_sigterm", lambda _: None)
    return Command(monkeypatch, capsys)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("imap.example.org", "imap.example.org", None),
        ("imap.example.org:993", "imap.example.org", 993),
        ("192.0.2.1:143", "192.0.2.1", 143),
        ("2001:db8::1", "2001:db8::1", None),
        ("[2001:db8::1]", "2001:db8::1", None),
        ("[2001:db8::1]:993", "2001:db8::1", 993),
    ],
)
def test_a_host_with_its_port(text: str, host: str, port: int | None) -> None:
    assert split_host(text) == (host, port)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("imaps://imap.example.org/", r"is a URL: give the host alone \(imap.example.org\)"),
        ("alice@imap.example.org", "give the host alone"),
        ("imap.example.org:imaps", "neither HOST, HOST:PORT nor"),
        ("[2001:db8::1]993", "neither HOST, HOST:PORT nor"),
    ],
)
def test_what_is_no_host(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        split_host(text)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give either HOST or -f FILE"),
        (["x", "-f", "y.yaml"], "give either HOST or -f FILE"),
        (["imap.example.org:993", "--port", "143"], "give one of them"),
        (["", "--port", "143"], "HOST"),
        (["imap example org"], "HOST"),
        (["x", "--port", "70000"], "65535"),
        (["x", "--mode", "Sometimes"], "Sometimes"),
        (["x", "--mode", "None", "--ca", "/dev/null"], "have no effect"),
        (["x", "--min-version", "TLSv1.0"], "securityLevel 0"),
        (["x", "--pin", "abc"], "--pin"),
        (["x", "--ciphers", "@SECLEVEL=0"], "--ciphers"),
        (["x", "--ca", "/nowhere/ca.pem"], "--ca /nowhere/ca.pem: No such file"),
        (["x", "--client-key", "/dev/null"], "go together"),
        (["x", "--password-file", "y"], "give --login USER as well"),
        (["x", "--mechanism", "Plain"], "give --login USER as well"),
        (["x", "--login", "alice"], "give --password-file FILE"),
        (["x", "--login", "alice", "--mechanism", "XOAuth2"], "and --with-logins"),
        (["x", "--login", "alice", "--password", "word"], "--password"),
        (["x", "--login", "alice", "--password-file", "/nowhere/p"], "/nowhere/p: No such file"),
        (["x", "--name", "y"], "belong to -f FILE"),
        (["-f", "-", "--mode", "None"], "--mode belongs to HOST"),
        (["-f", "-", "--port", "1"], "--port belongs to HOST"),
        (["x", "-o", "xml"], "xml"),
        (["x", "--timeout", "0"], "--timeout"),
    ],
)
def test_bad_usage_is_said_in_words(run: Command, arguments: list[str], words: str) -> None:
    result = run(*arguments)
    assert result.returncode == 64, result
    # Boxes break lines.
    assert words in " ".join(result.stderr.replace("│", " ").split())


@pytest.fixture
def ca(tmp_path: Path, authority: Authority) -> str:
    path = tmp_path / "ca.pem"
    path.write_text(authority.pem)
    return str(path)


def test_the_text(run: Command, ca: str, key_pair: KeyPair) -> None:
    with serve(with_starttls(TinyServer()), key_pair=key_pair) as script:
        result = run(f"127.0.0.1:{script.port}", "--ca", ca)
    assert result.returncode == 0, result.stderr
    for section in ("Reachability", "TLS", "Certificate", "Capabilities", "Verdict", "What to"):
        assert f"\n{section}" in f"\n{result.stdout}", section
    assert "0 Completed" in result.stdout
    # No terminal, no colours.
    assert "\x1b" not in result.stdout
    assert result.stderr == ""


# What programs may rely on; a change here is a change of the documented object.
_KEYS = {
    "host", "port", "mode", "exitCode", "reason", "message", "facts", "tcpMilliseconds",
    "handshakeMilliseconds", "versions", "chain", "capabilitiesBeforeTls", "login", "manifest",
    "cautions",
}  # fmt: skip


def test_the_json(run: Command, ca: str, key_pair: KeyPair) -> None:
    with serve(with_starttls(TinyServer()), key_pair=key_pair) as script:
        arguments = ("127.0.0.1", "--port", str(script.port), "--ca", ca, "-o", "json")
        result = run(*arguments, "--login", "alice", "--password-file", "-", stdin="word\n")
    assert result.returncode == 0, result.stderr
    (line,) = result.stdout.splitlines()
    wire = json.loads(line)
    assert set(wire) == _KEYS
    assert ProbeReport.model_validate(wire).login is not None
    assert Server.model_validate(yaml.safe_load(wire["manifest"])).port == script.port
    assert "STARTTLS" in wire["capabilitiesBeforeTls"]
    assert "STARTTLS" not in wire["facts"]["capabilities"]


def test_every_field_of_the_json_is_known() -> None:
    assert {field.alias for field in ProbeReport.model_fields.values()} == _KEYS


@pytest.mark.parametrize(
    ("typed", "end"), [("wörd of alice", "\n"), ("wörd", "\r\n"), ("wörd", "")]
)
def test_a_password_from_standard_input_is_one_line(run: Command, typed: str, end: str) -> None:
    with serve(TinyServer()) as script:
        arguments = (f"127.0.0.1:{script.port}", "--mode", "none", "--mechanism", "LoginCommand")
        result = run(*arguments, "--login", "alice", "--password-file", "-", stdin=typed + end)
    assert result.returncode == 0, result.stdout
    assert typed.encode() in script.said.replace(b"\r\n", b"|")
    assert b"|".join((typed.encode(), b"")) in script.said.replace(b"\r\n", b"|")


def test_a_password_from_a_file_is_taken_as_a_secret_is(run: Command, tmp_path: Path) -> None:
    def refuse(peer: Any, tag: bytes, _: bytes) -> None:
        peer.send(tag + b" NO no\r\n")

    path = tmp_path / "word"
    path.write_text("word\n")
    server = TinyServer(capabilities=b"IMAP4rev1", answers={b"LOGIN": refuse})
    with serve(server) as script:
        result = run(
            f"127.0.0.1:{script.port}",
            "--mode",
            "None",
            "--login",
            "alice",
            "--password-file",
            str(path),
        )
    assert result.returncode == 77
    assert "ends with a line break" in result.stdout


def test_the_trace_goes_to_standard_error(run: Command, ca: str, key_pair: KeyPair) -> None:
    with serve(TinyServer(), key_pair=key_pair, implicit_tls=True) as script:
        arguments = (f"127.0.0.1:{script.port}", "--ca", ca, "--trace", "-o", "json")
        result = run(*arguments, "--login", "alice", "--password-file", "-", stdin=PASSWORD)
    assert result.returncode == 0
    json.loads(result.stdout)
    assert "C: " in result.stderr
    assert "TLS is established" in result.stderr
    assert PASSWORD not in result.stdout + result.stderr


def _between(tmp_path: Path, source: int, destination: int) -> str:
    documents: list[dict[str, Any]] = [
        manifest(
            "alice",
            source={"host": "127.0.0.1", "port": source, "tls": {"mode": "None"}},
            destination={
                "host": "127.0.0.1",
                "port": destination,
                "username": "alice-new",
                "tls": {"mode": "None"},
            },
        )
    ]
    path = tmp_path / "alice.yaml"
    path.write_text(yaml.safe_dump_all(documents))
    return str(path)


def test_both_servers_of_a_manifest(run: Command, tmp_path: Path) -> None:
    with serve(TinyServer()) as a:
        path = _between(tmp_path, a.port, 1)
        # No Secret is there, and none is needed.
        result = run("-f", path)
        chosen = run("-f", path, "--name", "bob")
    assert result.returncode == 69
    assert "source of alice" in result.stdout
    assert "destination of alice" in result.stdout
    assert b"LOGIN" not in a.said
    assert chosen.returncode == 64
    assert "no such MailSync, but alice" in chosen.stderr


def test_a_manifests_logins(run: Command, tmp_path: Path) -> None:
    for side in ("source", "destination"):
        folder = tmp_path / "secrets" / f"{side}-password"
        folder.mkdir(parents=True)
        (folder / "password").write_text(PASSWORD)
    with serve(TinyServer(capabilities=b"IMAP4rev1")) as a:
        path = _between(tmp_path, a.port, a.port)
        bare = run("-f", path, "--with-logins")
        arguments = ("-f", path, "--with-logins", "--secrets", str(tmp_path / "secrets"))
        result = run(*arguments, "-o", "json")
    assert bare.returncode == 78
    assert result.returncode == 0, result.stdout + result.stderr
    assert [json.loads(line)["login"]["succeeded"] for line in result.stdout.splitlines()] == [
        True,
        True,
    ]
    assert PASSWORD not in result.stdout + result.stderr


def test_the_timeout_holds_whatever_the_server_does(run: Command) -> None:
    def silent(peer: Any) -> None:
        peer.wait_for_hang_up()

    with serve(silent) as script:
        result = run(f"127.0.0.1:{script.port}", "--timeout", "1")
    assert result.returncode == 69


def test_the_help_says_how_to_keep_passwords_off_the_command_line(run: Command) -> None:
    said = " ".join(run("--help").stdout.replace("│", " ").split())
    assert "There is no option for the password itself" in said
    for code in ("0", "64", "69", "76", "77", "78", "81"):
        assert code in said


def test_completion_knows_the_command(tmp_path: Path) -> None:
    environment = {
        "_MAILSYNC_COMPLETE": "complete_bash",
        "COMP_WORDS": "mailsync pr",
        "COMP_CWORD": "1",
    }
    command = tmp_path / "mailsync"
    command.write_text(f"#!{sys.executable}\nfrom mailsync_syncjob.cli import main\nmain()\n")
    command.chmod(0o755)
    done = subprocess.run(
        [command], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.split() == ["probe"]

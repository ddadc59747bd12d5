"""Sessions of ``mailsync probe`` with real servers, as the pages show them.

``python -m tests.support.probe_sessions`` records them anew into the pages; a test runs the same
commands and compares. The names exist for the recorded command alone: it runs in a mount namespace
with its own /etc/hosts (Linux, root).
"""

from __future__ import annotations

import contextlib
import functools
import http.server
import os
import random
import re
import socketserver
import subprocess
import sys
import tempfile
import threading
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from typing_extensions import override

from tests.support.certificates import KeyPair
from tests.support.dovecot import Settings, run_dovecot
from tests.support.odd_certificates import Issuer, Wish, issue, key_pem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["PAGES", "PASSWORDS", "SESSIONS", "Session", "Stage", "blocks", "normalised", "stage"]

_ROOT: Final = Path(__file__).parents[2]
PAGES: Final = (_ROOT / "docs" / "probing.md", _ROOT / "README.md")
_BLOCK: Final = re.compile(
    r"(?P<mark><!-- session: (?P<name>[a-z-]+) -->\n)```console\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
_IN_NAMESPACE: Final = 'mount --bind "$0" /etc/hosts && exec "$@"'
_PASSWORD: Final = "the-password-of-alice"
PASSWORDS: Final = (_PASSWORD, "another-word")
"""What must be in no output: the right password, and the wrong one."""


@dataclass(frozen=True, slots=True)
class Session:
    """One command and how it ends."""

    name: str
    command: str
    exit_code: int
    stdin: str = ""


SESSIONS: Final = (
    Session("implicit", "mailsync probe imap.example.org --ca ca.pem", 0),
    Session("starttls", "mailsync probe imap.example.org --ca ca.pem --mode StartTLS", 0),
    Session(
        "login",
        "mailsync probe imap.example.org --ca ca.pem --login alice --password-file alice.txt",
        0,
    ),
    Session(
        "login-refused",
        "mailsync probe imap.example.org --ca ca.pem --login alice --password-file old.txt",
        77,
    ),
    Session("trace", "mailsync probe imap.example.org:993 --ca ca.pem --trace 2>&1 >/dev/null", 0),
    Session("untrusted", "mailsync probe imap.example.org", 76),
    Session("self-signed", "mailsync probe self-signed.example.org", 76),
    Session("expired", "mailsync probe expired.example.org --ca ca.pem", 76),
    Session("clear-text", "mailsync probe plain.example.org", 76),
    Session("clear-text-allowed", "mailsync probe plain.example.org --mode None", 0),
    Session("web", "mailsync probe web.example.org --port 80", 81),
    Session("smtp", "mailsync probe smtp.example.org:25", 81),
    Session("wrong-port", "mailsync probe imap.example.org:993 --ca ca.pem --mode StartTLS", 76),
    Session("nothing", "mailsync probe nothing.example.org", 69),
    Session("no-name", "mailsync probe no-such-name.invalid", 69),
)


@dataclass(frozen=True, slots=True)
class Stage:
    """The servers, and a folder with what the commands refer to."""

    directory: Path
    hosts: Path
    variables: dict[str, str] = field(default_factory=dict)

    def run(self, session: Session) -> subprocess.CompletedProcess[str]:
        """Run one command as a person would."""
        return subprocess.run(
            [
                *("unshare", "--mount", "--propagation", "private"),
                *("sh", "-c", _IN_NAMESPACE, self.hosts, "bash", "-c", session.command),
            ],
            cwd=self.directory,
            env={**os.environ, **self.variables},
            capture_output=True,
            text=True,
            input=session.stdin,
            timeout=90,
            check=False,
        )

    def recorded(self, session: Session) -> str:
        """Run one command and return the session as it is shown."""
        done = self.run(session)
        if done.returncode != session.exit_code:
            raise RuntimeError(f"{session}: {done.returncode}\n{done.stdout}\n{done.stderr}")
        said = (done.stdout + done.stderr).rstrip()
        return f"$ {session.command}\n{said}\n$ echo $?\n{done.returncode}\n"


@contextmanager
def stage() -> Iterator[Stage]:
    """Start all servers, each on an address of its own and on the usual ports."""
    ca = issue(Wish((), "Example CA", ca=True))
    good = _named("imap.example.org")
    network = f"127.{random.randint(64, 250)}.{random.randint(1, 250)}"  # noqa: S311  no secret
    names = ("imap", "self-signed", "expired", "plain", "web", "smtp", "nothing")
    addresses = {name: f"{network}.{number}" for number, name in enumerate(names, start=1)}
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="probe-")))

        def dovecot(name: str, own: Issuer | None, **changes: object) -> None:
            pair = _files(directory, name, own) if own else None
            settings = Settings(
                users={"alice": _PASSWORD},
                host=addresses[name],
                usual_ports=True,
                key_pair=pair,
                tls=own is not None,
                mechanisms="plain scram-sha-256",
            )
            stack.enter_context(run_dovecot(replace(settings, **changes)))  # type: ignore[arg-type]  # any field

        dovecot("imap", issue(good, by=ca))
        dovecot("self-signed", issue(_named("self-signed.example.org")))
        past = replace(
            _named("expired.example.org"), begins=timedelta(days=-99), ends=timedelta(days=-9)
        )
        dovecot("expired", issue(past, by=ca))
        dovecot("plain", None, clear_text_logins=True)
        stack.enter_context(_serving(addresses["web"], 80, _Quiet))
        stack.enter_context(_serving(addresses["smtp"], 25, _Smtp))
        (directory / "ca.pem").write_text(ca.pem)
        (directory / "alice.txt").write_text(_PASSWORD)
        (directory / "old.txt").write_text(PASSWORDS[1])
        hosts = directory / "hosts"
        lines = [f"{address} {name}.example.org" for name, address in addresses.items()]
        hosts.write_text("\n".join(["127.0.0.1 localhost", *lines]) + "\n")
        bin_directory = Path(sys.executable).parent
        path = f"{bin_directory}:{os.environ['PATH']}"
        yield Stage(directory, hosts, {"PATH": path, "COLUMNS": "100"})


def _named(name: str) -> Wish:
    return Wish((name,), name)


def _files(directory: Path, name: str, own: Issuer) -> KeyPair:
    pair = KeyPair(directory / f"{name}.pem", directory / f"{name}.key")
    pair.certificate.write_text(own.pem)
    pair.key.write_bytes(key_pem(own.key))
    return pair


class _Quiet(http.server.SimpleHTTPRequestHandler):
    @override
    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _Smtp(socketserver.StreamRequestHandler):
    @override
    def handle(self) -> None:
        """Greet, and take leave at whatever follows."""
        with contextlib.suppress(ConnectionError):
            self.wfile.write(b"220 smtp.example.org ESMTP\r\n")
            self.rfile.readline()
            self.wfile.write(b"221 bye\r\n")


@contextmanager
def _serving(
    host: str, port: int, handler: Callable[..., socketserver.BaseRequestHandler]
) -> Iterator[None]:
    with socketserver.ThreadingTCPServer((host, port), functools.partial(handler)) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join(5)


# What differs from run to run: times, hashes, dates, addresses and tags.
_VARYING: Final = (
    (re.compile(r"\b\d{2}:\d{2}:\d{2}\.\d{3}\b"), "TIME"),
    (re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z"), "DATE"),
    (re.compile(r"\b[0-9a-f]{64}\b"), "HEX"),
    (re.compile(r"[A-Za-z0-9+/]{43}="), "HASH"),
    (re.compile(r"\b127(\.\d+){3}\b"), "ADDRESS"),
    (re.compile(r"\bm[0-9a-f]{6}(?=\d)"), "TAG"),
    (re.compile(r"(under )?\d+ ms"), "MS"),
    (re.compile(r"\d+ days"), "DAYS"),
)


def normalised(text: str) -> str:
    """Return a session without what differs from run to run."""
    for pattern, word in _VARYING:
        text = pattern.sub(word, text)
    return text


def blocks(page: str) -> dict[str, str]:
    """Return the recorded sessions of a page by their names."""
    return {found["name"]: found["text"] for found in _BLOCK.finditer(page)}


def _record() -> None:
    known = {session.name: session for session in SESSIONS}
    with stage() as servers:
        for path in PAGES:
            page = path.read_text(encoding="utf-8")

            def recorded(found: re.Match[str]) -> str:
                print(found["name"], flush=True)
                text = servers.recorded(known[found["name"]])
                return f"{found['mark']}```console\n{text}```"

            path.write_text(_BLOCK.sub(recorded, page), encoding="utf-8")


if __name__ == "__main__":
    _record()

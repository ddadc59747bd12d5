"""``mailsync probe`` and a probe's pod against real servers: the sessions that the pages show."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

import pytest

from mailsync_api import names
from tests.support.dovecot import Settings, run_dovecot
from tests.support.probe_sessions import (
    PAGES,
    PASSWORDS,
    SESSIONS,
    Session,
    Stage,
    blocks,
    normalised,
    stage,
)
from tests.support.probing import pod_probe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.dovecot import Dovecot

pytestmark = pytest.mark.servers

_SHOWN = {
    name: text for page in PAGES for name, text in blocks(page.read_text(encoding="utf-8")).items()
}


@pytest.fixture(scope="module")
def servers() -> Iterator[Stage]:
    with stage() as running:
        yield running


@pytest.mark.parametrize("session", SESSIONS, ids=lambda session: session.name)
def test_a_session_is_as_the_page_shows_it(servers: Stage, session: Session) -> None:
    text = servers.recorded(session)
    assert normalised(text) == normalised(_SHOWN[session.name])
    for word in PASSWORDS:
        assert word not in text


@pytest.mark.parametrize("more", ["", " --trace", " -o json", " -o json --trace --mode StartTLS"])
@pytest.mark.parametrize("file", ["alice.txt", "old.txt"])
def test_no_output_holds_a_credential(servers: Stage, file: str, more: str) -> None:
    login = f"mailsync probe imap.example.org --ca ca.pem --login alice --password-file {file}"
    # All mechanisms send something else: the one that sends the password as it is, too.
    for mechanism in ("Plain", "ScramSha256", "LoginCommand"):
        command = f"{login} --mechanism {mechanism}{more}"
        done = servers.run(Session("", command, 0 if file == "alice.txt" else 77))
        assert done.returncode == (0 if file == "alice.txt" else 77), done.stdout + done.stderr
        for word in PASSWORDS:
            assert word not in done.stdout + done.stderr


def test_a_session_on_a_terminal_has_colours(servers: Stage) -> None:
    command = 'script --quiet --return --command "mailsync probe nothing.example.org" /dev/null'
    done = servers.run(Session("", command, 69))
    assert done.returncode == 69
    assert "\x1b[1m" in done.stdout


@pytest.fixture(scope="module")
def dovecot() -> Iterator[Dovecot]:
    with run_dovecot(Settings(mechanisms="plain scram-sha-256")) as server:
        yield server


@pytest.mark.parametrize("mode", ["Implicit", "StartTLS", "Auto"])
def test_a_pod(dovecot: Dovecot, tmp_path: Path, mode: str) -> None:
    port = dovecot.port if mode == "StartTLS" else dovecot.tls_port
    tls = {"mode": mode, "caRef": {"name": "ca"}}
    server = {"host": dovecot.host, "port": port, "tls": tls}
    result = pod_probe(tmp_path, server, ca_pem=dovecot.ca_pem)
    assert result.exit_code == 0, result.stdout
    assert result.verdict is not None
    facts = result.verdict.facts
    assert facts.tls is not None
    assert facts.tls.mode == ("StartTLS" if mode == "StartTLS" else "Implicit")
    assert facts.tls.verified == "Full"
    assert facts.server_id == "Dovecot"
    assert facts.auth_mechanisms == ["LOGIN", "PLAIN", "SCRAM-SHA-256"]
    assert facts.certificate is not None
    assert facts.names == ["localhost", "127.0.0.2"]
    assert len(result.message) <= names.TERMINATION_MESSAGE_BYTES
    assert dovecot.logins() == 0


@contextmanager
def _stripping(server: Dovecot) -> Iterator[int]:
    """Stand between: hide STARTTLS, as an attacker would; give the port."""
    with ExitStack() as opened:
        listener = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
        threads: list[threading.Thread] = []

        def start(work: Callable[[], None]) -> None:
            threads.append(threading.Thread(target=work, daemon=True))
            threads[-1].start()

        def pump(source: socket.socket, sink: socket.socket) -> None:
            with suppress(OSError):
                while data := source.recv(65536):
                    sink.sendall(data.replace(b" STARTTLS", b""))
                sink.shutdown(socket.SHUT_WR)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    near = opened.enter_context(listener.accept()[0])
                    far = socket.create_connection((server.host, server.port))
                    opened.enter_context(far)
                    start(partial(pump, near, far))
                    start(partial(pump, far, near))

        start(accept)
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(5)


def test_stripped_starttls(dovecot: Dovecot, tmp_path: Path) -> None:
    with _stripping(dovecot) as port:
        tls = {"mode": "StartTLS", "caRef": {"name": "ca"}}
        server = {"host": "127.0.0.1", "port": port, "tls": tls}
        result = pod_probe(tmp_path, server, ca_pem=dovecot.ca_pem)
    assert result.exit_code == 76
    assert result.verdict is not None
    assert result.verdict.reason == "StartTLSNotOffered"
    assert json.loads(result.stdout.splitlines()[-1])["level"] == "error"
    assert dovecot.logins() == 0

"""Programs that are run, processes that are started and stopped, certificates, the record."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.cluster.existing import ContextProvider, node_components
from tests.cluster.host import MARKER, stop_strays
from tests.cluster.interface import Component
from tests.cluster.layout import Layout
from tests.cluster.pki import Authority, KeyPair
from tests.cluster.processes import (
    Daemon,
    alive,
    parse_start_ticks,
    start,
    stop,
    stop_all,
    wait_until,
)
from tests.cluster.record import Record, read_record, write_record
from tests.cluster.shell import CommandError, ToolingError, elapsed, run

if TYPE_CHECKING:
    from collections.abc import Iterator

_REST = "S 1 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 {ticks} 1 1"


@pytest.mark.parametrize(
    ("stat", "expected"),
    [
        ("7 (etcd) " + _REST.format(ticks=811), 811),
        ("7 (a) b (c)) " + _REST.format(ticks=812), 812),
        ("7 (etcd) " + _REST.format(ticks=811).replace("S", "Z", 1), None),
        ("", None),
    ],
)
def test_start_times_are_read(stat: str, expected: int | None) -> None:
    assert parse_start_ticks(stat) == expected


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    program = "import signal; print('up', flush=True); signal.pause()"
    log = tmp_path / "logs" / "x.log"
    started = start("x", [sys.executable, "-c", program], log=log, environment={"A": "b"})
    assert wait_until(lambda: log.read_text() == "up\n", timeout=20)
    yield started
    stop(started)


def test_a_started_process_has_a_session_of_its_own(daemon: Daemon) -> None:
    assert alive(daemon)
    assert os.getsid(daemon.pid) == daemon.pid


def test_a_started_process_gets_only_the_environment_it_is_given(daemon: Daemon) -> None:
    environment = Path(f"/proc/{daemon.pid}/environ").read_bytes()
    assert environment == b"A=b\0"


def test_a_stopped_process_is_gone_and_may_be_stopped_again(daemon: Daemon) -> None:
    stop(daemon)
    assert not alive(daemon)
    stop(daemon)


@pytest.mark.parametrize(
    "change", [{"start_ticks": 1}, {"boot_id": "another"}], ids=["recycled", "rebooted"]
)
def test_another_process_with_the_same_pid_is_left_alone(
    daemon: Daemon, change: dict[str, int | str]
) -> None:
    other = dataclasses.replace(daemon, **change)  # type: ignore[arg-type] # one of two fields
    assert not alive(other)
    stop(other)
    assert alive(daemon)


def test_processes_without_a_record_are_found_by_their_mark(tmp_path: Path) -> None:
    program = "import signal; print('up', flush=True); signal.pause()"
    ours, other = (Layout(state=tmp_path, runtime=tmp_path / name) for name in ("a", "ab"))
    strays = []
    for layout in (ours, other):
        log = tmp_path / f"{layout.runtime.name}.log"
        environment = {MARKER: str(layout.runtime)}
        command = [sys.executable, "-c", program]
        strays.append(start("x", command, log=log, environment=environment))
        assert wait_until(lambda log=log: log.read_text() == "up\n", timeout=20)  # type: ignore[misc] # a loop variable bound early
    try:
        stop_strays(ours, b"no-such-program")
        assert alive(strays[0])
        stop_strays(ours)
        assert not alive(strays[0])
        assert alive(strays[1])
    finally:
        stop_all(strays)


def test_the_record_is_read_back(tmp_path: Path, daemon: Daemon) -> None:
    layout = Layout(state=tmp_path / "state", runtime=tmp_path / "run")
    assert read_record(layout) is None
    record = Record(layout.state, settings={"vm/x": "1"}, absent=("/a",)).started(daemon)
    write_record(layout, record)
    assert read_record(layout) == record
    assert record.daemon("x") == daemon
    assert record.daemon("y") is None


def test_a_failed_program_is_told_with_its_last_words() -> None:
    program = "import sys; print('\\n'.join(map(str, range(100)))); sys.exit('sorry')"
    with pytest.raises(CommandError) as failure:
        run([sys.executable, "-c", program])
    assert failure.value.returncode == 1
    assert str(failure.value).endswith("    99\n    sorry")
    assert "... 61 lines before" in str(failure.value)


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(CommandError, match="no-such-program"):
        run(["no-such-program"])


def test_a_program_that_takes_too_long_is_ended() -> None:
    with pytest.raises(CommandError, match="not finished"):
        run([sys.executable, "-c", "import signal; signal.pause()"], timeout=0.1)


def test_programs_get_input_and_environment() -> None:
    program = "import os, sys; print(sys.stdin.read() + os.environ['EXTRA'])"
    result = run([sys.executable, "-c", program], stdin="in ", env={"EXTRA": "out"})
    assert result.stdout == "in out\n"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (9.94, "9.9 s"), (12.6, "13 s"), (185, "3 min 05 s")]
)
def test_durations_are_for_people(seconds: float, text: str) -> None:
    assert elapsed(seconds) == text


def read(pair: KeyPair) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pair.certificate.read_bytes())


def test_certificates_are_signed_by_their_authority_and_private(tmp_path: Path) -> None:
    authority = Authority.create(tmp_path, "ca")
    pair = authority.issue("node", "system:node:n", organization="system:nodes")
    certificate = read(pair)
    certificate.verify_directly_issued_by(read(authority.pair))
    assert "O=system:nodes" in certificate.subject.rfc4514_string()
    assert pair.key.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("server", [True, False])
def test_only_servers_get_certificates_for_servers(tmp_path: Path, *, server: bool) -> None:
    addresses = ["127.0.0.1"] if server else []
    pair = Authority.create(tmp_path, "ca").issue("x", "x", addresses=addresses)
    usage = read(pair).extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert (ExtendedKeyUsageOID.SERVER_AUTH in usage) is server


def test_nodes_are_healthy_when_they_say_ready() -> None:
    def node(name: str, status: str) -> dict[str, object]:
        return {
            "metadata": {"name": name},
            "status": {
                "conditions": [{"type": "Ready", "status": status}],
                "nodeInfo": {"kubeletVersion": "v1.35.4"},
            },
        }

    assert node_components([node("a", "True"), node("b", "Unknown")]) == [
        Component("node a", healthy=True, detail="v1.35.4"),
        Component("node b", healthy=False, detail="v1.35.4"),
    ]


def test_a_context_must_be_named() -> None:
    with pytest.raises(ToolingError, match="CONTEXT=NAME"):
        ContextProvider("")


def test_an_image_for_a_context_needs_a_registry() -> None:
    with pytest.raises(ToolingError, match="REGISTRY="):
        ContextProvider("staging").load("localhost/x:1")

"""Real proxies on loopback: microsocks for SOCKS5, tinyproxy for HTTP CONNECT."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cluster.packages import ensure
from tests.support.poll import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["PROXY_PASSWORD", "PROXY_USER", "RealProxy", "run_microsocks", "run_tinyproxy"]

PROXY_USER = "gate"
PROXY_PASSWORD = "gate-word"


@dataclass(frozen=True, slots=True)
class RealProxy:
    """A running proxy that asks for PROXY_USER and PROXY_PASSWORD."""

    kind: str
    port: int
    log: Path

    def said(self) -> str:
        """Return what it logged."""
        return self.log.read_text(encoding="utf-8", errors="replace")


@contextlib.contextmanager
def run_microsocks() -> Iterator[RealProxy]:
    """Run a SOCKS5 proxy for as long as the block lasts."""
    ensure("microsocks")
    port = _free_port()
    words = ["-i", "127.0.0.1", "-p", str(port), "-u", PROXY_USER, "-P", PROXY_PASSWORD]
    with _folder() as folder, _running(["microsocks", *words], folder, port) as log:
        yield RealProxy("SOCKS5", port, log)


@contextlib.contextmanager
def run_tinyproxy(*allowed_ports: int) -> Iterator[RealProxy]:
    """Run an HTTP proxy that allows CONNECT to these ports, for as long as the block lasts."""
    ensure("tinyproxy")
    port = _free_port()
    with _folder() as folder:
        lines = [
            f"Port {port}", "Listen 127.0.0.1", "Timeout 60", "LogLevel Connect",
            f"BasicAuth {PROXY_USER} {PROXY_PASSWORD}",
            *(f"ConnectPort {each}" for each in allowed_ports),
        ]  # fmt: skip
        configuration = folder / "tinyproxy.conf"
        configuration.write_text("\n".join([*lines, ""]), encoding="utf-8")
        command = ["tinyproxy", "-d", "-c", str(configuration)]
        with _running(command, folder, port) as log:
            yield RealProxy("HTTPConnect", port, log)


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="mailsync-proxy-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _running(command: Sequence[str], folder: Path, port: int) -> Iterator[Path]:
    """Run a server until the block ends; gives the file with all that it says."""
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        wait_until(lambda: _answers(process, log, port), 20, what=f"{command[0]} on port {port}")
        yield log
    finally:
        process.kill()
        process.wait()


def _answers(process: subprocess.Popen[bytes], log: Path, port: int) -> bool:
    if process.poll() is not None:
        raise RuntimeError(f"the proxy did not start: {log.read_text(errors='replace')}")
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
        return True
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port

"""A real stunnel on loopback, configured as the one in a pod's sidecar."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mailsync_syncjob.credentials import TunnelEnd
from mailsync_syncjob.tunnelconfig import TunnelFiles, stunnel_config
from tests.cluster.packages import ensure
from tests.support.poll import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mailsync_syncjob.credentials import Endpoint

__all__ = ["free_port", "run_stunnel", "tunnelled"]


@contextlib.contextmanager
def tunnelled(endpoint: Endpoint) -> Iterator[Endpoint]:
    """Run the tunnel to an endpoint whose account has one; gives the endpoint behind it."""
    with tempfile.TemporaryDirectory(prefix="mailsync-stunnel-") as name:
        folder, port = Path(name), free_port()
        client = endpoint.client_certificate
        texts = {
            "ca": endpoint.ca_pem.encode() if endpoint.ca_pem else None,
            "certificate": client.certificate if client else None,
            "key": client.key if client else None,
        }
        written: dict[str, Path] = {}
        for each, content in texts.items():
            if content is not None:
                written[each] = folder / each
                written[each].write_bytes(content)
        files = TunnelFiles(folder / "ready", **written)
        text = stunnel_config(endpoint.account, files, port=port)
        with run_stunnel(text, folder, ready=files.ready) as log:
            end = TunnelEnd(port, log, folder / "failure")
            # What the container of the engine does not have, the engine does not get.
            yield replace(endpoint, tunnel=end, ca_pem=None, client_certificate=None)


@contextlib.contextmanager
def run_stunnel(configuration: str, folder: Path, *, ready: Path) -> Iterator[Path]:
    """Run stunnel until the block ends; gives its log."""
    ensure("stunnel4")
    file, log = folder / "stunnel.conf", folder / "log"
    file.write_text(configuration, encoding="utf-8")
    program = shutil.which("stunnel4") or "stunnel"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [program, str(file)], stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )

    def listens() -> bool:
        if process.poll() is not None:
            raise RuntimeError(f"stunnel did not start: {log.read_text(errors='replace')}")
        return ready.exists() and ready.stat().st_size > 0

    try:
        wait_until(listens, 20, what="stunnel")
        yield log
    finally:
        process.kill()
        process.wait()


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port

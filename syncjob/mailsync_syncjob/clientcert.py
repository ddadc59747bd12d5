"""The certificate that the engine shows to a server that asks for one."""

from __future__ import annotations

import os
import ssl
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mailsync_syncjob.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mailsync_syncjob.party import Party

__all__ = ["ClientCertificate", "load_client_certificate"]


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """A certificate with its key; both PEM."""

    certificate: bytes
    key: bytes = field(repr=False)


def load_client_certificate(
    context: ssl.SSLContext, client: ClientCertificate, *, side: Party
) -> None:
    """Give a context its certificate.

    Raises
    ------
    ConfigurationError
        The Secret's certificate and key cannot be used.
    """
    where = f"{side}.tls.clientCertificateRef"

    def no_passphrase() -> str:
        # Without an answer OpenSSL would ask on the terminal.
        raise ConfigurationError(
            f"{where}: the private key is encrypted: store it without a passphrase", side=side
        )

    try:
        with _file_with(client.certificate + b"\n" + client.key) as path:
            context.load_cert_chain(path, password=no_passphrase)
    except (ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None)
        said = str(reason).replace("_", " ").lower() if reason else str(error)
        raise ConfigurationError(
            f"{where}: certificate and key cannot be used ({said}): both must be PEM, belong "
            "together, and be as strong as tls.securityLevel demands",
            side=side,
        ) from None


@contextmanager
def _file_with(data: bytes) -> Iterator[str]:
    """Give these bytes a path for as long as the block lasts: OpenSSL reads keys from files only.

    On Linux that is memory which no other user can open; elsewhere a file with mode 0600.
    """
    if hasattr(os, "memfd_create"):
        with os.fdopen(os.memfd_create("client-certificate"), "wb") as file:
            file.write(data)
            file.flush()
            yield f"/proc/self/fd/{file.fileno()}"
        return
    with tempfile.NamedTemporaryFile() as named:
        named.write(data)
        named.flush()
        yield named.name

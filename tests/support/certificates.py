"""A throw-away CA and the certificates that it issues."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import trustme

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

__all__ = ["Authority", "KeyPair"]


@dataclass(frozen=True, slots=True)
class KeyPair:
    """Files of a certificate (with its chain) and its key."""

    certificate: Path
    key: Path


class Authority:
    """One CA."""

    def __init__(self, directory: Path) -> None:
        self._ca = trustme.CA()
        self._directory = directory
        self._issued = 0

    @property
    def pem(self) -> str:
        """The CA's certificate."""
        return self._ca.cert_pem.bytes().decode("ascii")

    def issue(
        self,
        *names: str,
        common_name: str | None = None,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
    ) -> KeyPair:
        """Return the files of a new certificate for these names and addresses."""
        # Most certificates in use still have a common name, and some clients insist on one.
        issued = self._ca.issue_cert(
            *names, common_name=common_name or names[0], not_before=not_before, not_after=not_after
        )
        self._issued += 1
        pair = KeyPair(
            self._directory / f"certificate-{self._issued}.pem",
            self._directory / f"key-{self._issued}.pem",
        )
        chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        pair.certificate.write_bytes(chain)
        pair.key.write_bytes(issued.private_key_pem.bytes())
        return pair

"""Two Dovecots for all tests of this folder, and accounts of its own for each test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.dovecot import Dovecot, Settings, run_dovecot
from tests.support.engine import Account, Engine

if TYPE_CHECKING:
    import imaplib
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

# Dovecot looks at the date of its file of users, in whole seconds: all are there from the start.
_USERS = tuple(f"user{number}" for number in range(1, 100))
_NAMES = iter(_USERS)


@dataclass(frozen=True, slots=True)
class Pair:
    """A source and a destination account, new and empty."""

    source_server: Dovecot
    destination_server: Dovecot
    user: str
    directory: Path

    @property
    def source_password(self) -> str:
        return f"source-{self.user}"

    @property
    def destination_password(self) -> str:
        return f"destination-{self.user}"

    def source(self) -> AbstractContextManager[imaplib.IMAP4]:
        return self.source_server.login(self.user, self.source_password)

    def destination(self) -> AbstractContextManager[imaplib.IMAP4]:
        return self.destination_server.login(self.user, self.destination_password)

    def source_account(self, **tls: Any) -> Account:
        return Account.at(self.source_server, self.user, self.source_password, **tls)

    def destination_account(self, **tls: Any) -> Account:
        tls = {"mode": "StartTLS", **tls}
        return Account.at(self.destination_server, self.user, self.destination_password, **tls)

    def engine(self, **job: Any) -> Engine:
        """Return an engine over implicit TLS at the source and STARTTLS at the destination."""
        return Engine(self.directory, self.source_account(), self.destination_account(), **job)


@pytest.fixture(scope="session")
def source_server() -> Iterator[Dovecot]:
    with run_dovecot(Settings(users={user: f"source-{user}" for user in _USERS})) as server:
        yield server


@pytest.fixture(scope="session")
def destination_server() -> Iterator[Dovecot]:
    # Another separator, a prefix and another storage than at the source.
    users = {user: f"destination-{user}" for user in _USERS}
    settings = Settings(users=users, separator=".", prefix="INBOX.", mail_location="mdbox")
    with run_dovecot(settings) as server:
        yield server


@pytest.fixture
def pair(source_server: Dovecot, destination_server: Dovecot, tmp_path: Path) -> Pair:
    directory = tmp_path / "engine"
    directory.mkdir()
    return Pair(source_server, destination_server, next(_NAMES), directory)

"""A real Cyrus on loopback.

Debian's packages of IMAP servers exclude each other, so this one lives in a root folder of its own,
made once in the cache. It runs in namespaces of its own: nothing that it mounts is seen outside,
and all its processes end with the test's process, however that ends. Its data lies in a folder of
the test's; the root folder is never written to.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.support.certificates import Authority
from tests.support.engine import Account
from tests.support.imap import login
from tests.support.roots import Rooted, prepare_root
from tests.support.secrecy import WATCH

if TYPE_CHECKING:
    import imaplib
    from collections.abc import Iterator, Mapping

__all__ = ["ADMIN", "Cyrus", "Users", "prepare", "run_cyrus"]

ADMIN: Final = "cyrus"
"""The administrator, who may log in as any user."""
_HOST: Final = "127.0.0.3"
_RELEASE: Final = "trixie"
_PACKAGES: Final = ("cyrus-imapd", "sasl2-bin", "libsasl2-modules")
_START: Final = """
set -e
cp -a /var/lib/cyrus /run/lib
cp -a /var/spool/cyrus/mail /run/spool
mkdir -p /run/proc /run/lock /run/socket
# The shell's own printf, so that no password is in a list of processes.
while IFS='\t' read -r name word; do
  printf %s "$word" | saslpasswd2 -p -c -f /run/sasldb2 "$name"
done </run/users
rm /run/users
chown -R cyrus:mail /run/lib /run/spool /run/proc /run/lock /run/socket /run/sasldb2 /run/*.pem
exec /usr/sbin/cyrmaster -C /run/imapd.conf -M /run/cyrus.conf
"""
_SERVICES: Final = """
START {{
  recover cmd="/usr/sbin/cyrus ctl_cyrusdb -C /run/imapd.conf -r"
}}
SERVICES {{
  imaps cmd="imapd -C /run/imapd.conf -s -U 30" listen="{host}:{port}" prefork=0 maxchild=50
}}
EVENTS {{
  checkpoint cmd="/usr/sbin/cyrus ctl_cyrusdb -C /run/imapd.conf -c" period=30
}}
"""
_OPTIONS: Final = """
configdirectory: /run/lib
proc_path: /run/proc
mboxname_lockpath: /run/lock
lmtpsocket: /run/socket/lmtp
idlesocket: /run/socket/idle
notifysocket: /run/socket/notify
defaultpartition: default
partition-default: /run/spool
altnamespace: no
unixhierarchysep: no
allowplaintext: no
sasl_pwcheck_method: auxprop
sasl_mech_list: PLAIN
sasl_sasldb_path: /run/sasldb2
autocreate_post: yes
autocreate_quota: 2000000
admins: {admin}
proxyservers: {admin}
tls_server_cert: /run/certificate.pem
tls_server_key: /run/key.pem
"""


def prepare() -> Path:
    """Return Cyrus's root folder; it is made if it is not there yet.

    Raises
    ------
    ToolingError
        This is not root, or a package cannot be had; the message says which.
    """
    return prepare_root("cyrus", _RELEASE, _PACKAGES)


@dataclass(frozen=True, slots=True)
class Users:
    """Who there is."""

    passwords: Mapping[str, str] = field(default_factory=lambda: {"alice": "of alice"})
    admin: str = "of the admin"


class Cyrus(Rooted):
    """A running Cyrus."""

    def __init__(self, directory: Path, users: Users) -> None:
        WATCH.secret(*users.passwords.values(), users.admin)
        super().__init__("cyrus", directory, host=_HOST)
        self.users = users
        self.authority = Authority(directory)

    @property
    def ca_pem(self) -> str:
        """The CA that issued its certificate."""
        return self.authority.pem

    @contextlib.contextmanager
    def login(self, user: str) -> Iterator[imaplib.IMAP4]:
        """Log in as a test."""
        word = self.users.passwords[user]
        with login(self.host, self.port, user=user, password=word, ca_pem=self.ca_pem) as session:
            yield session

    def account(self, user: str, password: str, **authentication: Any) -> Account:
        """Return an account for the engine."""
        return Account(
            self.host,
            self.port,
            user,
            password,
            self.ca_pem,
            authentication=authentication,
        )

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.enter(prepare(), self._configure())

    def _configure(self) -> Path:
        inside = self.directory / "inside"
        inside.mkdir()
        self.directory.chmod(0o755)
        pair = self.authority.issue(_HOST)
        shutil.copy(pair.certificate, inside / "certificate.pem")
        shutil.copy(pair.key, inside / "key.pem")
        words = {**self.users.passwords, ADMIN: self.users.admin}
        texts = {
            "start": _START,
            "imapd.conf": _OPTIONS.format(admin=ADMIN),
            "cyrus.conf": _SERVICES.format(host=_HOST, port=self.port),
            "users": "".join(f"{name}\t{word}\n" for name, word in words.items()),
        }
        for name, text in texts.items():
            (inside / name).write_text(text.lstrip("\n"), encoding="utf-8")
        return inside


@contextlib.contextmanager
def run_cyrus(users: Users | None = None) -> Iterator[Cyrus]:
    """Run a Cyrus in a temporary folder for as long as the block lasts."""
    directory = Path(tempfile.mkdtemp(prefix="cyrus-"))
    server = Cyrus(directory, users or Users())
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)

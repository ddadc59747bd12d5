"""A real Courier on loopback, in a root folder as Cyrus is."""

from __future__ import annotations

import contextlib
import imaplib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.support.engine import Account
from tests.support.roots import Rooted, prepare_root
from tests.support.secrecy import WATCH

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Courier", "prepare", "run_courier"]

_HOST: Final = "127.0.0.4"
_RELEASE: Final = "bookworm"
_PACKAGES: Final = ("courier-imap", "courier-authdaemon", "courier-authlib-userdb")
_USER: Final = 5000  # nobody's

_START: Final = """
set -e
# Its configuration is where it looks for it, in this namespace only.
cp -a /etc/courier /run/etc
mount --bind /run/etc /etc/courier
mkdir -p /run/courier/authdaemon /run/mail
chown courier:courier /run/courier /run/courier/authdaemon
sed -i 's/^authmodulelist=.*/authmodulelist="authuserdb"/' /etc/courier/authdaemonrc
touch /etc/courier/userdb
chmod 600 /etc/courier/userdb
# The shell's own printf, so that no password is in a list of processes.
while IFS='\t' read -r name word; do
  home="/run/mail/$name"
  mkdir -p "$home/Maildir/cur" "$home/Maildir/new" "$home/Maildir/tmp"
  chown -R {user}:{user} "$home"
  userdb -f /etc/courier/userdb "$name" set uid={user} gid={user} home="$home" mail="$home/Maildir"
  printf '%s\\n' "$word" | userdbpw -md5 | userdb -f /etc/courier/userdb "$name" set systempw
done </run/users
rm /run/users
makeuserdb
# It closes all files that it might have, one by one, for each message.
ulimit -n 1024
authdaemond start
set -a
. /etc/courier/imapd-ssl
. /etc/courier/imapd
IMAP_STARTTLS=NO
# Its locks need a service (gamin) that is not there; it looks for it for a second, each time.
IMAP_USELOCKS=0
exec /usr/sbin/couriertcpd -address={host} -maxprocs=50 -maxperip=50 -nodnslookup -noidentlookup \\
  {port} /usr/lib/courier/courier/imaplogin /usr/bin/imapd Maildir
"""


def prepare() -> Path:
    """Return Courier's root folder; it is made if it is not there yet.

    Raises
    ------
    ToolingError
        This is not root, or a package cannot be had; the message says which.
    """
    return prepare_root("courier", _RELEASE, _PACKAGES)


class Courier(Rooted):
    """A running Courier; it speaks in clear text."""

    def __init__(self, directory: Path, passwords: Mapping[str, str]) -> None:
        WATCH.secret(*passwords.values())
        super().__init__("courier", directory, host=_HOST)
        self.passwords = passwords

    def account(self, user: str) -> Account:
        """Return an account for the engine."""
        return Account(self.host, self.port, user, self.passwords[user], tls={"mode": "None"})

    @contextlib.contextmanager
    def login(self, user: str) -> Iterator[imaplib.IMAP4]:
        """Log in as a test."""
        with imaplib.IMAP4(self.host, self.port, timeout=60) as session:
            session.login(user, self.passwords[user])
            yield session

    def start(self) -> None:
        """Start it and wait until it answers."""
        inside = self.directory / "inside"
        inside.mkdir()
        self.directory.chmod(0o755)
        start = _START.format(host=self.host, port=self.port, user=_USER)
        (inside / "start").write_text(start.lstrip("\n"), encoding="utf-8")
        lines = "".join(f"{name}\t{word}\n" for name, word in self.passwords.items())
        (inside / "users").write_text(lines, encoding="utf-8")
        self.enter(prepare(), inside)


@contextlib.contextmanager
def run_courier(passwords: Mapping[str, str]) -> Iterator[Courier]:
    """Run a Courier in a temporary folder for as long as the block lasts."""
    directory = Path(tempfile.mkdtemp(prefix="courier-"))
    server = Courier(directory, passwords)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)

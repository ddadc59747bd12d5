"""A real Dovecot on loopback, with its own folder, ports, certificate and users.

Nothing of the machine's configuration is read or changed.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.cluster.packages import ensure
from tests.support.certificates import Authority
from tests.support.imap import login
from tests.support.poll import wait_until
from tests.support.secrecy import WATCH

if TYPE_CHECKING:
    import imaplib
    from collections.abc import Iterator, Mapping

    from tests.support.certificates import KeyPair

__all__ = ["HOST", "REUSED", "Dovecot", "Settings", "run_dovecot"]

# Not 127.0.0.1, from which tests connect: Dovecot takes a connection from its own address for
# secured, and would take passwords in clear text on it.
HOST: Final = "127.0.0.2"
_CAPABILITIES: Final = (
    *("IMAP4rev1", "SASL-IR", "LITERAL+", "NAMESPACE", "UIDPLUS", "MULTIAPPEND", "CONDSTORE"),
    *("QRESYNC", "ESEARCH", "LIST-STATUS", "SPECIAL-USE", "UNSELECT", "CHILDREN", "MOVE"),
)
REUSED: Final = (
    "service imap-login {\n  service_count = 0\n}\nservice imap {\n  service_count = 0\n}"
)
"""More configuration: processes serve more than one connection, so that thousands cost little."""
_MAIL_USER: Final = "mail"  # Debian's; any that owns no files of value


@dataclass(frozen=True, slots=True)
class Settings:
    """What tests vary."""

    users: Mapping[str, str] = field(default_factory=lambda: {"alice": "secret"})
    """Passwords by user name."""
    tls: bool = True
    """Whether STARTTLS and the port for implicit TLS are there."""
    names: tuple[str, ...] = ("localhost", "127.0.0.2")
    """Names in the certificate."""
    key_pair: KeyPair | None = None
    """A certificate of the test's own."""
    clear_text_logins: bool = False
    """Whether passwords are taken without TLS."""
    mechanisms: str = "plain"
    """What AUTHENTICATE takes, as Dovecot writes it."""
    verifiers: Mapping[str, str] = field(default_factory=dict)
    """What is stored instead of the password, by user name: a scheme in braces and its value."""
    masters: Mapping[str, str] = field(default_factory=dict)
    """Passwords of administrators, who may log in as any user, by name."""
    separator: str = "/"
    prefix: str = ""
    mail_location: str = "sdbox"
    """sdbox keeps any number of keywords and every byte; maildir is the other usual one."""
    masked: tuple[str, ...] = ()
    """Capabilities that it has and does not announce."""
    extra: str = ""
    """More lines of configuration."""
    host: str = HOST
    """The address that it listens on."""
    usual_ports: bool = False
    """Whether it listens on 143 and 993 instead of any free ports; for a host of the test's own."""
    disk: str = ""
    """The size of a disk of its own for mail, as tmpfs takes it; empty for the machine's."""


class Dovecot:
    """A running Dovecot."""

    def __init__(self, directory: Path, settings: Settings) -> None:
        WATCH.secret(*settings.users.values(), *settings.masters.values())
        self.directory = directory
        self.settings = settings
        self.authority = Authority(directory)
        self.host = settings.host
        self.port = 143 if settings.usual_ports else _free_port()
        self.tls_port = 993 if settings.usual_ports else _free_port()
        self._log = directory / "dovecot.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def ca_pem(self) -> str:
        """The CA that issued its certificate."""
        return self.authority.pem

    def log(self) -> str:
        """Return everything it has logged."""
        return self._log.read_text(encoding="utf-8", errors="replace") if self._log.exists() else ""

    @property
    def configuration(self) -> Path:
        """Its configuration, for tools that come with it."""
        return self.directory / "dovecot.conf"

    @contextlib.contextmanager
    def login(self, user: str, password: str) -> Iterator[imaplib.IMAP4]:
        """Log in as a test, over implicit TLS."""
        with login(
            self.host, self.tls_port, user=user, password=password, ca_pem=self.ca_pem
        ) as session:
            yield session

    def logins(self, user: str | None = None) -> int:
        """Return how often a login was tried, with or without success.

        Parameters
        ----------
        user
            Only this user's; all by default.
        """
        name = re.escape(user) if user else r"[^>,]*"
        accepted = re.findall(rf"imap-login: .*Login: user=<{name}>", self.log())
        refused = re.findall(
            rf"auth: .*passwd-file\({name},.*(?:Password mismatch|unknown user)", self.log()
        )
        return len(accepted) + len(refused)

    def start(self) -> None:
        """Start it and wait until it answers."""
        configuration = self._configure()
        with (self.directory / "stderr").open("wb") as stderr:
            self._process = subprocess.Popen(
                [*self._on_disk(), _dovecot(), "-F", "-c", configuration],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                start_new_session=True,
            )
        wait_until(self._answers, 20, what=f"Dovecot on port {self.port}")

    def stop(self) -> None:
        """Stop it and all its processes."""
        process = self._process
        if process is None:
            return
        self._process = None
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        # Children that outlive their master are in its session, which is ours to end.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    def restart(self, **changes: Any) -> None:
        """Stop it and start it again, with other settings; the mail stays."""
        self.stop()
        self.settings = replace(self.settings, **changes)
        self.start()

    def resize_disk(self, size: str) -> None:
        """Give its own disk another size."""
        assert self._process
        remount = ["mount", "-o", f"remount,size={size}", str(self._home)]
        enter = ["nsenter", "--mount", f"--target={self._process.pid}"]
        subprocess.run([*enter, *remount], check=True)

    @property
    def _home(self) -> Path:
        return self.directory / "home"

    def _on_disk(self) -> list[str]:
        """Return what its command is run by: a shell that mounts its disk where only it sees it."""
        size = self.settings.disk
        if not size:
            return []
        mount = f'mount -t tmpfs -o size={size} tmpfs "$0" && chown {_MAIL_USER}: "$0" && exec "$@"'
        return ["unshare", "--mount", "sh", "-c", mount, str(self._home)]

    def _answers(self) -> bool:
        process = self._process
        if process is None or process.poll() is not None:
            said = (self.directory / "stderr").read_text(errors="replace")
            raise RuntimeError(f"Dovecot did not start: {said}\n{self.log()}")
        try:
            with socket.create_connection((self.host, self.port), timeout=5) as connection:
                return connection.recv(4) == b"* OK"
        except OSError:
            return False

    def _configure(self) -> Path:
        directory, settings = self.directory, self.settings
        # Dovecot's processes run as other users and must come through.
        directory.chmod(0o755)
        home = self._home
        home.mkdir(exist_ok=True)
        shutil.chown(home, _MAIL_USER, _MAIL_USER)
        users = directory / "users"
        users.write_text(
            "".join(
                f"{name}:{settings.verifiers.get(name) or '{PLAIN}' + word}\n"
                for name, word in settings.users.items()
            ),
            encoding="utf-8",
            errors="surrogateescape",
        )
        masters = directory / "masters"
        masters.write_text(
            "".join(f"{name}:{{PLAIN}}{word}\n" for name, word in settings.masters.items()),
            encoding="utf-8",
        )
        for file in (users, masters):
            shutil.chown(file, "root", "dovecot")
            file.chmod(0o640)
        path = self.configuration
        path.write_text(self._text(users=users, home=home), encoding="utf-8")
        return path

    def _text(self, *, users: Path, home: Path) -> str:
        settings = self.settings
        return f"""
base_dir = {self.directory}/run
state_dir = {self.directory}/state
log_path = {self._log}
protocols = imap
listen = {self.host}
first_valid_uid = 1
first_valid_gid = 1
auth_verbose = yes
auth_failure_delay = 0
auth_mechanisms = {settings.mechanisms}
disable_plaintext_auth = {"no" if settings.clear_text_logins else "yes"}
mail_location = {settings.mail_location}:~/mail
mail_max_userip_connections = 100
{self._tls_text()}
{self._master_text()}
{self._capability_text()}
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%u {users}
}}
userdb {{
  driver = static
  args = uid={_MAIL_USER} gid={_MAIL_USER} home={home}/%u
}}
namespace inbox {{
  inbox = yes
  separator = {settings.separator}
  prefix = {settings.prefix}
}}
service imap-login {{
  inet_listener imap {{
    port = {self.port}
  }}
  inet_listener imaps {{
    port = {self.tls_port if settings.tls else 0}
    ssl = yes
  }}
}}
{settings.extra}
"""

    def _master_text(self) -> str:
        if not self.settings.masters:
            return ""
        arguments = f"username_format=%u {self.directory}/masters"
        return f"passdb {{\n  driver = passwd-file\n  args = {arguments}\n  master = yes\n}}"

    def _capability_text(self) -> str:
        if not self.settings.masked:
            return ""
        compress = ("COMPRESS=DEFLATE",) if "imap_zlib" in self.settings.extra else ()
        kept = [w for w in (*_CAPABILITIES, *compress) if w not in self.settings.masked]
        return f"imap_capability = {' '.join(kept)}"

    def _tls_text(self) -> str:
        if not self.settings.tls:
            return "ssl = no"
        pair = self.settings.key_pair or self.authority.issue(*self.settings.names)
        return f"ssl = yes\nssl_cert = <{pair.certificate}\nssl_key = <{pair.key}\nssl_dh ="


@contextlib.contextmanager
def run_dovecot(settings: Settings | None = None) -> Iterator[Dovecot]:
    """Run a Dovecot for as long as the block lasts.

    Raises
    ------
    tests.cluster.shell.ToolingError
        Dovecot is not installed and cannot be.
    """
    ensure("dovecot-imapd")
    directory = Path(tempfile.mkdtemp(prefix="mailsync-dovecot-"))
    server = Dovecot(directory, settings or Settings())
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)


def _dovecot() -> str:
    return shutil.which("dovecot", path=f"{os.environ.get('PATH', '')}:/usr/sbin") or "dovecot"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port

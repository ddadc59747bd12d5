"""A real authorization server on this machine: oidc-provider, over TLS with a throw-away CA."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import tempfile
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from ssl import create_default_context
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from jwt.algorithms import RSAAlgorithm

from tests.cluster.packages import ensure
from tests.cluster.shell import ToolingError, run, step
from tests.support.certificates import Authority
from tests.support.odd_certificates import Wish, issue, key_pem
from tests.support.poll import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["AuthorizationServer", "install", "run_authorization_server"]

_FOLDER: Final = Path(__file__).parent / "oidc"
_HOST: Final = "127.0.0.1"
_SECRETS: Final = {
    "delegated": "delegated's client secret",
    "basic": "with: a colon & a space",
    "app": "the application's secret",
    "dovecot": "introspection",
}
_CALLBACK: Final = {"redirect_uris": ["https://client.invalid/"]}
_SERVICE_ACCOUNT: Final = "migration@project.iam.example.org"


def install() -> None:
    """Install Node.js and the packages of its lock file, where they are missing.

    Raises
    ------
    ToolingError
        They cannot be installed; the message says what is missing.
    """
    if shutil.which("node") is None or shutil.which("npm") is None:
        ensure("nodejs", "npm")
    modules, lock = _FOLDER / "node_modules", _FOLDER / "package-lock.json"
    stamp = modules / ".installed"
    if stamp.exists() and stamp.read_text() == lock.read_text():
        return
    with step("installing the tests' authorization server (npm ci)"):
        run(["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=_FOLDER)
    stamp.write_text(lock.read_text())


@dataclass(frozen=True, slots=True)
class Event:
    """Something that the server did."""

    kind: str
    time: float
    """Seconds since 1970."""
    fields: dict[str, Any]


class AuthorizationServer:
    """A running server.

    Attributes
    ----------
    lifetime
        How long its access tokens are good for, in seconds.
    """

    def __init__(self, directory: Path, *, lifetime: int, rotate: bool, host: str = _HOST) -> None:
        self.directory = directory
        self._host = host
        self.lifetime = lifetime
        self.authority = Authority(directory)
        self.refresh_tokens: dict[str, str] = {}
        self._rotate = rotate
        self._port = _free_port(host)
        self._out = directory / "events"
        self._process: subprocess.Popen[bytes] | None = None
        # The service account's, and the application's with a certificate instead of a secret.
        self._key = issue(Wish((), "service account", key="rsa2048")).key
        self.application = issue(Wish((), "application", key="rsa2048"))

    @property
    def issuer(self) -> str:
        """Its base URL."""
        return f"https://{self._host}:{self._port}"

    @property
    def token_url(self) -> str:
        """The token endpoint."""
        return f"{self.issuer}/token"

    @property
    def ca_pem(self) -> str:
        """The CA that issued its certificate."""
        return self.authority.pem

    @staticmethod
    def client_secret(client: str) -> str:
        """Return a client's secret."""
        return _SECRETS[client]

    @property
    def application_key(self) -> str:
        """The private key of the application's certificate."""
        return key_pem(self.application.key).decode()

    def service_account(self, **changes: Any) -> str:
        """Return the JSON file of its service account."""
        file = {
            "type": "service_account",
            "client_email": _SERVICE_ACCOUNT,
            "private_key": key_pem(self._key).decode(),
            "private_key_id": "1",
            "token_uri": self.token_url,
        }
        return json.dumps({**file, **changes})

    def introspection_url(self) -> str:
        """Return the URL at which a mail server asks about tokens, with its own credentials."""
        return (
            f"https://dovecot:{_SECRETS['dovecot']}@{self._host}:{self._port}/token/introspection"
        )

    def revoke(self, token: str, client: str) -> None:
        """Revoke a token (RFC 7009), as its user would."""
        form = {"token": token, "client_id": client, "client_secret": _SECRETS[client]}
        body = urllib.parse.urlencode(form).encode()
        request = urllib.request.Request(f"{self.issuer}/token/revocation", body)  # noqa: S310  https
        context = create_default_context(cadata=self.ca_pem)
        with urllib.request.urlopen(request, context=context, timeout=10) as answer:  # noqa: S310  as above
            assert answer.status == 200

    def events(self) -> list[Event]:
        """Return what it did so far."""
        found = [json.loads(line) for line in self._out.read_text().splitlines() if line[:1] == "{"]
        return [Event(each.pop("event"), each.pop("time"), each) for each in found]

    def issued(self, client: str) -> int:
        """Return how many access tokens it gave a client."""
        return len([event for event in self._tokens() if event.fields["client"] == client])

    def end_of_token(self, since: float) -> float | None:
        """Return when the first access token that it issued since then ends; None before that."""
        times = [event.time + self.lifetime for event in self._tokens() if event.time >= since]
        return times[0] if times else None

    def _tokens(self) -> list[Event]:
        return [e for e in self.events() if e.kind == "token" and e.fields["status"] == 200]

    def introspected(self) -> int:
        """Return how often a mail server asked about a token."""
        return sum(event.kind == "introspection" for event in self.events())

    def start(self) -> None:
        """Start it and wait until it answers."""
        file = self.directory / "config.json"
        file.write_text(json.dumps(self._configuration()))
        with self._out.open("wb") as out, (self.directory / "stderr").open("wb") as errors:
            self._process = subprocess.Popen(
                ["node", "server.mjs", file], cwd=_FOLDER, stdout=out, stderr=errors
            )
        wait_until(self._ready, 30, what="the authorization server")

    def stop(self) -> None:
        """Stop it."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def _ready(self) -> bool:
        process = self._process
        if process is None or process.poll() is not None:
            said = (self.directory / "stderr").read_text(errors="replace")
            raise ToolingError(f"the authorization server did not start: {said}")
        ready = [event for event in self.events() if event.kind == "ready"]
        if ready:
            self.refresh_tokens = ready[0].fields["refreshTokens"]
        return bool(ready)

    def _configuration(self) -> dict[str, Any]:
        pair = self.authority.issue(self._host)
        public = load_pem_private_key(key_pem(self._key), None).public_key()
        certificate = x509.load_pem_x509_certificate(self.application.pem.encode())
        jwk = json.loads(RSAAlgorithm.to_jwk(certificate.public_key()))  # type: ignore[arg-type]  # RSA, by Wish
        return {
            "issuer": self.issuer,
            "host": self._host,
            "port": self._port,
            "certificate": str(pair.certificate),
            "key": str(pair.key),
            "lifetime": self.lifetime,
            "rotate": self._rotate,
            "accounts": ["alice", "bob"],
            "consents": [["alice", "delegated"], ["bob", "delegated"], ["alice", "basic"]],
            "clients": [
                _client("delegated", "client_secret_post", "refresh_token", **_CALLBACK),
                _client("basic", "client_secret_basic", "refresh_token", **_CALLBACK),
                _client("app", "client_secret_post", "client_credentials", mailbox="alice"),
                _client(
                    "certified",
                    "private_key_jwt",
                    "client_credentials",
                    mailbox="alice",
                    token_endpoint_auth_signing_alg="PS256",
                    jwks={"keys": [{**jwk, "use": "sig"}]},
                ),
                _client("delegation", "none", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
                _client("dovecot", "client_secret_basic"),
            ],
            "assertions": {
                "issuer": _SERVICE_ACCOUNT,
                "publicKey": public.public_bytes(
                    Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
                ).decode(),
            },
        }


def _client(name: str, method: str, *grants: str, **fields: Any) -> dict[str, Any]:
    with_code = ["authorization_code"] if "refresh_token" in grants else []
    secret = {"client_secret": _SECRETS[name]} if name in _SECRETS else {}
    return {
        "client_id": name,
        "token_endpoint_auth_method": method,
        "grant_types": [*with_code, *grants],
        "response_types": ["code"] if with_code else [],
        "redirect_uris": [],
        "scope": "mail offline_access",
        **secret,
        **fields,
    }


@contextlib.contextmanager
def run_authorization_server(
    *, lifetime: int = 3600, rotate: bool = False, host: str = _HOST
) -> Iterator[AuthorizationServer]:
    """Run an authorization server for as long as the block lasts.

    Parameters
    ----------
    rotate
        Whether each use of a refresh token gives a new one and ends the old one.
    host
        The address of this machine at which it listens.
    """
    install()
    directory = Path(tempfile.mkdtemp(prefix="mailsync-authorization-"))
    server = AuthorizationServer(directory, lifetime=lifetime, rotate=rotate, host=host)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port

"""A Dovecot on the cluster: deploy it, log in to it from here, see who logged in."""

from __future__ import annotations

import contextlib
import imaplib
import re
import socket
import ssl
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tests.support.builders import merged
from tests.support.dovecot_pod import (
    IMAP_PORT,
    IMAPS_PORT,
    DovecotPod,
    KeyPair,
    objects,
    secret,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    import trustme

    from tests.support.kube import Kube

__all__ = ["CA_NAME", "MailServer", "ca_config_map", "certificate"]

CA_NAME = "mail-ca"
"""The ConfigMap with the CA certificates that `MailServer.account` refers to."""


@dataclass(frozen=True, slots=True)
class MailServer:
    """A server that was deployed.

    Attributes
    ----------
    ca
        PEM text of the authority that signed its certificate; empty without TLS.
    """

    kube: Kube
    pod: DovecotPod
    ca: str

    @classmethod
    def deploy(cls, kube: Kube, pod: DovecotPod, ca: str = "") -> MailServer:
        """Create a server; `wait_ready` says when it answers, so that several start at once."""
        kube.apply(*objects(pod))
        return cls(kube, pod, ca)

    def wait_ready(self) -> None:
        """Wait until it answers.

        Raises
        ------
        TimedOutError
            It does not; the message has its pod's events and log.
        """
        self.kube.wait_ready(self.pod.name)

    @property
    def host(self) -> str:
        """Its name within the cluster; the ports are IMAP's own, 143 and 993."""
        return f"{self.pod.name}.{self.kube.namespace}.svc"

    @contextlib.contextmanager
    def login(self, user: str) -> Iterator[imaplib.IMAP4]:
        """Log in from outside the cluster, over a forwarded port and with TLS if it has that."""
        port = IMAPS_PORT if self.pod.tls else IMAP_PORT
        with (
            self.kube.port_forward(f"pod/{self.pod.name}", port) as local,
            self._connect(local) as session,
        ):
            # imaplib's own login() knows ASCII only (RFC 4616: PLAIN is UTF-8).
            plain = f"\0{user}\0{self.pod.users[user]}".encode()
            session.authenticate("PLAIN", lambda _: plain)
            yield session

    def with_certificate(self, pair: KeyPair) -> MailServer:
        """Put the server back with another certificate; its mail is lost."""
        self.kube.delete("pod", self.pod.name)
        server = MailServer.deploy(self.kube, replace(self.pod, tls=pair), self.ca)
        server.wait_ready()
        return server

    def log(self) -> str:
        """Its log: one line for each login, each refused password, each end of a session."""
        return self.kube.logs(self.pod.name)

    def logins(self, user: str = "") -> int:
        """Count the successful logins from within the cluster, of one user or of all."""
        return self._count(rf"Login: user=<{re.escape(user) or '[^>]+'}>")

    def refused(self, user: str = "") -> int:
        """Count the refused passwords, of one user or of all."""
        return self._count(rf"passwd-file\({re.escape(user) or '[^,]+'},.*Password mismatch")

    def account(self, user: str, *, mode: str = "Implicit", **changes: Any) -> dict[str, Any]:
        """Return a side of a MailSync's spec; ``changes`` are laid over it.

        The password is in the Secret that `password` makes, the CA in the ConfigMap `CA_NAME`.
        """
        trust = {"caRef": {"name": CA_NAME}} if self.ca and mode != "None" else {}
        side = {
            "host": self.host,
            "username": user,
            "tls": {"mode": mode, **trust},
            "authentication": {"secretRef": {"name": f"{self.pod.name}-password"}},
        }
        return merged(side, changes)

    def password(self, user: str, text: str | None = None) -> dict[str, Any]:
        """Return the Secret for `account` with the user's password, or with another text."""
        known = self.pod.users[user]
        return secret(f"{self.pod.name}-password", password=known if text is None else text)

    def _count(self, pattern: str) -> int:
        # A login of ours comes over the forwarded port, from the pod's own loopback address.
        lines = [line for line in self.log().splitlines() if "rip=127.0.0.1," not in line]
        return sum(re.search(pattern, line) is not None for line in lines)

    def _connect(self, port: int) -> imaplib.IMAP4:
        if self.pod.tls:
            context = ssl.create_default_context(cadata=self.ca)
            # The certificate is for the name in the cluster, or for none that is right: that is
            # what some tests are about.
            context.check_hostname = False
            session: imaplib.IMAP4 = imaplib.IMAP4_SSL("127.0.0.1", port, ssl_context=context)
        else:
            session = imaplib.IMAP4("127.0.0.1", port)
        # imaplib writes a message and its line end apart: 40 ms for each, waiting for an ACK.
        session.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return session


def ca_config_map(ca: str) -> dict[str, Any]:
    """Return the ConfigMap `CA_NAME`, with the PEM text of certificate authorities."""
    metadata = {"name": CA_NAME}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"ca.crt": ca}}


def certificate(authority: trustme.CA, *names: str, **options: Any) -> KeyPair:
    """Issue a certificate for the host names; ``options`` are those of trustme."""
    issued = authority.issue_cert(*names, **options)
    chain = "".join(each.bytes().decode() for each in issued.cert_chain_pems)
    return KeyPair(chain, issued.private_key_pem.bytes().decode())

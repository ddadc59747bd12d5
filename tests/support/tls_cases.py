"""The certificate matrix: servers with good and bad certificates, and what the engine must say.

``docs/tls.md`` shows the same table, and a test keeps the two equal.
"""

from __future__ import annotations

import re
import ssl
import tempfile
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mailsync_syncjob.clientcert import ClientCertificate
from mailsync_syncjob.spki import spki_sha256
from tests.support.odd_certificates import Issuer, Wish, issue, issue_with_old_hash, key_pem

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography.hazmat.primitives.serialization import Encoding

__all__ = ["CASES", "MESSAGES", "Case", "Listener", "Pki", "messages", "table"]


class Pki:
    """A CA with an intermediate, and a CA that nobody knows."""

    def __init__(self) -> None:
        self.ca = issue(Wish((), "Known CA", ca=True))
        self.intermediate = issue(Wish((), "Intermediate", ca=True), by=self.ca)
        self.stranger = issue(Wish((), "Unknown CA", ca=True))


@dataclass
class Listener:
    """What a case's server presents and accepts, and what the policy refers to."""

    chain: list[Issuer]
    oldest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
    newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
    ciphers: str = "ALL"
    trusted: Issuer | None = None
    """Instead of the known CA."""
    clients: Issuer | None = None
    """The CA whose client certificates it demands."""
    client: Issuer | None = None
    """What the client shows."""

    def context(self) -> ssl.SSLContext:
        """Return the server's context: it refuses nothing by itself, so that the client must."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version, context.maximum_version = self.oldest, self.newest
        context.set_ciphers(f"{self.ciphers}:@SECLEVEL=0")
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "server.pem"
            chain = "".join(each.pem for each in self.chain)
            file.write_bytes(chain.encode() + key_pem(self.chain[0].key))
            context.load_cert_chain(file)
        if self.clients is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cadata=self.clients.pem)
        return context

    def shown_by_client(self) -> ClientCertificate | None:
        """Return the client's certificate."""
        if self.client is None:
            return None
        return ClientCertificate(self.client.pem.encode(), key_pem(self.client.key))


@dataclass(frozen=True)
class Case:
    """One row."""

    server: str
    policy: str
    make: Callable[[Pki], Listener]
    reason: str = "Completed"
    tls: dict[str, Any] = field(default_factory=dict)
    pin: str = ""
    """``own``: the server's key is pinned; ``other``: another one is."""
    detail: str = ""
    """OpenSSL's words, where one message serves several causes."""

    @property
    def exit_code(self) -> int:
        """0 where it is accepted, else 76."""
        return 0 if self.reason == "Completed" else 76

    def says(self, message: str) -> bool:
        """Whether a message is the one of the reason, with the detail and nothing else in it."""
        words = (re.escape(each) for each in re.split("…", MESSAGES[self.reason][self._variant]))
        pattern = ".+".join(words) + "; no credentials were sent"
        return bool(re.fullmatch(r"\S+ \S+:\d+:? " + pattern, message)) and self.detail in message

    @property
    def _variant(self) -> int:
        # A client certificate may be refused, or lacking.
        return int(self.reason == "ClientCertificateRefused" and not self.tls)

    def policy_for(self, listener: Listener, mode: str) -> dict[str, Any]:
        """Return ``tls`` of the manifest."""
        own, other = listener.chain[0], issue(Wish())
        pins = {"own": [_spki(other), _spki(own)], "other": [_spki(other)]}
        pinned = {"pinnedSpkiSha256": pins[self.pin]} if self.pin else {}
        return {"mode": mode, **self.tls, **pinned}


def _spki(issuer: Issuer) -> str:
    return spki_sha256(issuer.certificate.public_bytes(_der()))


def _der() -> Encoding:
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415  see above

    return Encoding.DER


def _leaf(**wish: Any) -> Callable[[Pki], Listener]:
    """Return a server with a certificate of the known CA."""
    return lambda pki: Listener([issue(Wish(**wish), by=pki.ca)])


def _speaking(**listener: Any) -> Callable[[Pki], Listener]:
    """Return a server with a good certificate."""
    return lambda pki: Listener([issue(Wish(), by=pki.ca)], **listener)


def _self_signed(pki: Pki) -> Listener:
    del pki
    return Listener([issue(Wish())])


def _self_trusted(pki: Pki) -> Listener:
    own = _self_signed(pki)
    own.trusted = own.chain[0]
    return own


def _old_hash(name: str) -> Callable[[Pki], Listener]:
    def make(pki: Pki) -> Listener:
        # Only RSA was ever used with MD5.
        rsa = Wish((), "Old CA", ca=True, key="rsa2048")
        ca = issue(rsa) if name == "md5" else pki.ca
        with tempfile.TemporaryDirectory() as folder:
            leaf = issue_with_old_hash(name, by=ca, directory=Path(folder))
        return Listener([leaf], trusted=ca)

    return make


def _behind_intermediate(*, sent: bool) -> Callable[[Pki], Listener]:
    def make(pki: Pki) -> Listener:
        leaf = issue(Wish(), by=pki.intermediate)
        return Listener([leaf, pki.intermediate] if sent else [leaf])

    return make


def _client(shown: str, *, newest: ssl.TLSVersion) -> Callable[[Pki], Listener]:
    def make(pki: Pki) -> Listener:
        signers = {"known": pki.ca, "unknown": pki.stranger}
        wish = Wish((), "client", for_clients_only=True)
        client = issue(wish, by=signers[shown]) if shown in signers else None
        server = issue(Wish(), by=pki.ca)
        return Listener([server], newest=newest, clients=pki.ca, client=client)

    return make


_DAYS = timedelta(days=1)
_WILD = ("*.example.org",)
_NAME = {"serverName": "mail.example.org"}
_LEGACY = {"minVersion": "TLSv1.0", "securityLevel": 0}
_V = ssl.TLSVersion
_NOT_TRUSTED, _MISMATCH = "CertificateNotTrusted", "CertificateNameMismatch"
_WEAK, _PIN, _SHAKE = "CertificateTooWeak", "CertificatePinMismatch", "TLSHandshakeFailed"
_CLIENT = "ClientCertificateRefused"
_OWN = {"clientCertificateRef": {"name": "client"}}
_ONLY_CHACHA = {"ciphers": "ECDHE+CHACHA20", "maxVersion": "TLSv1.2"}
_AES = {"newest": _V.TLSv1_2, "ciphers": "ECDHE+AES"}

MESSAGES: Final = {
    _NOT_TRUSTED: (
        "the server's certificate is not trusted (…): name the CA that issued it in tls.caRef",
    ),
    "CertificateExpired": ("the server's certificate has expired",),
    "CertificateNotYetValid": ("the server's certificate is not valid yet",),
    _MISMATCH: (
        "the server's certificate is not for …: correct host, or give the certificate's name in "
        "tls.serverName",
    ),
    _WEAK: (
        "the server's certificate is too weak for tls.securityLevel … (…): have it renewed, or "
        "lower securityLevel for this server",
    ),
    _PIN: (
        "the server's public key is none of those in tls.pinnedSpkiSha256; its hash is …: add it "
        "only if you know that the server has a new key",
    ),
    _CLIENT: (
        "refused the certificate of tls.clientCertificateRef (…): give one that it accepts",
        "demands a client certificate: name one in tls.clientCertificateRef",
    ),
    _SHAKE: (
        "the TLS handshake failed (…): server and policy have no protocol version or cipher in "
        "common (tls.minVersion is …, securityLevel is …; TLS 1.0 and 1.1 need minVersion TLSv1.0 "
        "and securityLevel 0)",
    ),
}
"""What the condition says, by reason, after the side and the address."""

CASES = (
    Case("good", "default", _leaf()),
    Case("good, with its intermediate", "default", _behind_intermediate(sent=True)),
    Case(
        "intermediate not sent",
        "default",
        _behind_intermediate(sent=False),
        _NOT_TRUSTED,
        detail="unable to get local issuer certificate",
    ),
    Case("expired", "default", _leaf(begins=-9 * _DAYS, ends=-_DAYS), "CertificateExpired"),
    Case(
        "expired", "`verify: None`", _leaf(begins=-9 * _DAYS, ends=-_DAYS), tls={"verify": "None"}
    ),
    Case("not yet valid", "default", _leaf(begins=_DAYS, ends=9 * _DAYS), "CertificateNotYetValid"),
    Case("for another name", "default", _leaf(names=("mail.example.net",)), _MISMATCH),
    Case(
        "for another name",
        "`verify: ChainOnly`",
        _leaf(names=("mail.example.net",)),
        tls={"verify": "ChainOnly"},
    ),
    Case(
        "for a name, the host is an IP address", "default", _leaf(names=("localhost",)), _MISMATCH
    ),
    Case("for the IP address", "default", _leaf(names=("127.0.0.1",))),
    Case("wildcard", "`serverName` one label below", _leaf(names=_WILD), tls=_NAME),
    Case(
        "wildcard",
        "`serverName` two labels below",
        _leaf(names=_WILD),
        _MISMATCH,
        tls={"serverName": "a.mail.example.org"},
    ),
    Case(
        "wildcard",
        "`serverName` is the domain itself",
        _leaf(names=_WILD),
        _MISMATCH,
        tls={"serverName": "example.org"},
    ),
    Case(
        "for a longer name that begins so",
        "`serverName`",
        _leaf(names=("mail.example.org.example.net",)),
        _MISMATCH,
        tls=_NAME,
    ),
    Case(
        "the name only as common name",
        "`serverName`",
        _leaf(names=("127.0.0.1",), common_name="mail.example.org"),
        _MISMATCH,
        tls=_NAME,
    ),
    Case(
        "for clients only (extended key usage)",
        "default",
        _leaf(for_clients_only=True),
        _NOT_TRUSTED,
        detail="purpose",
    ),
    Case("self-signed", "default", _self_signed, _NOT_TRUSTED, detail="self-signed certificate"),
    Case("self-signed", "it is the `caRef`", _self_trusted),
    Case(
        "self-signed",
        "`verify: None` and its key pinned",
        _self_signed,
        tls={"verify": "None"},
        pin="own",
    ),
    Case(
        "self-signed",
        "`verify: None` and another key pinned",
        _self_signed,
        _PIN,
        tls={"verify": "None"},
        pin="other",
    ),
    Case(
        "of an unknown CA",
        "default",
        lambda pki: Listener([issue(Wish(), by=pki.stranger)]),
        _NOT_TRUSTED,
    ),
    Case(
        "of an unknown CA",
        "`verify: ChainOnly` and its key pinned",
        lambda pki: Listener([issue(Wish(), by=pki.stranger)]),
        _NOT_TRUSTED,
        tls={"verify": "ChainOnly"},
        pin="own",
    ),
    Case("RSA key of 1024 bits", "default", _leaf(key="rsa1024"), _WEAK),
    Case(
        "RSA key of 1024 bits", "`securityLevel: 1`", _leaf(key="rsa1024"), tls={"securityLevel": 1}
    ),
    Case("signed with SHA-1", "default", _old_hash("sha1"), _WEAK),
    Case("signed with SHA-1", "`securityLevel: 0`", _old_hash("sha1"), tls={"securityLevel": 0}),
    Case("signed with MD5", "default", _old_hash("md5"), _WEAK),
    Case(
        "signed with MD5", "`securityLevel: 1`", _old_hash("md5"), _WEAK, tls={"securityLevel": 1}
    ),
    Case("good", "its key pinned", _leaf(), pin="own"),
    Case("good", "another key pinned", _leaf(), _PIN, pin="other"),
    Case(
        "good",
        "`verify: ChainOnly` and another key pinned",
        _leaf(),
        _PIN,
        tls={"verify": "ChainOnly"},
        pin="other",
    ),
    Case("of a key that was given up", "only the next key pinned", _leaf(), _PIN, pin="other"),
    Case("of the next key", "only the next key pinned", _leaf(), pin="own"),
    Case("good, TLS 1.0 only", "default", _speaking(oldest=_V.TLSv1, newest=_V.TLSv1), _SHAKE),
    Case(
        "good, TLS 1.0 only",
        "`minVersion: TLSv1.0`, `securityLevel: 0`",
        _speaking(oldest=_V.TLSv1, newest=_V.TLSv1),
        tls=_LEGACY,
    ),
    Case("good, TLS 1.1 only", "default", _speaking(oldest=_V.TLSv1_1, newest=_V.TLSv1_1), _SHAKE),
    Case(
        "good, TLS 1.1 only",
        "`minVersion: TLSv1.1`, `securityLevel: 0`",
        _speaking(oldest=_V.TLSv1_1, newest=_V.TLSv1_1),
        tls={"minVersion": "TLSv1.1", "securityLevel": 0},
    ),
    Case(
        "good, TLS 1.2 only",
        "`minVersion: TLSv1.3`",
        _speaking(newest=_V.TLSv1_2),
        _SHAKE,
        tls={"minVersion": "TLSv1.3"},
    ),
    Case(
        "good, TLS 1.3 only",
        "`maxVersion: TLSv1.2`",
        _speaking(oldest=_V.TLSv1_3),
        _SHAKE,
        tls={"maxVersion": "TLSv1.2"},
    ),
    Case("good, TLS 1.2 with AES only", "default", _speaking(**_AES)),
    Case(
        "good, TLS 1.2 with AES only",
        "`ciphers: ECDHE+CHACHA20`",
        _speaking(**_AES),
        _SHAKE,
        tls=_ONLY_CHACHA,
    ),
    Case(
        "good, without authentication (aNULL) only",
        "`ciphers: ALL`, `securityLevel: 0`",
        _speaking(newest=_V.TLSv1_2, ciphers="aNULL"),
        _SHAKE,
        tls={"ciphers": "ALL:aNULL", "securityLevel": 0, "maxVersion": "TLSv1.2"},
    ),
    *(
        Case(
            f"good, demands a client certificate ({version})",
            policy,
            _client(shown, newest=newest),
            reason,
            tls=tls,
        )
        for version, newest in (("TLS 1.2", _V.TLSv1_2), ("TLS 1.3", _V.TLSv1_3))
        for policy, shown, reason, tls in (
            ("`clientCertificateRef`", "known", "Completed", _OWN),
            ("`clientCertificateRef` of another CA", "unknown", _CLIENT, _OWN),
        )
    ),
    Case(
        "good, demands a client certificate (TLS 1.3)",
        "default",
        _client("none", newest=_V.TLSv1_3),
        _CLIENT,
    ),
)


def messages() -> str:
    """Return the messages as Markdown."""
    rows = ["| reason | message |", "|---|---|"]
    rows += [f"| `{reason}` | {text} |" for reason, texts in MESSAGES.items() for text in texts]
    return "\n".join(rows)


def table() -> str:
    """Return the matrix as Markdown."""
    rows = ["| server's certificate | policy | exit code | reason |", "|---|---|---|---|"]
    rows += [f"| {c.server} | {c.policy} | {c.exit_code} | `{c.reason}` |" for c in CASES]
    return "\n".join(rows)

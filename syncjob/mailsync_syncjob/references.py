"""What the references of an account stand for: passwords, tokens and certificates, read by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from mailsync_api.endpoint import CaRefKind
from mailsync_syncjob.clientcert import ClientCertificate
from mailsync_syncjob.credentials import Endpoint, Password, ProxyLogin, Target
from mailsync_syncjob.oauth2.tokens import Tokens
from mailsync_syncjob.proxy import proxy_url

if TYPE_CHECKING:
    from mailsync_api.endpoint import CaRef, MailAccount, SecretPart, Side, TLSPolicy
    from mailsync_api.oauth2 import OAuth2

__all__ = ["CONFIG_MAP", "SECRET", "Reader", "endpoint_of", "target_of"]

SECRET: Final = "Secret"  # noqa: S105  a kind, not a secret
CONFIG_MAP: Final = "ConfigMap"


class Reader(Protocol):
    """Reads one entry of a Secret or ConfigMap; the field is that which refers to it."""

    def __call__(self, name: str, key: str, *, field: str, kind: str = SECRET) -> bytes:
        """Return the entry.

        Raises
        ------
        ConfigurationError
            It is not there, or empty.
        """


class _TokenReader:
    """What tokens are made from, read anew each time: files in a directory may be changed."""

    def __init__(self, account: MailAccount, entry: Reader) -> None:
        self._authentication = account.authentication
        self._entry = entry
        for part in self._authentication.secret_keys:
            self.part(part)  # what is missing is said before anything is connected to

    def part(self, part: SecretPart) -> bytes:
        """Return a part of the login's Secret."""
        ref = self._authentication.secret_ref
        key = self._authentication.secret_keys[part]
        return self._entry(ref.name if ref else "", key, field="authentication.secretRef")

    def ca_pem(self, oauth2: OAuth2) -> str | None:
        """Return the CA certificates for the token endpoint."""
        return _ca_pem(oauth2.ca_ref, self._entry, field="authentication.oauth2.caRef")


def endpoint_of(side: Side, account: MailAccount, entry: Reader) -> Endpoint:
    """Return a side with its secrets."""
    login = _proxy_login(side, account, entry)
    proxy = proxy_url(account.proxy, login) if account.proxy is not None else None
    secret = account.authentication.secret_ref
    password = tokens = None
    if (oauth2 := account.authentication.oauth2) is not None and secret is not None:
        reader = _TokenReader(account, entry)
        trusted = reader.ca_pem(oauth2)
        tokens = Tokens(account, oauth2, reader.part, side=side, ca_pem=trusted, proxy=proxy)
    elif secret is not None:
        password = Password(
            entry(secret.name, secret.password_key, field="authentication.secretRef")
        )
    ca_pem, client = _certificates(account.tls, entry)
    return Endpoint(
        side,
        account,
        password,
        ca_pem=ca_pem,
        client_certificate=client,
        tokens=tokens,
        proxy_login=login,
    )


def target_of(side: Side, account: MailAccount, entry: Reader) -> Target:
    """Return a side's server with what its policy refers to; no password but a proxy's."""
    ca_pem, client = _certificates(account.tls, entry)
    login = _proxy_login(side, account, entry)
    return Target(side, account, ca_pem=ca_pem, client_certificate=client, proxy_login=login)


def _proxy_login(side: Side, account: MailAccount, entry: Reader) -> ProxyLogin | None:
    ref = account.proxy.secret_ref if account.proxy is not None else None
    if ref is None:
        return None
    keys = (ref.username_key, ref.password_key)
    user, word = (entry(ref.name, key, field="proxy.secretRef") for key in keys)
    return ProxyLogin.of(user, word, party=side)


def _certificates(policy: TLSPolicy, entry: Reader) -> tuple[str | None, ClientCertificate | None]:
    ca_pem = _ca_pem(policy.ca_ref, entry, field="tls.caRef")
    client = None
    if (own := policy.client_certificate_ref) is not None:
        parts = (
            entry(own.name, key, field="tls.clientCertificateRef")
            for key in (own.cert_key, own.key_key)
        )
        client = ClientCertificate(*parts)
    return ca_pem, client


def _ca_pem(ca: CaRef | None, entry: Reader, *, field: str) -> str | None:
    if ca is None:
        return None
    kind = SECRET if ca.kind is CaRefKind.SECRET else CONFIG_MAP
    return entry(ca.name, ca.key, field=field, kind=kind).decode("utf-8", "replace")

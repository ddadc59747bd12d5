"""TLS: from the policy to an ``SSLContext``, from a refused handshake to its reason.

One function makes every context, so that what a policy means is decided, and tested field by field,
in one place.
"""

from __future__ import annotations

import hashlib
import ssl
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from mailsync_api.conditions import Reason
from mailsync_api.endpoint import TLSMode, TLSVerify, TLSVersion
from mailsync_api.status import TLSFacts
from mailsync_syncjob.clientcert import load_client_certificate
from mailsync_syncjob.errors import ConfigurationError, TLSPolicyError
from mailsync_syncjob.spki import spki_sha256

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mailsync_api.endpoint import TLSPolicy
    from mailsync_syncjob.clientcert import ClientCertificate
    from mailsync_syncjob.credentials import Target
    from mailsync_syncjob.party import Party

__all__ = [
    "certificate_error",
    "certificate_reason",
    "check_pin",
    "clear_text_facts",
    "client_certificate_error",
    "handshake_error",
    "make_context",
    "policy_error",
    "server_name",
    "speaks_no_tls",
    "tls_facts",
]

# Distributions differ in their default security level, so it is always said. Ciphers without
# authentication would make verification void, whatever a user's list says.
_CIPHERS: Final = "{list}:!aNULL:!eNULL:@SECLEVEL={level}"
_VERSIONS: Final = {
    TLSVersion.TLS_1_0: ssl.TLSVersion.TLSv1,
    TLSVersion.TLS_1_1: ssl.TLSVersion.TLSv1_1,
    TLSVersion.TLS_1_2: ssl.TLSVersion.TLSv1_2,
    TLSVersion.TLS_1_3: ssl.TLSVersion.TLSv1_3,
}
# OpenSSL's X509_V_ERR_* numbers (x509_vfy.h); ssl.SSLCertVerificationError carries them.
_VERIFY_REASONS: Final = {
    9: Reason.CERTIFICATE_NOT_YET_VALID,
    10: Reason.CERTIFICATE_EXPIRED,
    62: Reason.CERTIFICATE_NAME_MISMATCH,  # host name
    64: Reason.CERTIFICATE_NAME_MISMATCH,  # IP address
    66: Reason.CERTIFICATE_TOO_WEAK,  # the server's key
    67: Reason.CERTIFICATE_TOO_WEAK,  # a CA's key
    68: Reason.CERTIFICATE_TOO_WEAK,  # a signature's hash
}
# OpenSSL's words for bytes that are no TLS record: the server speaks something else.
_NOT_TLS: Final = frozenset(
    {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "UNEXPECTED_MESSAGE"}
)
# What a server says (as an alert) that does not like our certificate, or misses one.
_CLIENT_REFUSED: Final = frozenset(
    {
        "SSLV3_ALERT_BAD_CERTIFICATE",
        "SSLV3_ALERT_CERTIFICATE_EXPIRED",
        "SSLV3_ALERT_CERTIFICATE_REVOKED",
        "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
        "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
        "TLSV13_ALERT_CERTIFICATE_REQUIRED",
        "TLSV1_ALERT_UNKNOWN_CA",
    }
)


def make_context(
    policy: TLSPolicy,
    *,
    ca_pem: str | None,
    side: Party,
    client: ClientCertificate | None = None,
    where: str | None = None,
) -> ssl.SSLContext:
    """Return the context that enforces a policy, but for its pins: see ``check_pin``.

    Parameters
    ----------
    where
        The field that the policy is of; by default the side's own ``tls``.

    Raises
    ------
    ConfigurationError
        The CA certificates, the cipher list or the client certificate cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # The order matters: check_hostname cannot be on while certificates are not verified.
    context.check_hostname = policy.verify is TLSVerify.FULL
    context.verify_mode = ssl.CERT_NONE if policy.verify is TLSVerify.NONE else ssl.CERT_REQUIRED
    # RFC 6125 section 6.4.4 and RFC 9525: the common name is no host name.
    context.hostname_checks_common_name = False
    context.minimum_version = _VERSIONS[policy.min_version]
    if policy.max_version is not None:
        context.maximum_version = _VERSIONS[policy.max_version]
    _set_ciphers(context, policy, side=side)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_TRUSTED_FIRST
    if policy.verify is not TLSVerify.NONE:
        _load_trust(context, ca_pem=ca_pem, side=side, where=where or f"{side}.tls")
    if client is not None:
        load_client_certificate(context, client, side=side)
    return context


def _set_ciphers(context: ssl.SSLContext, policy: TLSPolicy, *, side: Party) -> None:
    wanted = policy.ciphers or "DEFAULT"
    try:
        context.set_ciphers(_CIPHERS.format(list=wanted, level=policy.security_level))
    except ssl.SSLError:
        raise ConfigurationError(
            f"{side}.tls.ciphers: {wanted!r} leaves no cipher at securityLevel "
            f"{policy.security_level}; `openssl ciphers -v` shows what a list means",
            side=side,
        ) from None


def _load_trust(context: ssl.SSLContext, *, ca_pem: str | None, side: Party, where: str) -> None:
    if ca_pem is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        return
    try:
        context.load_verify_locations(cadata=ca_pem)
    except (ssl.SSLError, ValueError) as error:
        raise ConfigurationError(
            f"{where}.caRef: no PEM certificates could be read from it ({_words(error)}): "
            "it must hold one or several CERTIFICATE blocks",
            side=side,
        ) from None
    # What a user names is trusted as it is, whether a root, an intermediate or the server's own.
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN


def certificate_reason(error: ssl.SSLCertVerificationError) -> Reason:
    """Return why a certificate was not accepted."""
    return _VERIFY_REASONS.get(error.verify_code, Reason.CERTIFICATE_NOT_TRUSTED)


def speaks_no_tls(error: ssl.SSLError) -> bool:
    """Return whether what came was no TLS at all."""
    return error.reason in _NOT_TLS


def server_name(endpoint: Target) -> str:
    """Return the name to send as SNI and to verify."""
    return (endpoint.account.tls.server_name or endpoint.account.host).removesuffix(".")


def policy_error(error: ssl.SSLError, *, endpoint: Target) -> TLSPolicyError:
    """Return what a failed handshake means, with the cure."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return certificate_error(certificate_reason(error), error.verify_message, endpoint=endpoint)
    return handshake_error(error.reason, _words(error), endpoint=endpoint)


def certificate_error(reason: Reason, said: str, *, endpoint: Target) -> TLSPolicyError:
    """Return that the server's certificate is refused, with the cure; ``said`` is OpenSSL's."""
    name, level = server_name(endpoint), endpoint.account.tls.security_level
    words = _certificate_words(reason, name=name, said=said, level=level)
    return TLSPolicyError(
        f"{endpoint.side} {endpoint.address}: {words}; no credentials were sent",
        side=endpoint.side,
        reason=reason,
    )


def handshake_error(word: str | None, said: str, *, endpoint: Target) -> TLSPolicyError:
    """Return what OpenSSL's word for a failed handshake means, with the cure."""
    where, policy = f"{endpoint.side} {endpoint.address}", endpoint.account.tls
    if word in _CLIENT_REFUSED:
        return _client_refused(said, endpoint=endpoint)
    if word in _NOT_TLS:
        words = (
            "took STARTTLS and then did not speak TLS: somebody may be interfering"
            if policy.mode is TLSMode.START_TLS
            else "does not speak TLS: for a server that starts in clear text choose "
            "tls.mode StartTLS (usually port 143)"
        )
        return TLSPolicyError(
            f"{where} {words}; no credentials were sent",
            side=endpoint.side,
            reason=Reason.TLS_NOT_SPOKEN,
        )
    return TLSPolicyError(
        f"{where}: the TLS handshake failed ({said}): server and policy have no protocol "
        f"version or cipher in common (tls.minVersion is {policy.min_version}, securityLevel is "
        f"{policy.security_level}; TLS 1.0 and 1.1 need minVersion TLSv1.0 and securityLevel 0); "
        "no credentials were sent",
        side=endpoint.side,
        reason=Reason.TLS_HANDSHAKE_FAILED,
    )


def client_certificate_error(error: ssl.SSLError, *, endpoint: Target) -> TLSPolicyError | None:
    """Return what it means that a server does not accept this client; None if it is not that."""
    if error.reason not in _CLIENT_REFUSED:
        return None
    return _client_refused(_words(error), endpoint=endpoint)


def _client_refused(said: str, *, endpoint: Target) -> TLSPolicyError:
    shown = endpoint.account.tls.client_certificate_ref is not None
    what = (
        f"refused the certificate of tls.clientCertificateRef ({said}): give one that it accepts"
        if shown
        else "demands a client certificate: name one in tls.clientCertificateRef"
    )
    return TLSPolicyError(
        f"{endpoint.side} {endpoint.address} {what}; no credentials were sent",
        side=endpoint.side,
        reason=Reason.CLIENT_CERTIFICATE_REFUSED,
    )


def check_pin(tls_socket: ssl.SSLSocket, *, endpoint: Target) -> None:
    """Compare the server's public key with the policy's pins, if it has any.

    Raises
    ------
    TLSPolicyError
        It is none of them.
    """
    pins = endpoint.account.tls.pinned_spki_sha256
    if not pins:
        return
    found = _spki(tls_socket.getpeercert(binary_form=True))
    if found not in pins:
        raise TLSPolicyError(
            f"{endpoint.side} {endpoint.address}: the server's public key is none of those in "
            f"tls.pinnedSpkiSha256; its hash is {found or 'not known'}: add it only if you know "
            "that the server has a new key; no credentials were sent",
            side=endpoint.side,
            reason=Reason.CERTIFICATE_PIN_MISMATCH,
        )


def _spki(certificate: bytes | None) -> str | None:
    try:
        return spki_sha256(certificate) if certificate else None
    except ValueError:
        return None


def _certificate_words(reason: Reason, *, name: str, said: str, level: int) -> str:
    if reason is Reason.CERTIFICATE_EXPIRED:
        return "the server's certificate has expired"
    if reason is Reason.CERTIFICATE_NOT_YET_VALID:
        return "the server's certificate is not valid yet"
    if reason is Reason.CERTIFICATE_NAME_MISMATCH:
        return (
            f"the server's certificate is not for {name}: correct host, or give the certificate's "
            "name in tls.serverName"
        )
    if reason is Reason.CERTIFICATE_TOO_WEAK:
        return (
            f"the server's certificate is too weak for tls.securityLevel {level} ({said}): have it "
            "renewed, or lower securityLevel for this server"
        )
    return (
        f"the server's certificate is not trusted ({said}): name the CA that issued it in tls.caRef"
    )


def _words(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    return str(reason).replace("_", " ").lower() if reason else str(error)


def clear_text_facts(mode: TLSMode) -> TLSFacts:
    """Return the facts of a connection without TLS; the policy's mode says why there is none."""
    return TLSFacts(mode=mode, secured=False, verified=TLSVerify.NONE)


def tls_facts(tls_socket: ssl.SSLSocket, *, endpoint: Target) -> TLSFacts:
    """Return what was negotiated on an established connection."""
    policy = endpoint.account.tls
    # Without verification Python gives no parsed certificate, but its bytes.
    peer: Any = tls_socket.getpeercert() or {}
    der = tls_socket.getpeercert(binary_form=True)
    cipher = tls_socket.cipher()
    ends = peer.get("notAfter")
    return TLSFacts(
        mode=policy.mode,
        secured=True,
        verified=policy.verify,
        protocol=tls_socket.version(),
        cipher=cipher[0] if cipher else None,
        server_name=server_name(endpoint)[:1024],
        subject=_distinguished_name(peer.get("subject")),
        issuer=_distinguished_name(peer.get("issuer")),
        not_after_time=(
            datetime.fromtimestamp(ssl.cert_time_to_seconds(ends), tz=UTC) if ends else None
        ),
        sha256=hashlib.sha256(der).hexdigest() if der else None,
        spki_sha256=_spki(der),
        pinned=bool(policy.pinned_spki_sha256),  # checked before, or there would be no connection
    )


def _distinguished_name(rdns: Iterable[Iterable[tuple[str, str]]] | None) -> str | None:
    """Render ((("commonName", "x"),), ...) as ``commonName=x, ...``, at most 1024 characters."""
    if not rdns:
        return None
    return ", ".join(f"{key}={value}" for rdn in rdns for key, value in rdn)[:1024]

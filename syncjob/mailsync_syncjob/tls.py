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
from mailsync_syncjob.errors import ConfigurationError, TLSPolicyError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mailsync_api.endpoint import Side, TLSPolicy
    from mailsync_syncjob.credentials import Endpoint

__all__ = ["clear_text_facts", "make_context", "policy_error", "server_name", "tls_facts"]

# Security level 2 refuses RSA keys under 2048 bits and SHA-1 chains. Distributions differ in their
# default, so it is said here.
_CIPHERS: Final = "DEFAULT@SECLEVEL=2"
_VERSIONS: Final = {
    TLSVersion.TLS_1_2: ssl.TLSVersion.TLSv1_2,
    TLSVersion.TLS_1_3: ssl.TLSVersion.TLSv1_3,
}
# OpenSSL's X509_V_ERR_* numbers (x509_vfy.h); ssl.SSLCertVerificationError carries them.
_VERIFY_REASONS: Final = {
    9: Reason.CERTIFICATE_NOT_YET_VALID,
    10: Reason.CERTIFICATE_EXPIRED,
    62: Reason.CERTIFICATE_NAME_MISMATCH,  # host name
    64: Reason.CERTIFICATE_NAME_MISMATCH,  # IP address
}
# OpenSSL's words for bytes that are no TLS record: the server speaks something else.
_NOT_TLS: Final = frozenset(
    {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "UNEXPECTED_MESSAGE"}
)


def make_context(policy: TLSPolicy, *, ca_pem: str | None, side: Side) -> ssl.SSLContext:
    """Return the context that enforces a policy.

    Raises
    ------
    ConfigurationError
        The CA certificates cannot be read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # The order matters: check_hostname cannot be on while certificates are not verified.
    context.check_hostname = policy.verify is TLSVerify.FULL
    context.verify_mode = ssl.CERT_NONE if policy.verify is TLSVerify.NONE else ssl.CERT_REQUIRED
    # RFC 6125 section 6.4.4 and RFC 9525: the common name is no host name.
    context.hostname_checks_common_name = False
    context.minimum_version = _VERSIONS[policy.min_version]
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_TRUSTED_FIRST
    if policy.verify is not TLSVerify.NONE:
        _load_trust(context, ca_pem=ca_pem, side=side)
    return context


def _load_trust(context: ssl.SSLContext, *, ca_pem: str | None, side: Side) -> None:
    if ca_pem is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        return
    try:
        context.load_verify_locations(cadata=ca_pem)
    except (ssl.SSLError, ValueError) as error:
        raise ConfigurationError(
            f"{side}.tls.caRef: no PEM certificates could be read from it ({_words(error)}): "
            "it must hold one or several CERTIFICATE blocks",
            side=side,
        ) from None
    # What a user names is trusted as it is, whether a root, an intermediate or the server's own.
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN


def server_name(endpoint: Endpoint) -> str:
    """Return the name to send as SNI and to verify."""
    return (endpoint.account.tls.server_name or endpoint.account.host).removesuffix(".")


def policy_error(error: ssl.SSLError, *, endpoint: Endpoint) -> TLSPolicyError:
    """Return what a failed handshake means, with the cure."""
    name = server_name(endpoint)
    where = f"{endpoint.side} {endpoint.address}"
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = _VERIFY_REASONS.get(error.verify_code, Reason.CERTIFICATE_NOT_TRUSTED)
        return TLSPolicyError(
            f"{where}: {_certificate_words(reason, name=name, said=error.verify_message)}; "
            "no credentials were sent",
            side=endpoint.side,
            reason=reason,
        )
    if error.reason in _NOT_TLS:
        return TLSPolicyError(
            f"{where} does not speak TLS: for a server that starts in clear text choose "
            "tls.mode StartTLS (usually port 143); no credentials were sent",
            side=endpoint.side,
            reason=Reason.TLS_NOT_SPOKEN,
        )
    return TLSPolicyError(
        f"{where}: the TLS handshake failed ({_words(error)}): server and policy have no protocol "
        f"version or cipher in common (tls.minVersion is {endpoint.account.tls.min_version}); "
        "no credentials were sent",
        side=endpoint.side,
        reason=Reason.TLS_HANDSHAKE_FAILED,
    )


def _certificate_words(reason: Reason, *, name: str, said: str) -> str:
    if reason is Reason.CERTIFICATE_EXPIRED:
        return "the server's certificate has expired"
    if reason is Reason.CERTIFICATE_NOT_YET_VALID:
        return "the server's certificate is not valid yet"
    if reason is Reason.CERTIFICATE_NAME_MISMATCH:
        return (
            f"the server's certificate is not for {name}: correct host, or give the certificate's "
            "name in tls.serverName"
        )
    return (
        f"the server's certificate is not trusted ({said}): name the CA that issued it in tls.caRef"
    )


def _words(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    return str(reason).replace("_", " ").lower() if reason else str(error)


def clear_text_facts() -> TLSFacts:
    """Return the facts of a connection without TLS."""
    return TLSFacts(mode=TLSMode.NONE, secured=False, verified=TLSVerify.NONE)


def tls_facts(tls_socket: ssl.SSLSocket, *, endpoint: Endpoint) -> TLSFacts:
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
    )


def _distinguished_name(rdns: Iterable[Iterable[tuple[str, str]]] | None) -> str | None:
    """Render ((("commonName", "x"),), ...) as ``commonName=x, ...``, at most 1024 characters."""
    if not rdns:
        return None
    return ", ".join(f"{key}={value}" for rdn in rdns for key, value in rdn)[:1024]

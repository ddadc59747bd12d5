"""The safest policy that a server meets: what to write into the manifest. Pure.

A policy is tried on the server; what it was refused for leads to the next one, which gives up no
more than that. What a person has to know of the result is said beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import yaml

from mailsync_api.conditions import Reason
from mailsync_api.endpoint import CaRefKind, Server, TLSMode, TLSPolicy, TLSVerify, TLSVersion
from mailsync_api.tlspolicy import LEGACY_VERSIONS

if TYPE_CHECKING:
    from mailsync_syncjob.imap.ways import Way
    from mailsync_syncjob.probe.certificates import Shown

__all__ = ["Advice", "advise", "first_policy", "next_policy", "snippet"]

_PINNED: Final = frozenset(
    {
        Reason.CERTIFICATE_NOT_TRUSTED,
        Reason.CERTIFICATE_EXPIRED,
        Reason.CERTIFICATE_NOT_YET_VALID,
        Reason.CERTIFICATE_NAME_MISMATCH,
    }
)
_DEFAULT_PORTS: Final = {TLSMode.IMPLICIT: 993, TLSMode.START_TLS: 143, TLSMode.NONE: 143}


@dataclass(frozen=True, slots=True)
class Advice:
    """What to write, and what to know before."""

    server: Server
    cautions: tuple[str, ...]

    @property
    def manifest(self) -> str:
        """The fields of a MailSync's side, or of a MailEndpoint's spec, as YAML."""
        return snippet(self.server)


def first_policy(way: Way, given: TLSPolicy) -> TLSPolicy:
    """Return the safest policy for one way, with the trust and the names that were given."""
    if way.mode is TLSMode.NONE:
        return TLSPolicy(mode=TLSMode.NONE)
    return TLSPolicy(
        mode=way.mode,
        ca_ref=given.ca_ref,
        server_name=given.server_name,
        client_certificate_ref=given.client_certificate_ref,
    )


def next_policy(
    policy: TLSPolicy, reason: str, *, shown: Shown | None, newest: TLSVersion | None
) -> TLSPolicy | None:
    """Return the policy to try after one that was refused; None where nothing is left to give up.

    Parameters
    ----------
    reason
        What it was refused for.
    shown
        The certificate that the server shows.
    newest
        The newest TLS version that the server has.
    """
    if reason == Reason.CERTIFICATE_NAME_MISMATCH and policy.server_name is None:
        name = _host_name(shown)
        if name is not None:
            return _changed(policy, server_name=name)
    if reason in _PINNED and policy.verify is not TLSVerify.NONE:
        pin = shown.own.spki_sha256 if shown else None
        if pin is not None:
            return _changed(policy, verify=TLSVerify.NONE, ca_ref=None, pinned_spki_sha256=[pin])
    if reason == Reason.TLS_HANDSHAKE_FAILED and newest in LEGACY_VERSIONS:
        if policy.min_version in LEGACY_VERSIONS:
            return None
        return _changed(policy, min_version=newest, security_level=0)
    if reason in {Reason.CERTIFICATE_TOO_WEAK, Reason.TLS_HANDSHAKE_FAILED}:
        level = policy.security_level
        return _changed(policy, security_level=level - 1) if level > 0 else None
    return None


def _changed(policy: TLSPolicy, **fields: Any) -> TLSPolicy:  # noqa: ANN401  any field
    # Not model_copy, which does not validate.
    kept = {name: getattr(policy, name) for name in TLSPolicy.model_fields}
    return TLSPolicy(**{**kept, **fields})


def _host_name(shown: Shown | None) -> str | None:
    """Return a name of the certificate that can be looked for; a wildcard is none."""
    names = shown.names if shown else ()
    return next((name for name in names if "*" not in name and not _is_address(name)), None)


def _is_address(name: str) -> bool:
    return ":" in name or name.replace(".", "").isdigit()


def advise(host: str, way: Way, policy: TLSPolicy, *, shown: Shown | None) -> Advice:
    """Return what to write for a policy that the server was found to meet."""
    port = None if way.port == _DEFAULT_PORTS.get(way.mode) else way.port
    server = Server(host=host, port=port, tls=policy)
    return Advice(server, tuple(_cautions(host, policy, shown=shown)))


def _cautions(host: str, policy: TLSPolicy, *, shown: Shown | None) -> list[str]:
    if policy.mode is TLSMode.NONE:
        return [
            "Clear text: anybody on the way can read the password and the mail. Put TLS in front "
            "of this server, or copy within a network that you trust"
        ]
    found = []
    if (ca := policy.ca_ref) is not None:
        kind = "secret generic" if ca.kind is CaRefKind.SECRET else "configmap"
        found.append(
            f"caRef: kubectl create {kind} {ca.name} --from-file={ca.key}=FILE, with the file of "
            "--ca"
        )
    if (own := policy.client_certificate_ref) is not None:
        found.append(
            f"clientCertificateRef: kubectl create secret tls {own.name} --cert=FILE --key=FILE"
        )
    if policy.pinned_spki_sha256:
        found.append(
            "The hash in pinnedSpkiSha256 came over this very connection: whoever sat in between "
            "would have shown another one. Compare it with one that the server's administrator "
            "gives you"
        )
        if shown is not None and not shown.own.self_signed:
            found.append(
                "Better than the pin: name the CA that issued the certificate in caRef, or have "
                "the certificate renewed"
            )
    if policy.server_name is not None and policy.server_name != host:
        found.append(
            f"The certificate is for {policy.server_name}, not for {host}: make sure that this is "
            "the server that you mean"
        )
    if policy.min_version in LEGACY_VERSIONS:
        found.append(
            f"{policy.min_version} is deprecated (RFC 8996) and can be broken; the other side of "
            "the MailSync keeps its own policy"
        )
    if policy.security_level < 2:
        found.append(
            f"securityLevel {policy.security_level} allows weak keys and signatures, for this "
            "server only: have its certificate or its TLS settings renewed"
        )
    return found


def snippet(server: Server) -> str:
    """Return a server as YAML, without what is the default anyway; the mode is always there."""
    tls = server.tls.model_dump(
        mode="json", by_alias=True, exclude_none=True, exclude_defaults=True
    )
    tls = {"mode": str(server.tls.mode), **tls}
    wire: dict[str, Any] = {"host": server.host}
    if server.port is not None:
        wire["port"] = server.port
    wire["tls"] = tls
    return str(yaml.safe_dump(wire, sort_keys=False, width=200))

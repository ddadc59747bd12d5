"""The spec of a MailEndpoint: an IMAP server that many MailSyncs share, and how it is probed."""

from __future__ import annotations

from typing import Annotated, Any, Final, Self

from pydantic import Field, model_validator

from mailsync_api.base import ApiModel
from mailsync_api.endpoint import Compression, Server, TLSPolicy
from mailsync_api.limits import EndpointLimits, Terms
from mailsync_api.network import NETWORK_RULES, Proxy, Tunnel, check_network
from mailsync_api.podtemplate import PodTemplate
from mailsync_api.presets import PRESETS, Preset, PresetInfo
from mailsync_api.scalars import Host
from mailsync_api.schema import cel

__all__ = ["MailEndpointSpec", "ProbePolicy"]


class ProbePolicy(ApiModel):
    """When the server is probed: connected to by the policy, without a login."""

    period_seconds: Annotated[int, Field(ge=60, le=86400)] = 3600
    """How often the server is probed while all is well, in seconds; up to a tenth is taken off, so
    that many do not come at once. After a failed probe the next one comes after a minute, then
    after twice as long each time, up to this period."""
    suspend: bool = False
    """True starts no probes, and no MailSync waits for one."""
    manual: Annotated[str, Field(min_length=1, max_length=253)] | None = None
    """Any text: each time it is changed, the server is probed once more. The probe is done when
    status.lastManualProbe equals it."""
    certificate_warning_days: Annotated[int, Field(ge=1, le=365)] = 14
    """How many days before the server's certificate ends CertificateExpiring becomes True."""
    pod_template: PodTemplate = PodTemplate()
    """Where and with what resources the probes' pods run."""


_HOSTED: Final = tuple(info.preset.value for info in PRESETS.values() if info.host)
_HOST_MISSING: Final = f"host is required, unless preset is one of {', '.join(_HOSTED)}"


class MailEndpointSpec(ApiModel):
    """An IMAP server: where it is, how a connection to it is protected, how it is probed."""

    model_config = cel(
        (
            f"has(self.host) || self.preset in [{', '.join(repr(name) for name in _HOSTED)}]",
            _HOST_MISSING,
        ),
        *NETWORK_RULES,
    )

    preset: Preset = Preset.GENERIC
    """A mail service or a server software. It gives the host where the service has one for all, and
    what to know of it for messages; fields that are given here win."""
    host: Host | None = None
    """The server's host name or IP address; the preset's by default."""
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """The TCP port: by default 993 with tls.mode Implicit, first 993 and then 143 with Auto and
    Opportunistic, else 143."""
    tls: TLSPolicy = TLSPolicy()
    """How the connection is protected: TLS from the start and full verification by default."""
    proxy: Proxy | None = None
    """A proxy that connections to the server go through."""
    tunnel: Tunnel | None = None
    """A tunnel that does the TLS in place of the engine, by the same policy."""
    compression: Compression = Compression.NONE
    """Deflate compresses what is said after the login (COMPRESS=DEFLATE, RFC 4978), where the
    server can do that; it pays on slow links."""
    limits: EndpointLimits = EndpointLimits()
    """What the server allows; what is not given is the preset's, if it has it. A MailSync can
    restrain itself further, never less."""
    probe: ProbePolicy = ProbePolicy()
    """When the server is probed."""

    @model_validator(mode="after")
    def _has_host(self) -> Self:
        # The same rule as the CEL one above: manifests are also read without an API server.
        if self.host is None and self.info.host is None:
            raise ValueError(_HOST_MISSING)
        check_network(self.tls, self.proxy, self.tunnel)
        return self

    @property
    def info(self) -> PresetInfo:
        """What is known of the preset."""
        return PRESETS[self.preset]

    @property
    def server(self) -> Server:
        """The server, complete: what is given here, and from the preset what is not."""
        given: dict[str, Any] = {name: getattr(self, name) for name in Server.model_fields}
        if self.host is None:
            given["host"] = self.info.host
        return Server(**given)

    def terms(self, name: str) -> Terms:
        """Return what the server asks of those who copy from or to it.

        Parameters
        ----------
        name
            The MailEndpoint's.
        """
        return Terms(name, self.limits, self.info)

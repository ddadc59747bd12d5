"""The engine's pod: Pod Security "restricted", no API token, Secrets as files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from kubernetes.aio.client import models as k8s

from mailsync_api import names
from mailsync_api.endpoint import CaRef, CaRefKind, MailAccount, Server, Side, TLSMode
from mailsync_operator.builders.tunnel import tunnel_container, tunnel_mount, tunnel_volume
from mailsync_operator.pending import CA_SUFFIX, CLIENT_SUFFIX, PROXY_SUFFIX, TOKEN_CA_SUFFIX

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mailsync_api.mailendpoint import MailEndpointSpec
    from mailsync_api.podtemplate import PodTemplate
    from mailsync_api.spec import Accounts, MailSyncSpec

__all__ = ["ENGINE_USER", "engine_pod_spec", "probe_pod_spec"]

ENGINE_USER: Final = 65532
"""User and group of the engine; the images have the same."""
_SECRET_MODE: Final = 0o440
_GRACE_SECONDS: Final = 30
_REQUESTS: Final = {"cpu": "100m", "memory": "128Mi"}
_LIMITS: Final = {"memory": "512Mi"}


def engine_pod_spec(  # noqa: PLR0913  what a pod is made of
    spec: MailSyncSpec,
    accounts: Accounts,
    *,
    image: str,
    pull_policy: str,
    text: str,
    state: str,
) -> k8s.V1PodSpec:
    """Return the pod's spec.

    Parameters
    ----------
    text
        The engine's input as JSON.
    state
        The ConfigMap that may have the last run's resume state.
    """
    ends = [_account_end(side, accounts.account(side)) for side in Side]
    variable = k8s.V1EnvVar(name=names.INPUT_ENV, value=_verbatim(text))
    return _pod_spec(
        spec.pod_template,
        ends,
        variable,
        image=image,
        pull_policy=pull_policy,
        more=[_state_volume(state)],
    )


def probe_pod_spec(
    spec: MailEndpointSpec, *, image: str, pull_policy: str, text: str
) -> k8s.V1PodSpec:
    """Return the spec of a probe's pod: the same, without any password but a proxy's."""
    ends = [_End(names.PROBED_SERVER, spec.server)]
    variable = k8s.V1EnvVar(name=names.PROBE_INPUT_ENV, value=_verbatim(text))
    template = spec.probe.pod_template
    return _pod_spec(template, ends, variable, image=image, pull_policy=pull_policy)


@dataclass(frozen=True, slots=True)
class _End:
    """One server of a pod: what its volumes are named after, and what is needed for it."""

    name: str
    server: Server
    logins: tuple[k8s.V1Volume, ...] = ()

    @property
    def certificates(self) -> list[k8s.V1Volume]:
        """What the TLS is done with: by the engine, or by a tunnel in its place."""
        if self.server.tls.mode is TLSMode.NONE:
            return []
        trust = _trust_volumes(f"{self.name}{CA_SUFFIX}", self.server.tls.ca_ref)
        return [*trust, *_client_volumes(self.name, self.server)]

    @property
    def own(self) -> list[k8s.V1Volume]:
        """What the engine itself gets."""
        mine = [*self.logins, *_proxy_volumes(self.name, self.server)]
        return mine if self.server.tunnel is not None else [*mine, *self.certificates]

    @property
    def tunnels_own(self) -> list[k8s.V1Volume]:
        """What only the tunnel gets."""
        return self.certificates if self.server.tunnel is not None else []


def _pod_spec(  # noqa: PLR0913  what both kinds of pods have
    template: PodTemplate,
    ends: list[_End],
    variable: k8s.V1EnvVar,
    *,
    image: str,
    pull_policy: str,
    more: Sequence[k8s.V1Volume] = (),
) -> k8s.V1PodSpec:
    volumes = [volume for end in ends for volume in (*end.own, *end.tunnels_own)]
    volumes += more
    mounts = [mount for end in ends for mount in _mounts(end.own)] + _mounts(more)
    tunnels = [
        tunnel_container(
            end.name,
            end.server,
            image=image,
            pull_policy=pull_policy,
            mounts=_mounts(end.tunnels_own),
        )
        for end in ends
        if end.server.tunnel is not None
    ]
    if tunnels:
        volumes.append(tunnel_volume())
        mounts.append(tunnel_mount(read_only=True))
    container = k8s.V1Container(
        name=names.ENGINE_CONTAINER,
        image=image,
        image_pull_policy=pull_policy,
        command=["mailsync-job"],
        env=[variable],
        resources=_resources(template),
        termination_message_path=names.TERMINATION_MESSAGE_PATH,
        termination_message_policy="File",
        security_context=k8s.V1SecurityContext(
            allow_privilege_escalation=False,
            read_only_root_filesystem=True,
            run_as_non_root=True,
            capabilities=k8s.V1Capabilities(drop=["ALL"]),
        ),
        volume_mounts=[*mounts, k8s.V1VolumeMount(name="tmp", mount_path="/tmp")],  # noqa: S108  the pod's own
    )
    scratch = k8s.V1EmptyDirVolumeSource(medium="Memory", size_limit="64Mi")
    return k8s.V1PodSpec(
        init_containers=tunnels or None,
        containers=[container],
        volumes=[*volumes, k8s.V1Volume(name="tmp", empty_dir=scratch)],
        restart_policy="Never",
        automount_service_account_token=False,
        enable_service_links=False,
        termination_grace_period_seconds=_GRACE_SECONDS,
        security_context=k8s.V1PodSecurityContext(
            run_as_non_root=True,
            run_as_user=ENGINE_USER,
            run_as_group=ENGINE_USER,
            fs_group=ENGINE_USER,
            seccomp_profile=k8s.V1SeccompProfile(type="RuntimeDefault"),
        ),
        **_placement(template),
    )


def _verbatim(text: str) -> str:
    # $(NAME) in a value is a reference to another variable; $$ is a dollar sign (core/v1 EnvVar).
    return text.replace("$", "$$")


def _resources(template: PodTemplate) -> k8s.V1ResourceRequirements:
    if template.resources is None:
        return k8s.V1ResourceRequirements(requests=dict(_REQUESTS), limits=dict(_LIMITS))
    return k8s.V1ResourceRequirements(
        requests=template.resources.requests, limits=template.resources.limits
    )


def _account_end(side: Side, account: MailAccount) -> _End:
    logins = (*_password_volumes(side, account), *_token_ca_volumes(side, account))
    return _End(side.value, account, logins)


def _mounts(volumes: Iterable[k8s.V1Volume]) -> list[k8s.V1VolumeMount]:
    return [
        k8s.V1VolumeMount(
            name=volume.name, mount_path=f"{names.SECRETS_ROOT}/{volume.name}", read_only=True
        )
        for volume in volumes
    ]


def _state_volume(config_map: str) -> k8s.V1Volume:
    # Optional: before the first run there is none, and no run may wait for it.
    source = k8s.V1ConfigMapVolumeSource(
        name=config_map,
        optional=True,
        default_mode=_SECRET_MODE,
        items=[k8s.V1KeyToPath(key=names.STATE_FILE_NAME, path=names.STATE_FILE_NAME)],
    )
    return k8s.V1Volume(name=names.STATE_VOLUME, config_map=source)


def _proxy_volumes(name: str, server: Server) -> list[k8s.V1Volume]:
    ref = server.proxy.secret_ref if server.proxy else None
    if ref is None:
        return []
    source = k8s.V1SecretVolumeSource(
        secret_name=ref.name,
        default_mode=_SECRET_MODE,
        items=[
            k8s.V1KeyToPath(key=ref.username_key, path=names.PROXY_USERNAME_FILE_NAME),
            k8s.V1KeyToPath(key=ref.password_key, path=names.PROXY_PASSWORD_FILE_NAME),
        ],
    )
    return [k8s.V1Volume(name=f"{name}{PROXY_SUFFIX}", secret=source)]


def _password_volumes(side: Side, account: MailAccount) -> list[k8s.V1Volume]:
    secret = account.authentication.secret_ref
    if secret is None:  # a client certificate says who it is
        return []
    source = k8s.V1SecretVolumeSource(
        secret_name=secret.name,
        default_mode=_SECRET_MODE,
        # These keys only: what else the Secret holds is none of the engine's business.
        items=[
            k8s.V1KeyToPath(key=key, path=part.value)
            for part, key in account.authentication.secret_keys.items()
        ],
    )
    return [k8s.V1Volume(name=side.value, secret=source)]


def _token_ca_volumes(side: Side, account: MailAccount) -> list[k8s.V1Volume]:
    oauth2 = account.authentication.oauth2
    return _trust_volumes(f"{side}{TOKEN_CA_SUFFIX}", oauth2.ca_ref if oauth2 else None)


def _trust_volumes(name: str, ref: CaRef | None) -> list[k8s.V1Volume]:
    if ref is None:
        return []
    items = [k8s.V1KeyToPath(key=ref.key, path=names.CA_FILE_NAME)]
    source: dict[str, Any]
    if ref.kind is CaRefKind.SECRET:
        source = {
            "secret": k8s.V1SecretVolumeSource(
                secret_name=ref.name, default_mode=_SECRET_MODE, items=items
            )
        }
    else:
        source = {
            "config_map": k8s.V1ConfigMapVolumeSource(
                name=ref.name, default_mode=_SECRET_MODE, items=items
            )
        }
    return [k8s.V1Volume(name=name, **source)]


def _client_volumes(name: str, server: Server) -> list[k8s.V1Volume]:
    ref = server.tls.client_certificate_ref
    if ref is None:
        return []
    source = k8s.V1SecretVolumeSource(
        secret_name=ref.name,
        default_mode=_SECRET_MODE,
        items=[
            k8s.V1KeyToPath(key=ref.cert_key, path=names.CLIENT_CERTIFICATE_FILE_NAME),
            k8s.V1KeyToPath(key=ref.key_key, path=names.CLIENT_KEY_FILE_NAME),
        ],
    )
    return [k8s.V1Volume(name=f"{name}{CLIENT_SUFFIX}", secret=source)]


def _placement(template: PodTemplate) -> dict[str, Any]:
    """Return where the pod runs, as the user asked."""
    wire = template.to_wire()
    fields: dict[str, Any] = {
        "node_selector": wire.get("nodeSelector"),
        "tolerations": [
            k8s.V1Toleration.model_validate(item) for item in wire.get("tolerations", [])
        ],
        "affinity": k8s.V1Affinity.model_validate(wire["affinity"]) if "affinity" in wire else None,
        "topology_spread_constraints": [
            k8s.V1TopologySpreadConstraint.model_validate(item)
            for item in wire.get("topologySpreadConstraints", [])
        ],
        "priority_class_name": wire.get("priorityClassName"),
        "service_account_name": wire.get("serviceAccountName"),
        "image_pull_secrets": [
            k8s.V1LocalObjectReference.model_validate(item)
            for item in wire.get("imagePullSecrets", [])
        ],
        "runtime_class_name": wire.get("runtimeClassName"),
    }
    return {name: value for name, value in fields.items() if value}

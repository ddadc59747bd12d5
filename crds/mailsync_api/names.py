"""Names that operator, engine, chart and users must agree on."""

from __future__ import annotations

from typing import Final

__all__ = [
    "API_VERSION",
    "CATEGORY",
    "CA_FILE_NAME",
    "CLIENT_CERTIFICATE_FILE_NAME",
    "CLIENT_KEY_FILE_NAME",
    "COMPONENT_LABEL",
    "ENDPOINTS_ANNOTATION",
    "ENDPOINT_NAME_ANNOTATION",
    "ENDPOINT_UID_LABEL",
    "ENGINE_CONTAINER",
    "FIELD_MANAGER",
    "GENERATION_ANNOTATION",
    "GROUP",
    "INPUT_ENV",
    "INSTANCE_LABEL",
    "KIND_MAILENDPOINT",
    "KIND_MAILSYNC",
    "MANAGED_BY_LABEL",
    "NAME_ANNOTATION",
    "NAME_LABEL",
    "PASSWORD_FILE_NAME",
    "PLURAL_MAILENDPOINT",
    "PLURAL_MAILSYNC",
    "PROBED_SERVER",
    "PROBE_INPUT_ENV",
    "PROXY_PASSWORD_FILE_NAME",
    "PROXY_USERNAME_FILE_NAME",
    "RUN_LABEL",
    "RUN_TYPE_ANNOTATION",
    "SECRETS_ROOT",
    "SECRETS_VERSION_ANNOTATION",
    "SERVERS_HASH_ANNOTATION",
    "SHORT_NAME_MAILENDPOINT",
    "SHORT_NAME_MAILSYNC",
    "SPEC_HASH_ANNOTATION",
    "STATE_FILE_NAME",
    "STATE_VOLUME",
    "TERMINATION_MESSAGE_BYTES",
    "TERMINATION_MESSAGE_PATH",
    "TRIGGER_ANNOTATION",
    "TUNNEL_INPUT_ENV",
    "TUNNEL_ROOT",
    "UID_LABEL",
    "VERSION",
    "ca_path",
    "client_certificate_path",
    "client_key_path",
    "password_path",
    "proxy_password_path",
    "proxy_username_path",
    "secret_path",
    "state_path",
    "token_ca_path",
    "tunnel_config_path",
    "tunnel_container",
    "tunnel_failure_path",
    "tunnel_log_path",
    "tunnel_port",
    "tunnel_ready_path",
]

GROUP: Final = "mailsync.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = "mailsync.dev/v1alpha1"
KIND_MAILSYNC: Final = "MailSync"
PLURAL_MAILSYNC: Final = "mailsyncs"
SHORT_NAME_MAILSYNC: Final = "ms"
KIND_MAILENDPOINT: Final = "MailEndpoint"
PLURAL_MAILENDPOINT: Final = "mailendpoints"
SHORT_NAME_MAILENDPOINT: Final = "mep"
CATEGORY: Final = "mail"
"""What ``kubectl get`` takes for all our resources together. It must not be a name of one of them:
kubectl would take ``kubectl get mailsync alice`` for a list of kinds, and refuse it."""

FIELD_MANAGER: Final = "mailsync-operator"
"""The one server-side-apply field manager of everything that the operator writes."""

NAME_LABEL: Final = "app.kubernetes.io/name"
COMPONENT_LABEL: Final = "app.kubernetes.io/component"
MANAGED_BY_LABEL: Final = "app.kubernetes.io/managed-by"
INSTANCE_LABEL: Final = "app.kubernetes.io/instance"
UID_LABEL: Final = f"{GROUP}/mailsync-uid"
"""On Jobs and pods: the UID of their MailSync. A name would not fit: it may have 253 characters."""
RUN_LABEL: Final = f"{GROUP}/run"
"""On Jobs and pods: the number of the run or probe, from 1."""
NAME_ANNOTATION: Final = f"{GROUP}/mailsync-name"
"""On Jobs and pods: the name of their MailSync."""
ENDPOINT_UID_LABEL: Final = f"{GROUP}/endpoint-uid"
"""On the Jobs and pods of probes: the UID of their MailEndpoint."""
ENDPOINT_NAME_ANNOTATION: Final = f"{GROUP}/endpoint-name"
"""On the Jobs and pods of probes: the name of their MailEndpoint."""
ENDPOINTS_ANNOTATION: Final = f"{GROUP}/endpoints"
"""The MailEndpoints that a run goes from and to, with commas: whose slot it has."""
RUN_TYPE_ANNOTATION: Final = f"{GROUP}/run-type"
"""Which kind of run a Job is."""
TRIGGER_ANNOTATION: Final = f"{GROUP}/manual-trigger"
"""On Jobs: the value of ``spec.trigger.manual`` or ``spec.probe.manual`` that it answers."""
SPEC_HASH_ANNOTATION: Final = f"{GROUP}/spec-hash"
"""On Jobs: a hash of those parts of the spec that a run depends on."""
SERVERS_HASH_ANNOTATION: Final = f"{GROUP}/servers-hash"
"""On Jobs: a hash of the servers, with what MailEndpoints stood for at the time."""
GENERATION_ANNOTATION: Final = f"{GROUP}/generation"
"""On the Jobs of probes: the generation of the MailEndpoint's spec that the probe goes by."""

SECRETS_VERSION_ANNOTATION: Final = f"{GROUP}/secrets-version"
"""On Jobs: up to which change of Secrets the operator knew of them when it made the Job."""

ENGINE_CONTAINER: Final = "engine"
"""The container of the Job's pod that runs the engine."""

INPUT_ENV: Final = "MAILSYNC_INPUT"
"""The environment variable with the Job's input (``mailsync_api.job.JobInput``) as JSON."""

PROBE_INPUT_ENV: Final = "MAILSYNC_PROBE_INPUT"
"""The same for a probe (``mailsync_api.probe.ProbeInput``); a pod has one of the two."""
PROBED_SERVER: Final = "server"
"""What stands for a side in the paths of a probe's files."""

SECRETS_ROOT: Final = "/var/run/mailsync"
"""Where the pod has its Secrets and CA certificates, as files."""
PASSWORD_FILE_NAME: Final = "password"  # noqa: S105  a file's name, not a password
CA_FILE_NAME: Final = "ca.crt"
CLIENT_CERTIFICATE_FILE_NAME: Final = "tls.crt"
CLIENT_KEY_FILE_NAME: Final = "tls.key"
PROXY_USERNAME_FILE_NAME: Final = "username"
PROXY_PASSWORD_FILE_NAME: Final = "password"  # noqa: S105  a file's name, not a password

STATE_VOLUME: Final = "state"
"""The volume, and the folder below ``SECRETS_ROOT``, with what the last run left for this one."""
STATE_FILE_NAME: Final = "state.json"
"""The file with the resume state, and the key in the MailSync's ConfigMap."""

TUNNEL_INPUT_ENV: Final = "MAILSYNC_TUNNEL_INPUT"
"""The environment variable of a tunnel's container (``mailsync_api.tunnel.TunnelInput``)."""
TUNNEL_ROOT: Final = "/var/run/mailsync-tunnel"
"""What the pod's tunnels and its engine share: logs, and why a tunnel could not start."""

TERMINATION_MESSAGE_PATH: Final = "/dev/termination-log"
TERMINATION_MESSAGE_BYTES: Final = 3072
"""The largest verdict; the kubelet cuts at 4096 bytes for all containers of a pod together."""


def password_path(side: str) -> str:
    """Return the file with the password of ``source`` or ``destination`` in the Job's pod."""
    return f"{SECRETS_ROOT}/{side}/{PASSWORD_FILE_NAME}"


def secret_path(side: str, part: str) -> str:
    """Return the file with a part (``SecretPart``) of the Secret that a side logs in with."""
    return f"{SECRETS_ROOT}/{side}/{part}"


def token_ca_path(side: str) -> str:
    """Return the file with the CA certificates for the token endpoint of a side."""
    return f"{SECRETS_ROOT}/{side}-token-ca/{CA_FILE_NAME}"


def ca_path(side: str) -> str:
    """Return the file with the CA certificates of ``source`` or ``destination`` in the pod."""
    return f"{SECRETS_ROOT}/{side}-ca/{CA_FILE_NAME}"


def client_certificate_path(side: str) -> str:
    """Return the file with the client certificate for ``source`` or ``destination`` in the pod."""
    return f"{SECRETS_ROOT}/{side}-client/{CLIENT_CERTIFICATE_FILE_NAME}"


def client_key_path(side: str) -> str:
    """Return the file with the key of that certificate."""
    return f"{SECRETS_ROOT}/{side}-client/{CLIENT_KEY_FILE_NAME}"


def proxy_username_path(side: str) -> str:
    """Return the file with the user name for the proxy to ``source`` or ``destination``."""
    return f"{SECRETS_ROOT}/{side}-proxy/{PROXY_USERNAME_FILE_NAME}"


def proxy_password_path(side: str) -> str:
    """Return the file with the password for that proxy."""
    return f"{SECRETS_ROOT}/{side}-proxy/{PROXY_PASSWORD_FILE_NAME}"


def state_path() -> str:
    """Return the file with the resume state; there is none before the first run."""
    return f"{SECRETS_ROOT}/{STATE_VOLUME}/{STATE_FILE_NAME}"


def tunnel_container(place: str) -> str:
    """Return the container of the tunnel to ``source``, ``destination`` or a probed server."""
    return f"tunnel-{place}"


def tunnel_port(place: str) -> int:
    """Return the port, on the pod's loopback address, where that tunnel begins."""
    return 10144 if place == "destination" else 10143


def tunnel_config_path(place: str) -> str:
    """Return the file with stunnel's configuration, which holds no secret."""
    return f"{TUNNEL_ROOT}/{place}.conf"


def tunnel_log_path(place: str) -> str:
    """Return the file with what that tunnel says."""
    return f"{TUNNEL_ROOT}/{place}.log"


def tunnel_failure_path(place: str) -> str:
    """Return the file that says why that tunnel could not start; there is none if it could."""
    return f"{TUNNEL_ROOT}/{place}.failure"


def tunnel_ready_path(place: str) -> str:
    """Return the file that is there once that tunnel listens, or has said why it cannot."""
    return f"{TUNNEL_ROOT}/{place}.ready"

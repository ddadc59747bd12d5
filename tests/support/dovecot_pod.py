"""A Dovecot server as Kubernetes objects: an ordinary user's pod on ports above 1024.

Pure: what is deployed is a value; `tests.support.mail_server` puts it on a cluster.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["IMAPS_PORT", "IMAP_PORT", "DovecotPod", "KeyPair", "configuration", "objects", "secret"]

IMAP_PORT = 31143
IMAPS_PORT = 31993
_USER = 10143  # tests/images/dovecot/Dockerfile

_COMMON = """\
protocols = imap
listen = *
base_dir = /run/dovecot
state_dir = /run/dovecot
log_path = /dev/stderr
auth_verbose = yes
# All of it runs as the pod's one user, and nothing can be root to chroot.
default_internal_user = vmail
default_internal_group = vmail
default_login_user = vmail
service anvil {
  chroot =
}
service stats {
  chroot =
}
mail_location = sdbox:~/sdbox
mail_max_userip_connections = 64
auth_mechanisms = plain login
passdb {
  driver = passwd-file
  args = scheme=PLAIN username_format=%u /etc/dovecot/users/passwd
}
userdb {
  driver = static
  args = uid=vmail gid=vmail home=/srv/mail/%u
}
"""

_TLS = """\
ssl = required
ssl_min_protocol = TLSv1.2
ssl_cert = </etc/dovecot/tls/tls.crt
ssl_key = </etc/dovecot/tls/tls.key
"""

_CLIENT_CERTIFICATES = """\
ssl_ca = </etc/dovecot/tls/ca.crt
ssl_require_crl = no
ssl_verify_client_cert = yes
auth_ssl_require_client_cert = yes
"""

_CLEAR = """\
ssl = no
disable_plaintext_auth = no
"""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate (with its chain) and its private key, as PEM text."""

    certificate: str
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class DovecotPod:
    """One server.

    Attributes
    ----------
    name
        Of the pod, the Service and all else; with the namespace it makes the host name.
    users
        Passwords by user name.
    tls
        What it shows to clients; without it there is neither STARTTLS nor the port for TLS.
    separator, prefix
        Between levels of folder names, and before all but INBOX.
    client_ca
        PEM text of the authority whose certificates clients must show; empty for none.
    extra
        Lines for the end of its configuration.
    files
        Further files of the configuration's folder, /etc/dovecot/conf, by name.
    """

    name: str
    image: str
    users: Mapping[str, str] = field(repr=False)
    tls: KeyPair | None = None
    separator: str = "/"
    prefix: str = ""
    client_ca: str = ""
    extra: str = ""
    files: Mapping[str, str] = field(default_factory=dict, repr=False)


def configuration(server: DovecotPod) -> str:
    """Render dovecot.conf."""
    implicit = f"inet_listener imaps {{\n    port = {IMAPS_PORT}\n    ssl = yes\n  }}"
    none = "inet_listener imaps {\n    port = 0\n  }"
    demand = _CLIENT_CERTIFICATES if server.client_ca else ""
    return f"""{_COMMON}{_TLS if server.tls else _CLEAR}{demand}\
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {IMAP_PORT}
  }}
  {implicit if server.tls else none}
}}
namespace inbox {{
  inbox = yes
  separator = {server.separator}
  prefix = {server.prefix}
}}
{server.extra}"""


def objects(server: DovecotPod) -> list[dict[str, Any]]:
    """Return the server's ConfigMap, Secrets, pod and Service."""
    passwd = "".join(_passwd_line(*each) for each in server.users.items())
    made = [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": server.name},
            "data": {**server.files, "dovecot.conf": configuration(server)},
        },
        secret(f"{server.name}-users", passwd=passwd),
        _pod(server),
        _service(server),
    ]
    if server.tls:
        files = {"tls.crt": server.tls.certificate, "tls.key": server.tls.key}
        if server.client_ca:
            files["ca.crt"] = server.client_ca
        made.insert(2, secret(f"{server.name}-tls", **files))
    return made


def secret(name: str, **data: str) -> dict[str, Any]:
    """Return a Secret; keys that are no Python names are given as ``**{...}``."""
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": encoded}


def _passwd_line(user: str, password: str) -> str:
    # In base64 a password may hold anything, the separator of the file's fields too.
    encoded = base64.b64encode(password.encode()).decode()
    return f"{user}:{{PLAIN.b64}}{encoded}::::::\n"


def _pod(server: DovecotPod) -> dict[str, Any]:
    folders: dict[str, dict[str, Any]] = {
        "/etc/dovecot/conf": {"configMap": {"name": server.name}},
        "/etc/dovecot/users": {"secret": {"secretName": f"{server.name}-users"}},
        "/run/dovecot": {"emptyDir": {"medium": "Memory"}},
        "/srv/mail": {"emptyDir": {}},
    }
    if server.tls:
        folders["/etc/dovecot/tls"] = {"secret": {"secretName": f"{server.name}-tls"}}
    volumes = [{"name": f"v{i}", **source} for i, source in enumerate(folders.values())]
    mounts = [{"name": f"v{i}", "mountPath": path} for i, path in enumerate(folders)]
    container = {
        "name": "dovecot",
        "image": server.image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["-c", "/etc/dovecot/conf/dovecot.conf"],
        "ports": [{"containerPort": IMAP_PORT}, {"containerPort": IMAPS_PORT}],
        # Only at the start: each probe is a line in the log.
        "startupProbe": {"tcpSocket": {"port": IMAP_PORT}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": mounts,
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": server.name, "labels": {"app": server.name}},
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 2,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": _USER,
                "runAsGroup": _USER,
                "fsGroup": _USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
            "volumes": volumes,
        },
    }


def _service(server: DovecotPod) -> dict[str, Any]:
    ports = [{"name": "imap", "port": 143, "targetPort": IMAP_PORT}]
    if server.tls:
        ports.append({"name": "imaps", "port": 993, "targetPort": IMAPS_PORT})
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": server.name},
        "spec": {"selector": {"app": server.name}, "ports": ports},
    }

"""The sidecar of a tunnel: stunnel beside the engine, in the same pod and the same image.

A native sidecar (an init container that goes on): it is there before the engine starts, and does
not keep the pod once the engine has ended.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from kubernetes.aio.client import models as k8s

from mailsync_api import names
from mailsync_api.endpoint import Server
from mailsync_api.tunnel import TunnelInput

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["TUNNEL_VOLUME", "tunnel_container", "tunnel_mount", "tunnel_volume"]

TUNNEL_VOLUME: Final = "tunnel"
"""What tunnels say, shared with the engine."""
_REQUESTS: Final = {"cpu": "20m", "memory": "64Mi"}
_LIMITS: Final = {"memory": "128Mi"}


def tunnel_volume() -> k8s.V1Volume:
    """Return the volume that tunnels write to and the engine reads."""
    shared = k8s.V1EmptyDirVolumeSource(medium="Memory", size_limit="16Mi")
    return k8s.V1Volume(name=TUNNEL_VOLUME, empty_dir=shared)


def tunnel_mount(*, read_only: bool) -> k8s.V1VolumeMount:
    """Return where it is mounted."""
    return k8s.V1VolumeMount(
        name=TUNNEL_VOLUME, mount_path=names.TUNNEL_ROOT, read_only=read_only or None
    )


def tunnel_container(
    place: str,
    server: Server,
    *,
    image: str,
    pull_policy: str,
    mounts: Sequence[k8s.V1VolumeMount],
) -> k8s.V1Container:
    """Return the container of the tunnel to a side of a run, or to a probe's server.

    Parameters
    ----------
    mounts
        The server's certificates, which the engine does not get.
    """
    # Only the server: who logs in there, and how, is none of the tunnel's business.
    fields = {name: getattr(server, name) for name in Server.model_fields}
    wanted = TunnelInput(place=place, server=Server(**fields))
    text = json.dumps(wanted.to_wire(), separators=(",", ":"), ensure_ascii=False)
    return k8s.V1Container(
        name=names.tunnel_container(place),
        image=image,
        image_pull_policy=pull_policy,
        command=["mailsync-tunnel"],
        # $(NAME) in a value is a reference to another variable; $$ is a dollar sign.
        env=[k8s.V1EnvVar(name=names.TUNNEL_INPUT_ENV, value=text.replace("$", "$$"))],
        restart_policy="Always",
        # A connection would be one to the server, so it is a file that says that it listens.
        # By its JSON name: the model's own name for "exec" is one that type checkers do not know.
        startup_probe=k8s.V1Probe.model_validate(
            {
                "exec": {"command": ["test", "-s", names.tunnel_ready_path(place)]},
                "periodSeconds": 1,
                "failureThreshold": 60,
            }
        ),
        resources=k8s.V1ResourceRequirements(requests=dict(_REQUESTS), limits=dict(_LIMITS)),
        security_context=k8s.V1SecurityContext(
            allow_privilege_escalation=False,
            read_only_root_filesystem=True,
            run_as_non_root=True,
            capabilities=k8s.V1Capabilities(drop=["ALL"]),
        ),
        volume_mounts=[*mounts, tunnel_mount(read_only=False)],
    )

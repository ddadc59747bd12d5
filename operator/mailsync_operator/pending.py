"""Why a pod does not start, in words for the person who can change it.

The operator may not read Secrets, so it learns of a missing one as everybody else does: from the
kubelet's Events about the pod.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from mailsync_api.conditions import Reason
from mailsync_api.endpoint import CaRefKind, MailAccount

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mailsync_api.endpoint import Server
    from mailsync_operator.snapshot import PodEvent, PodSnapshot

__all__ = [
    "CA_SUFFIX",
    "CLIENT_SUFFIX",
    "PROXY_SUFFIX",
    "TOKEN_CA_SUFFIX",
    "Blocker",
    "find_blocker",
    "find_job_blocker",
]

CA_SUFFIX: Final = "-ca"
"""What the volume with a side's CA certificates has after the side's name."""
CLIENT_SUFFIX: Final = "-client"
"""The same for the volume with the client certificate."""
TOKEN_CA_SUFFIX: Final = "-token-ca"  # noqa: S105  a volume's name, not a token
"""The same for the volume with the CA certificates of the token endpoint."""
PROXY_SUFFIX: Final = "-proxy"
"""The same for the volume with the proxy's user name and password."""

_MOUNT: Final = re.compile(
    r'MountVolume\.SetUp failed for volume "(?P<volume>[^"]+)" ?: (?P<why>.*)'
)
_STALE: Final = timedelta(minutes=3)
"""The kubelet repeats a failing mount at least every 122 s: an older Event is about the past."""
_JOB_STALE: Final = timedelta(minutes=12)
"""The Job controller tries again at least every 10 minutes."""
_POD_NAME: Final = re.compile(r'(Error creating: )?pods "[^"]*"')
_PULL: Final = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}
)
_USUAL: Final = frozenset({"", "ContainerCreating", "PodInitializing"})


@dataclass(frozen=True, slots=True)
class Blocker:
    """What holds a pod back."""

    reason: Reason
    message: str


def find_blocker(
    pod: PodSnapshot, events: Sequence[PodEvent], *, ends: Mapping[str, Server], now: datetime
) -> Blocker | None:
    """Return what keeps the pod from starting; None if nothing is known to.

    Parameters
    ----------
    ends
        The accounts by side, or the probed server: what volumes are named after.
    """
    if pod.unschedulable and not pod.node:
        return Blocker(Reason.UNSCHEDULABLE, f"no node takes the pod: {pod.unschedulable}")
    if pod.waiting_reason in _PULL:
        return Blocker(
            Reason.IMAGE_PULL_FAILED,
            # No details: they change with every attempt, and the pod's own Events have them.
            f"the engine's image cannot be pulled; `kubectl describe pod {pod.name}` says why",
        )
    mounts = list(_mount_blockers(pod, events, ends=ends, now=now))
    if mounts:
        return Blocker(mounts[0].reason, "; ".join(blocker.message for blocker in mounts))
    if pod.waiting_reason not in _USUAL:
        return Blocker(
            Reason.POD_NOT_STARTED,
            f"the pod does not start ({pod.waiting_reason}): {pod.waiting_message}",
        )
    return None


def find_job_blocker(events: Sequence[PodEvent], *, now: datetime) -> Blocker | None:
    """Return why a Job cannot make its pod (a quota, an admission policy); None if it can."""
    failed = [
        event
        for event in events
        if event.reason == "FailedCreate"
        and not (event.last_seen and now - event.last_seen > _JOB_STALE)
    ]
    if not failed:
        return None
    newest = max(failed, key=_at)
    # Each try has a new name for the pod; without it the text stays the same.
    text = _POD_NAME.sub("the pod", newest.message)
    return Blocker(Reason.POD_NOT_STARTED, f"the Job cannot create its pod: {text}")


def _mount_blockers(
    pod: PodSnapshot, events: Iterable[PodEvent], *, ends: Mapping[str, Server], now: datetime
) -> Iterable[Blocker]:
    newest: dict[str, tuple[PodEvent, str]] = {}
    for event in events:
        found = _MOUNT.search(event.message) if event.reason == "FailedMount" else None
        if found is None or (event.last_seen and now - event.last_seen > _STALE):
            continue
        known = newest.get(found["volume"])
        if known is None or _at(event) >= _at(known[0]):
            newest[found["volume"]] = (event, found["why"])
    for volume in sorted(newest, reverse=True):  # source before destination
        yield _explain(volume, newest[volume][1], namespace=pod.namespace, ends=ends)


def _at(event: PodEvent) -> float:
    return event.last_seen.timestamp() if event.last_seen else 0.0


def _explain(volume: str, why: str, *, namespace: str, ends: Mapping[str, Server]) -> Blocker:
    name = volume.partition("-")[0]
    wanted_for = {
        "": _Wanted.of_password,
        CA_SUFFIX: _Wanted.of_ca,
        CLIENT_SUFFIX: _Wanted.of_client,
        TOKEN_CA_SUFFIX: _Wanted.of_token_ca,
        PROXY_SUFFIX: _Wanted.of_proxy,
    }
    find = wanted_for.get(volume.removeprefix(name))
    if name not in ends or find is None:
        return Blocker(Reason.POD_NOT_STARTED, f'volume "{volume}" cannot be mounted: {why}')
    return _explain_object(find(ends[name]), why, where=f'of the {name} in namespace "{namespace}"')


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The object that a volume is filled from."""

    kind: str
    name: str
    key: str
    purpose: str

    @classmethod
    def of_password(cls, server: Server) -> _Wanted:
        login = server.authentication if isinstance(server, MailAccount) else None
        ref = login.secret_ref if login else None
        if login is None or ref is None:  # the spec changed since the pod was made
            return cls("object", "?", "?", "password")
        keys = '" or "'.join(login.secret_keys.values())
        purpose = "OAuth2 credentials" if login.oauth2 else "password"
        return cls("Secret", ref.name, keys, purpose)

    @classmethod
    def of_ca(cls, server: Server) -> _Wanted:
        ref = server.tls.ca_ref
        if ref is None:  # the spec changed since the pod was made
            return cls("object", "?", "?", "CA certificates")
        return cls(ref.kind.value, ref.name, ref.key, "CA certificates")

    @classmethod
    def of_token_ca(cls, server: Server) -> _Wanted:
        oauth2 = server.authentication.oauth2 if isinstance(server, MailAccount) else None
        ref = oauth2.ca_ref if oauth2 else None
        purpose = "CA certificates for the token endpoint"
        if ref is None:  # as above
            return cls("object", "?", "?", purpose)
        return cls(ref.kind.value, ref.name, ref.key, purpose)

    @classmethod
    def of_client(cls, server: Server) -> _Wanted:
        ref = server.tls.client_certificate_ref
        if ref is None:  # as above
            return cls("object", "?", "?", "client certificate")
        return cls("Secret", ref.name, f'{ref.cert_key}" or "{ref.key_key}', "client certificate")

    @classmethod
    def of_proxy(cls, server: Server) -> _Wanted:
        ref = server.proxy.secret_ref if server.proxy else None
        if ref is None:  # as above
            return cls("object", "?", "?", "credentials for the proxy")
        keys = f'{ref.username_key}" or "{ref.password_key}'
        return cls("Secret", ref.name, keys, "credentials for the proxy")


def _explain_object(wanted: _Wanted, why: str, *, where: str) -> Blocker:
    secret = wanted.kind == CaRefKind.SECRET
    if "non-existent" in why:
        return Blocker(
            Reason.SECRET_KEY_NOT_FOUND if secret else Reason.CONFIG_MAP_NOT_FOUND,
            f'{wanted.kind} "{wanted.name}" with the {wanted.purpose} {where} has no key '
            f'"{wanted.key}": add it, and the pod starts by itself within two minutes',
        )
    if "not found" in why:
        return Blocker(
            Reason.SECRET_NOT_FOUND if secret else Reason.CONFIG_MAP_NOT_FOUND,
            f'{wanted.kind} "{wanted.name}" with the {wanted.purpose} {where} does not exist '
            f'(key "{wanted.key}"): create it, and the pod starts by itself within two minutes',
        )
    return Blocker(
        Reason.POD_NOT_STARTED,
        f'{wanted.kind} "{wanted.name}" with the {wanted.purpose} {where} cannot be mounted: {why}',
    )

"""Deterministic names: the same MailSync and run always give the same Job, so there is one only."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

from mailsync_api.endpoint import Server, Side

if TYPE_CHECKING:
    from mailsync_api.endpoint import AccountSpec
    from mailsync_api.spec import Accounts, MailSyncSpec

__all__ = [
    "job_name",
    "object_stem",
    "probe_job_name",
    "report_name",
    "server_hash",
    "servers_hash",
    "spec_hash",
]

MAX_JOB_NAME: Final = 63
"""Pods get the Job's name as a label's value, which may have 63 characters."""
_HASH_LENGTH: Final = 10
_MAX_RUN_DIGITS: Final = 10
_PROBE: Final = "-probe-"


def object_stem(*, name: str, uid: str) -> str:
    """Return what the names of all objects of a MailSync start with: at most 52 characters."""
    return _stem(name, uid, room=MAX_JOB_NAME - _MAX_RUN_DIGITS - 1)


def _stem(name: str, uid: str, *, room: int) -> str:
    # The object's name may have 253 characters and dots. What is cut is made up by the hash of
    # both; the UID in it keeps a deleted and recreated MailSync from meeting its former Jobs.
    digest = hashlib.sha256(f"{uid}/{name}".encode()).hexdigest()[:_HASH_LENGTH]
    return f"{name.replace('.', '-')[: room - _HASH_LENGTH - 1]}-{digest}"


def job_name(*, name: str, uid: str, run: int) -> str:
    """Return the name of the Job of a run: at most 63 characters, a valid DNS label."""
    return f"{object_stem(name=name, uid=uid)}-{run}"


def probe_job_name(*, name: str, uid: str, number: int) -> str:
    """Return the name of the Job of a probe: at most 63 characters, a valid DNS label."""
    stem = _stem(name, uid, room=MAX_JOB_NAME - len(_PROBE) - _MAX_RUN_DIGITS)
    return f"{stem}{_PROBE}{number}"


def report_name(*, name: str, uid: str) -> str:
    """Return the name of the ConfigMap with the last report and the resume state."""
    return f"{object_stem(name=name, uid=uid)}-report"


def spec_hash(spec: MailSyncSpec) -> str:
    """Return a hash of what a run goes by: both accounts, the folders and the mode.

    Fields at their default are left out, so that a release that adds a field with a default does
    not make every mailbox run again.
    """
    own = spec.model_dump(
        mode="json", by_alias=True, exclude_defaults=True, include={"folders", "mode"}
    )
    wire = own | {side.value: _wire(spec.account(side)) for side in Side}
    return _digest(wire)


def servers_hash(spec: MailSyncSpec, accounts: Accounts) -> str | None:
    """Return a hash of what the MailEndpoints of a spec stand for; None if it refers to none."""
    wire = {
        side.value: _server_wire(accounts.account(side))
        for side in Side
        if spec.account(side).endpoint_ref
    }
    return _digest(wire) if wire else None


def server_hash(server: Server) -> str:
    """Return a hash of a server and the policy for it."""
    return _digest(_server_wire(server))


def _server_wire(server: Server) -> dict[str, Any]:
    return server.model_dump(
        mode="json", by_alias=True, exclude_defaults=True, include=set(Server.model_fields)
    )


def _digest(wire: dict[str, Any]) -> str:
    text = json.dumps(wire, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _wire(account: AccountSpec) -> dict[str, Any]:
    # A changed MailEndpoint does not make its finished mailboxes run again: only its name counts.
    shown = account if account.endpoint_ref else account.on(None)
    return shown.model_dump(mode="json", by_alias=True, exclude_defaults=True)

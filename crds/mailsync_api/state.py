"""The resume state: each folder's numbers on both sides after a pass that is known to be complete.

One run writes it, the next one reads it: from ``--state FILE``, or from a ConfigMap in its pod. It
only ever saves work. Whatever is odd about it (another version, another mailbox, a changed spec, a
damaged byte) makes it no state at all, and the run compares both mailboxes in full.

Names of folders are not in it, only hashes of them: BLAKE2b with 15 bytes, keyed with the subject,
of the name at the source and the name at the destination. Who knows the accounts can still guess a
name and find it confirmed; it is no secret, it is only not lying about.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NamedTuple

from pydantic import Field, ValidationError

from mailsync_api.base import ApiModel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mailsync_api.endpoint import MailAccount
    from mailsync_api.job import JobInput

__all__ = [
    "STATE_BYTES",
    "STATE_VERSION",
    "FolderNumbers",
    "ResumeState",
    "StateUnusableError",
    "folder_key",
    "parse_state",
    "state_subject",
    "state_text",
]

STATE_VERSION: Final = 1
STATE_BYTES: Final = 720 * 1024
"""The largest state: beside it a ConfigMap, which holds 1 MiB in all, has room for a report."""
_MOST_FOLDERS: Final = 20_000
_NOT_THE_WORK: Final = frozenset(
    {"namespace", "name", "run", "run_type", "source", "destination", "mode"}
    | {"connections", "connections_origin", "pace"}
)
"""Fields of a run's input that do not change what a complete pass of a folder is."""


class StateUnusableError(ValueError):
    """The state is not one of this mailbox, this spec and this release; says why."""


_Uid = Annotated[int, Field(ge=1, lt=2**32)]
# UIDNEXT after the last possible UID.
_UidNext = Annotated[int, Field(ge=1, le=2**32)]
_Messages = Annotated[int, Field(ge=0, lt=2**32)]
# RFC 7162 section 7: mod-sequence-value is a positive 63-bit number; 0 is what a server that keeps
# none may say, and such a folder is not in a state.
_ModSeq = Annotated[int, Field(ge=1, lt=2**63)]
_Bytes = Annotated[int, Field(ge=0, lt=2**63)]


class FolderNumbers(NamedTuple):
    """One folder, as a list of numbers: 5,000 folders must fit."""

    source_uid_validity: _Uid
    source_uid_next: _UidNext
    source_messages: _Messages
    source_mod_seq: _ModSeq
    destination_uid_validity: _Uid
    destination_uid_next: _UidNext
    destination_messages: _Messages
    destination_mod_seq: _ModSeq
    size: _Bytes
    """Bytes of all messages, as the source tells them."""


_Key = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{20}$")]
_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


class ResumeState(ApiModel):
    """The file."""

    version: Literal[1] = STATE_VERSION
    """The format's version."""
    subject: _Digest
    """A hash of the accounts and of what of the spec a complete pass depends on."""
    folders: Annotated[dict[_Key, FolderNumbers], Field(max_length=_MOST_FOLDERS)]
    """Each folder's numbers by the hash of its names."""
    check: _Digest
    """A hash of all the rest: a damaged number must not look like another one."""


def state_subject(job: JobInput) -> str:
    """Return a hash of what a state is about: both mailboxes, and the spec as far as it counts.

    A field that a later release adds to the input counts as soon as it is not at its default.
    """
    wire = job.model_dump(
        mode="json", by_alias=True, exclude_defaults=True, exclude=set(_NOT_THE_WORK)
    )
    wire |= {"source": _who(job.source), "destination": _who(job.destination)}
    return _hash(_json(wire))


def _who(account: MailAccount) -> list[Any]:
    return [account.host.lower(), list(account.ports), account.mailbox]


def folder_key(subject: str, source: bytes, destination: bytes) -> str:
    """Return what stands for a folder: a hash of its names, as each server writes them.

    The destination's is part of it, so that a folder which goes elsewhere is another one.
    """
    names = b"%d:%b%b" % (len(source), source, destination)
    digest = hashlib.blake2b(names, digest_size=15, key=bytes.fromhex(subject)).digest()
    return base64.urlsafe_b64encode(digest).decode("ascii")


def state_text(subject: str, folders: Mapping[str, FolderNumbers]) -> tuple[str, int]:
    """Return a state as it is kept, and how many folders had no room in it.

    Every part of a state is a state. Of too many folders the largest are kept: they cost most.
    """
    kept = sorted(folders.items(), key=lambda one: -one[1].source_messages)[:_MOST_FOLDERS]
    while True:
        text = _json(_sealed(subject, dict(sorted(kept))))
        if len(text) <= STATE_BYTES:
            return text, len(folders) - len(kept)
        kept = kept[: min(len(kept) * STATE_BYTES // len(text), len(kept) - 1)]


def parse_state(text: str | bytes, *, subject: str) -> dict[str, FolderNumbers]:
    """Return the folders of a state.

    Raises
    ------
    StateUnusableError
        It is none, or none for this subject; the message says what is odd, without its content.
    """
    if len(text) > STATE_BYTES:
        raise StateUnusableError(f"it has more than {STATE_BYTES} bytes")
    try:
        wire = json.loads(text)
    except (ValueError, RecursionError):
        raise StateUnusableError("it is not JSON") from None
    if not isinstance(wire, dict):
        raise StateUnusableError("it is not a JSON object")
    if wire.get("version") != STATE_VERSION or isinstance(wire["version"], bool):
        raise StateUnusableError(f"its version is not {STATE_VERSION}")
    try:
        state = ResumeState.model_validate(wire, strict=True)
    except ValidationError as error:
        fields = sorted({str(one["loc"][0]) for one in error.errors() if one["loc"]})
        raise StateUnusableError(f"bad values in: {', '.join(fields) or 'all of it'}") from None
    if state.check != _sealed(state.subject, state.folders)["check"]:
        raise StateUnusableError("it is damaged: its content and its check differ")
    if state.subject != subject:
        raise StateUnusableError("it is of another mailbox, or of a spec that has changed since")
    return state.folders


def _sealed(subject: str, folders: Mapping[str, FolderNumbers]) -> dict[str, Any]:
    wire: dict[str, Any] = {"version": STATE_VERSION, "subject": subject, "folders": folders}
    return {**wire, "check": _hash(_json(wire))}


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _json(value: Any) -> str:  # noqa: ANN401  any JSON
    return json.dumps(value, sort_keys=True, separators=(",", ":"))

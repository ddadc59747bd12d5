"""The spec of a MailSync: what a user asks for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final, Self

from pydantic import AfterValidator, Field, model_validator

from mailsync_api.base import ApiModel, PrintableText
from mailsync_api.endpoint import AccountSpec, MailAccount, Server, Side
from mailsync_api.limits import Limits
from mailsync_api.podtemplate import PodTemplate
from mailsync_api.schema import cel

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "REGEX_PREFIX",
    "Accounts",
    "FolderSelection",
    "MailSyncSpec",
    "Mode",
    "RetryPolicy",
    "Trigger",
]

REGEX_PREFIX = "re:"
"""What tells a regular expression from a glob in ``folders``."""


class Mode(StrEnum):
    """What a run does."""

    SYNC = "Sync"
    DRY_RUN = "DryRun"


def _check_pattern(value: str) -> str:
    if value.startswith(REGEX_PREFIX):
        try:
            re.compile(value.removeprefix(REGEX_PREFIX))
        except re.error as error:
            msg = f"{value!r} is not a regular expression: {error}"
            raise ValueError(msg) from None
    return value


FolderPattern = Annotated[
    PrintableText,
    Field(min_length=1, max_length=1024),
    AfterValidator(_check_pattern),
]


class FolderSelection(ApiModel):
    """Which folders of the source are migrated.

    Names are written as people read them: Unicode, levels separated by a slash whatever the server
    uses, the personal namespace's prefix left out.
    """

    include: Annotated[list[FolderPattern], Field(max_length=200)] = []
    """Folders to migrate; all when empty. Globs: ? is one character, * any within one level, **
    any with all levels below; "Archive/**" is Archive and all below it. With the prefix re: a
    regular expression that must match the whole name."""
    exclude: Annotated[list[FolderPattern], Field(max_length=200)] = []
    """Folders to leave out, in the same notation; exclude wins over include."""


class Trigger(ApiModel):
    """When further runs start. The first run starts by itself."""

    manual: Annotated[str, Field(min_length=1, max_length=253)] | None = None
    """Any text: each time it is changed, one more run starts (after the present one). The run is
    done when status.lastManualSync equals it."""


_RETRY_TOO_SOON: Final = (
    "credentialsRetrySeconds must be 0 (never by itself) or at least 3600: servers lock accounts "
    "after a few refused logins"
)


class RetryPolicy(ApiModel):
    """What happens after a failure that time may heal."""

    model_config = cel(
        (
            "self.maxBackoffSeconds >= self.backoffSeconds",
            "maxBackoffSeconds must not be less than backoffSeconds",
        ),
        (
            "self.credentialsRetrySeconds == 0 || self.credentialsRetrySeconds >= 3600",
            _RETRY_TOO_SOON,
        ),
    )

    backoff_limit: Annotated[int, Field(ge=0, le=20)] = 3
    """How often a run's pod is started again after it died or lost its connection."""
    max_consecutive_failures: Annotated[int, Field(ge=1, le=1000)] = 10
    """How many runs in a row may fail before the MailSync is given up (Succeeded=False)."""
    backoff_seconds: Annotated[int, Field(ge=1, le=86400)] = 60
    """The wait after the first failed run, in seconds; it doubles with each further one."""
    max_backoff_seconds: Annotated[int, Field(ge=1, le=604800)] = 3600
    """The longest wait between failed runs, in seconds."""
    credentials_retry_seconds: Annotated[int, Field(ge=0, le=604800)] = 3600
    """How long after a refused login a new run tries the credentials again by itself, in seconds:
    one login, 3600 or more; the wait doubles each time, up to a day. 0 switches it off: then only a
    new trigger.manual or a changed spec starts another run."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if 0 < self.credentials_retry_seconds < 3600:
            raise ValueError(f"{_RETRY_TOO_SOON} (is {self.credentials_retry_seconds})")
        if self.max_backoff_seconds < self.backoff_seconds:
            msg = (
                f"retry.maxBackoffSeconds ({self.max_backoff_seconds}) must not be less than "
                f"retry.backoffSeconds ({self.backoff_seconds})"
            )
            raise ValueError(msg)
        return self


def _mailbox(side: str) -> str:
    """Return the CEL expression for the user whose mailbox is opened."""
    at = f"self.{side}.authentication"
    return (
        f"(has({at}.authorizationIdentity) ? {at}.authorizationIdentity"
        f" : has({at}.proxyAuthUser) ? {at}.proxyAuthUser : self.{side}.username)"
    )


def _port(side: str, first: bool) -> str:  # noqa: FBT001  one of the two ports, for CEL alone
    """Return the CEL form of ``Server.ports``: its first, or its last."""
    account = f"self.{side}"
    modes = "['Implicit', 'Auto', 'Opportunistic']" if first else "['Implicit']"
    mode = f"(has({account}.tls) ? {account}.tls.mode : 'Implicit')"
    return f"(has({account}.port) ? {account}.port : {mode} in {modes} ? 993 : 143)"


_SAME: Final = "source and destination are the same mailbox"
_OTHER_USER: Final = f"{_mailbox('source')} != {_mailbox('destination')}"


class MailSyncSpec(ApiModel):
    """One mailbox to migrate: from which account to which, how, and when."""

    model_config = cel(
        (
            "!has(self.source.host) || !has(self.destination.host)"
            " || self.source.host.lowerAscii() != self.destination.host.lowerAscii()"
            f" || {_OTHER_USER} || ("
            + " && ".join(
                f"{_port('source', first)} != {_port('destination', other)}"
                for first in (True, False)
                for other in (True, False)
            )
            + ")",
            f"{_SAME} (host, port and user are equal)",
        ),
        (
            "!has(self.source.endpointRef) || !has(self.destination.endpointRef)"
            " || self.source.endpointRef.name != self.destination.endpointRef.name"
            f" || {_OTHER_USER}",
            f"{_SAME} (endpointRef and user are equal)",
        ),
    )

    source: AccountSpec
    """The account to copy from. It is opened read-only and never changed."""
    destination: AccountSpec
    """The account to copy to. Messages are added, and their flags; nothing is ever deleted."""
    folders: FolderSelection = FolderSelection()
    """Which folders are migrated: all by default."""
    mode: Mode = Mode.SYNC
    """Sync copies. DryRun connects, logs in and compares both sides, reports what it would copy and
    changes nothing."""
    limits: Limits = Limits()
    """How fast and how much is copied, besides what the MailEndpoints allow: the stricter holds."""
    suspend: bool = False
    """True stops a running pass (its pod is told to finish) and starts none until it is false
    again."""
    trigger: Trigger = Trigger()
    """When further runs start."""
    retry: RetryPolicy = RetryPolicy()
    """What happens after a failure that time may heal."""
    active_deadline_seconds: Annotated[int, Field(ge=60, le=31536000)] | None = None
    """How long one run may take, in seconds; no limit by default."""
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=31536000)] = 86400
    """How long a finished run's Job and pod (and with it its log) are kept, in seconds."""
    successful_runs_history_limit: Annotated[int, Field(ge=1, le=5)] = 3
    """How many successful runs status.runs lists."""
    failed_runs_history_limit: Annotated[int, Field(ge=1, le=5)] = 5
    """How many failed runs status.runs lists."""
    pod_template: PodTemplate = PodTemplate()
    """Where and with what resources the pods run."""

    @model_validator(mode="after")
    def _two_mailboxes(self) -> Self:
        a, b = self.source, self.destination
        if a.endpoint_ref is None and b.endpoint_ref is None:
            Accounts.of(self, {})
        elif a.endpoint_ref == b.endpoint_ref and a.mailbox == b.mailbox:
            raise ValueError(f"{_SAME}: {a.mailbox!r} at the same endpointRef")
        return self

    def account(self, side: Side) -> AccountSpec:
        """Return one side."""
        return self.source if side is Side.SOURCE else self.destination


@dataclass(frozen=True, slots=True)
class Accounts:
    """Both accounts of a MailSync, complete."""

    source: MailAccount
    destination: MailAccount

    @classmethod
    def of(cls, spec: MailSyncSpec, servers: Mapping[str, Server]) -> Accounts:
        """Return the accounts of a spec.

        Parameters
        ----------
        servers
            What the MailEndpoints of the namespace stand for, by name.

        Raises
        ------
        ValueError
            An ``endpointRef`` leads nowhere, or both accounts are the same mailbox.
        """
        ends = []
        for side in Side:
            account = spec.account(side)
            ref = account.endpoint_ref
            try:
                ends.append(account.on(servers.get(ref.name) if ref else None))
            except ValueError as error:
                raise ValueError(f"spec.{side}.endpointRef: {error}") from None
        a, b = ends
        shared = [port for port in a.ports if port in b.ports]
        if shared and (a.host.lower(), a.mailbox) == (b.host.lower(), b.mailbox):
            raise ValueError(f"{_SAME}: {a.mailbox!r} at {a.host}:{shared[0]}")
        return cls(a, b)

    def account(self, side: Side) -> MailAccount:
        """Return one side."""
        return self.source if side is Side.SOURCE else self.destination

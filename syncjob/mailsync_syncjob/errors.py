"""The engine's errors: each knows its exit code, so its class says whether trying again can help.

::

    EngineError
    ├── UsageError                64  the command line is wrong
    ├── ConfigurationError        78  the manifest or its Secrets cannot be used
    ├── UnreachableError          69  no connection, or the server is temporarily unable
    ├── ConnectionLostError       74  the connection broke; worth connecting again
    │   ├── FolderGoneError       74  the destination folder was deleted meanwhile
    │   └── FolderReplacedError   74  the source folder is no longer the one that was compared
    ├── ThrottledError            75  the server asked to wait
    ├── OverQuotaError            73  the destination is full
    ├── TLSPolicyError            76  no connection as safe as the policy demands
    ├── CredentialsError          77  a server refused the credentials
    │   └── TokenRefusedError     77  a mail server refused an access token
    ├── ProtocolError             81  a server broke the protocol, or attacks
    ├── InterruptedRunError      143  SIGTERM
    └── CommandRefusedError       70  one command was answered NO or BAD; mostly handled
"""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

from mailsync_api.conditions import Reason
from mailsync_api.exitcodes import EXIT_TABLE, ExitCode

if TYPE_CHECKING:
    from mailsync_syncjob.party import Party

__all__ = [
    "CommandRefusedError",
    "ConfigurationError",
    "ConnectionLostError",
    "CredentialsError",
    "EngineError",
    "FolderGoneError",
    "FolderReplacedError",
    "InterruptedRunError",
    "OverQuotaError",
    "ProtocolError",
    "TLSPolicyError",
    "ThrottledError",
    "TokenRefusedError",
    "UnreachableError",
    "UsageError",
    "crash_message",
]


# RFC 5530 section 3: UNAVAILABLE, a subsystem is down; INUSE, another session is at it.
_TEMPORARY: Final = frozenset({"UNAVAILABLE", "INUSE", "SERVERBUG"})


class EngineError(Exception):
    """Anything that ends a run in an orderly way.

    Attributes
    ----------
    side
        The server it is about, if it is about one: a side of a run, or the server of a probe.
    reason
        At least as fine as the exit code's own.
    retry_after_seconds
        How long the server asked to wait, if it did.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.INTERNAL

    def __init__(
        self,
        message: str,
        *,
        side: Party | None = None,
        reason: Reason | None = None,
        retry_after_seconds: int | None = None,
    ) -> None:
        super().__init__(message)
        self.side = side
        self.reason = reason or EXIT_TABLE[self.exit_code].reason
        self.retry_after_seconds = retry_after_seconds

    @property
    def message(self) -> str:
        """What happened and what to do about it, for people."""
        return str(self.args[0])


class UsageError(EngineError):
    """The command line is wrong."""

    exit_code = ExitCode.USAGE


class ConfigurationError(EngineError):
    """The manifest, the Job's input or its Secrets cannot be used as they are."""

    exit_code = ExitCode.CONFIGURATION


class UnreachableError(EngineError):
    """No connection came about in time, or the server says that it is temporarily unable."""

    exit_code = ExitCode.UNREACHABLE


class ConnectionLostError(EngineError):
    """A connection broke or stood still; connecting again may help.

    Attributes
    ----------
    said
        Whether the server announced it (BYE).
    expired
        Whether it said that the session's token has ended.
    """

    exit_code = ExitCode.CONNECTION_LOST

    def __init__(
        self,
        message: str,
        *,
        side: Party | None = None,
        said: bool = False,
        expired: bool = False,
    ) -> None:
        super().__init__(message, side=side)
        self.said = said
        self.expired = expired


class FolderGoneError(ConnectionLostError):
    """The destination folder was deleted while messages were copied to it.

    The source is amid sending then, so both connections are made again, and the folder with them.
    """


class FolderReplacedError(ConnectionLostError):
    """The source folder cannot be opened, or is no longer the one that was compared.

    Its UIDs are those of other messages now, so nothing more is copied by them.
    """


class ThrottledError(EngineError):
    """The server asked to wait."""

    exit_code = ExitCode.THROTTLED


class OverQuotaError(EngineError):
    """The destination mailbox is full."""

    exit_code = ExitCode.OVER_QUOTA


class TLSPolicyError(EngineError):
    """The connection is not as safe as the policy demands; nothing was sent on it."""

    exit_code = ExitCode.TLS_POLICY


class CredentialsError(EngineError):
    """The server refused the credentials; the same ones are never tried twice."""

    exit_code = ExitCode.CREDENTIALS


class TokenRefusedError(CredentialsError):
    """The mail server refused an access token.

    Attributes
    ----------
    fresh
        Whether the token was got for this login. One that was older may have ended or been revoked
        since, so that a login with a new one is worth a try.
    """

    def __init__(self, message: str, *, side: Party, fresh: bool) -> None:
        super().__init__(message, side=side, reason=Reason.TOKEN_REFUSED)
        self.fresh = fresh


class ProtocolError(EngineError):
    """The server broke the protocol in a way that no cautious client goes on after."""

    exit_code = ExitCode.PROTOCOL


class InterruptedRunError(EngineError):
    """The run was told to stop."""

    exit_code = ExitCode.TERMINATED


class CommandRefusedError(EngineError):
    """The server answered a command with NO or BAD.

    Attributes
    ----------
    code
        The response code in upper case without its arguments (RFC 5530), for example TRYCREATE;
        empty when there was none.
    text
        The server's words, made safe to show.
    bad
        Whether it was BAD (a fault of the command) rather than NO.
    """

    def __init__(
        self, command: str, *, side: Party | None, code: str, text: str, bad: bool = False
    ) -> None:
        super().__init__(f"the server refused {command}: {text}", side=side)
        self.command = command
        self.code = code
        self.text = text
        self.bad = bad

    @property
    def temporary(self) -> bool:
        """Whether the server says that the same command may succeed later."""
        return self.code in _TEMPORARY


def crash_message(error: Exception) -> str:
    """Return the kind and the place of an error that nobody expected.

    Its own words, and a traceback with them, could hold mail or a password.
    """
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
    return f"an error of the engine: {type(error).__name__} at {place}"

"""Condition types, condition reasons and Event reasons: one list for writers and readers."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from mailsync_api.base import ApiModel, Count, MessageText, Time

__all__ = [
    "Condition",
    "ConditionStatus",
    "ConditionType",
    "EndpointConditionType",
    "EventReason",
    "Reason",
]


class ConditionType(StrEnum):
    """The conditions of a MailSync."""

    SUCCEEDED = "Succeeded"
    """True once finished for good, False once given up; its reason is the one-word state."""
    READY = "Ready"
    """True while the last pass succeeded and nothing blocks the next one."""
    STALLED = "Stalled"
    """True when only a person can help (kstatus)."""
    SYNCED = "Synced"
    """True when the destination held everything of the source at ``lastSyncTime``."""
    TLS_SECURED = "TLSSecured"
    """True when both connections were encrypted and met the policy."""


class EndpointConditionType(StrEnum):
    """The conditions of a MailEndpoint."""

    READY = "Ready"
    """True while the last probe met the policy."""
    REACHABLE = "Reachable"
    """True when the server answered the last probe."""
    TLS_SECURED = "TLSSecured"
    """True when the connection was encrypted and met the policy."""
    CERTIFICATE_EXPIRING = "CertificateExpiring"
    """True when the server's certificate ends soon, or has ended."""


class ConditionStatus(StrEnum):
    """A condition's status."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Reason(StrEnum):
    """Reasons of conditions: states, and causes of failures."""

    # States, in the order of a life.
    PENDING = "Pending"
    QUEUED = "Queued"
    INITIAL_SYNC = "InitialSync"
    DELTA_SYNC = "DeltaSync"
    BACKING_OFF = "BackingOff"
    THROTTLED = "Throttled"
    SUSPENDED = "Suspended"
    COMPLETED = "Completed"
    AS_EXPECTED = "AsExpected"
    NOT_YET_KNOWN = "NotYetKnown"
    DRY_RUN = "DryRun"
    WAITING_FOR_ENDPOINT = "WaitingForEndpoint"

    # What a MailSync waits for at its MailEndpoint, where that has no better word.
    ENDPOINT_NOT_FOUND = "EndpointNotFound"
    ENDPOINT_NOT_READY = "EndpointNotReady"

    # Of probes.
    PROBE_MET_POLICY = "ProbeMetPolicy"
    PROBE_FAILED = "ProbeFailed"
    ANSWERED = "Answered"
    EXPIRES_SOON = "ExpiresSoon"

    # What holds a pod back.
    SECRET_NOT_FOUND = "SecretNotFound"  # noqa: S105  a reason, not a secret
    SECRET_KEY_NOT_FOUND = "SecretKeyNotFound"  # noqa: S105  a reason, not a secret
    CONFIG_MAP_NOT_FOUND = "ConfigMapNotFound"
    IMAGE_PULL_FAILED = "ImagePullFailed"
    UNSCHEDULABLE = "Unschedulable"
    POD_NOT_STARTED = "PodNotStarted"
    JOB_REFUSED = "JobRefused"

    # How a run failed: one for each exit code, and finer ones below.
    INVALID_ARGUMENTS = "InvalidArguments"
    SKIPPED_ITEMS = "SkippedItems"
    UNREACHABLE = "Unreachable"
    PROXY_UNREACHABLE = "ProxyUnreachable"
    PROXY_FORBIDS = "ProxyForbids"
    PROXY_CREDENTIALS_REFUSED = "ProxyCredentialsRefused"
    INTERNAL_ERROR = "InternalError"
    DESTINATION_OVER_QUOTA = "DestinationOverQuota"
    CONNECTION_LOST = "ConnectionLost"
    DAILY_LIMIT_REACHED = "DailyLimitReached"
    TLS_POLICY_NOT_MET = "TLSPolicyNotMet"
    CREDENTIALS_REFUSED = "CredentialsRefused"
    TOKEN_REFUSED = "TokenRefused"  # noqa: S105  a reason, not a token
    TOKEN_REVOKED = "TokenRevoked"  # noqa: S105  as above
    INVALID_CONFIGURATION = "InvalidConfiguration"
    MAILBOX_LOCKED = "MailboxLocked"
    SAFETY_STOP = "SafetyStop"
    PROTOCOL_VIOLATION = "ProtocolViolation"
    INTERRUPTED = "Interrupted"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    JOB_LOST = "JobLost"

    # Finer: which part of the TLS policy was not met (exit code 76).
    STARTTLS_NOT_OFFERED = "StartTLSNotOffered"
    STARTTLS_REFUSED = "StartTLSRefused"
    ALREADY_AUTHENTICATED = "AlreadyAuthenticated"
    CERTIFICATE_NOT_TRUSTED = "CertificateNotTrusted"
    CERTIFICATE_NAME_MISMATCH = "CertificateNameMismatch"
    CERTIFICATE_EXPIRED = "CertificateExpired"
    CERTIFICATE_NOT_YET_VALID = "CertificateNotYetValid"
    CERTIFICATE_TOO_WEAK = "CertificateTooWeak"
    CERTIFICATE_PIN_MISMATCH = "CertificatePinMismatch"
    CLIENT_CERTIFICATE_REFUSED = "ClientCertificateRefused"
    TLS_HANDSHAKE_FAILED = "TLSHandshakeFailed"
    TLS_NOT_SPOKEN = "TLSNotSpoken"

    # TLSSecured.
    ENCRYPTED = "Encrypted"
    CLEAR_TEXT = "ClearText"
    CERTIFICATE_NOT_VERIFIED = "CertificateNotVerified"


class EventReason(StrEnum):
    """Reasons of the Events that the operator writes, on transitions only."""

    RUN_STARTED = "RunStarted"
    RUN_SUCCEEDED = "RunSucceeded"
    RUN_FAILED = "RunFailed"
    RUN_THROTTLED = "RunThrottled"
    RUN_BLOCKED = "RunBlocked"
    STALLED = "Stalled"
    SUSPENDED = "Suspended"
    RESUMED = "Resumed"
    CLEAR_TEXT = "ClearText"
    INVALID_SPEC = "InvalidSpec"
    WAITING_FOR_ENDPOINT = "WaitingForEndpoint"

    # Of MailEndpoints.
    ENDPOINT_READY = "EndpointReady"
    ENDPOINT_UNREACHABLE = "EndpointUnreachable"
    ENDPOINT_REFUSED = "EndpointRefused"
    TLS_NOT_SECURED = "TLSNotSecured"
    CERTIFICATE_EXPIRING = "CertificateExpiring"
    PROBE_FAILED = "ProbeFailed"


class Condition(ApiModel):
    """One condition, as metav1.Condition."""

    type: Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z]+$")]
    """The condition's name."""
    status: ConditionStatus
    """True, False or Unknown."""
    reason: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z]+$")]
    """Why, in one word for programs."""
    message: MessageText = ""
    """Why, and what to do about it, for people."""
    last_transition_time: Time
    """When the status last changed."""
    observed_generation: Count | None = None
    """The generation of the spec that this condition speaks of."""

"""What each state says in the conditions of a MailEndpoint."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from mailsync_api.base import format_time
from mailsync_api.conditions import EndpointConditionType, Reason
from mailsync_api.endpoint import TLSMode, TLSVerify
from mailsync_operator.claims import verified
from mailsync_operator.conditions import Claim, false, true, unknown
from mailsync_operator.endpoints.ending import Outcome

if TYPE_CHECKING:
    from datetime import datetime

    from mailsync_api.endpointstatus import MailEndpointStatus, ProbeRecord
    from mailsync_api.mailendpoint import MailEndpointSpec
    from mailsync_api.status import TLSFacts

__all__ = ["certificate", "invalid", "not_yet_known", "probe_impossible", "probed", "suspended"]

_READY: Final = EndpointConditionType.READY
_REACHABLE: Final = EndpointConditionType.REACHABLE
_TLS: Final = EndpointConditionType.TLS_SECURED
_EXPIRING: Final = EndpointConditionType.CERTIFICATE_EXPIRING


def invalid(error: str) -> tuple[Claim, ...]:
    """The spec cannot be carried out."""  # noqa: D401  a state, not a command
    text = f"{error.rstrip('. ')}. Correct the spec, and it is probed by itself"
    return (false(_READY, Reason.INVALID_CONFIGURATION, text),)


def not_yet_known() -> tuple[Claim, ...]:
    """Nothing is known of this server yet."""
    text = "the server has not been probed yet"
    return tuple(unknown(kind, Reason.NOT_YET_KNOWN, text) for kind in EndpointConditionType)


def suspended() -> tuple[Claim, ...]:
    """Nobody looks, on purpose."""
    text = "spec.probe.suspend is true: nothing is probed, and runs start without it"
    return (unknown(_READY, Reason.SUSPENDED, text),)


def probe_impossible(reason: str, message: str) -> tuple[Claim, ...]:
    """A probe could not be carried out, and no earlier one was."""  # noqa: D401  a state
    return (unknown(_READY, reason, message),)


def probed(
    outcome: Outcome, record: ProbeRecord, tls: TLSFacts | None, *, spec: MailEndpointSpec
) -> tuple[Claim, ...]:
    """A probe said something of the server."""  # noqa: D401  a state, not a command
    reason, text = record.reason, record.message
    match outcome:
        case Outcome.MET:
            return (
                true(_READY, Reason.PROBE_MET_POLICY, _ready_text(spec)),
                true(_REACHABLE, Reason.ANSWERED, "the server answered the last probe"),
                _secured(tls),
            )
        case Outcome.UNREACHABLE:
            return (
                false(_READY, reason, text),
                false(_REACHABLE, reason, text),
                unknown(_TLS, reason, "the server could not be reached"),
            )
        case Outcome.TLS_REFUSED:
            return (
                false(_READY, reason, text),
                true(_REACHABLE, Reason.ANSWERED, "the server answered the last probe"),
                false(_TLS, reason, text),
            )
        case Outcome.REFUSED:
            return (
                false(_READY, reason, text),
                true(_REACHABLE, Reason.ANSWERED, "the server answered the last probe"),
                unknown(_TLS, reason, text),
            )
        case Outcome.MISCONFIGURED:
            return (
                false(_READY, reason, text),
                unknown(_REACHABLE, reason, text),
                unknown(_TLS, reason, text),
            )
        case Outcome.NOTHING:
            return ()


def _ready_text(spec: MailEndpointSpec) -> str:
    text = "the last probe met the policy"
    return f"{text}. {spec.info.title}: {spec.info.note}" if spec.info.note else text


def _secured(tls: TLSFacts | None) -> Claim:
    if tls is None:
        return unknown(_TLS, Reason.NOT_YET_KNOWN, "the probe did not say what was negotiated")
    if not tls.secured:
        why = "as tls.mode None asks for"
        if tls.mode is TLSMode.OPPORTUNISTIC:
            why = "as the server does not offer TLS, and tls.mode Opportunistic lets it"
        return false(_TLS, Reason.CLEAR_TEXT, f"clear text, {why}")
    if tls.verified is TLSVerify.NONE and not tls.pinned:
        text = "the server's certificate is not verified"
        return false(_TLS, Reason.CERTIFICATE_NOT_VERIFIED, text)
    text = (
        f"{tls.protocol or 'TLS'}, {tls.cipher or 'unknown cipher'}, "
        f"certificate verified ({verified(tls)})"
    )
    return true(_TLS, Reason.ENCRYPTED, text)


def certificate(
    status: MailEndpointStatus, *, days: int, now: datetime
) -> tuple[Claim, datetime | None]:
    """Return what is to be said of the certificate's end, and when that changes."""
    end = status.certificate.not_after_time if status.certificate else None
    if end is None:
        text = "the end of the server's certificate is not known"
        return unknown(_EXPIRING, Reason.NOT_YET_KNOWN, text), None
    at = format_time(end)
    if now >= end:
        text = f"the server's certificate ended at {at}: renew it"
        return true(_EXPIRING, Reason.CERTIFICATE_EXPIRED, text), None
    warning = end - timedelta(days=days)
    if now >= warning:
        text = (
            f"the server's certificate ends at {at}, in less than {days} days: renew it, for no "
            "run starts afterwards"
        )
        return true(_EXPIRING, Reason.EXPIRES_SOON, text), end
    text = f"the server's certificate ends at {at}"
    return false(_EXPIRING, Reason.AS_EXPECTED, text), warning

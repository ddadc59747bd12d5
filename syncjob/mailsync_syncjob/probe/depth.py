"""What only people ask for: which TLS versions there are, and what to write into the manifest.

Both cost a few connections more; nobody logs in on them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from mailsync_api.endpoint import TLSMode, TLSVersion
from mailsync_syncjob.errors import EngineError, InterruptedRunError, UnreachableError
from mailsync_syncjob.imap.ways import Way, along
from mailsync_syncjob.probe.advice import advise, first_policy, next_policy
from mailsync_syncjob.probe.survey import unrefusing

if TYPE_CHECKING:
    from mailsync_api.endpoint import TLSPolicy
    from mailsync_syncjob.probe.advice import Advice
    from mailsync_syncjob.probe.findings import Findings, Tried
    from mailsync_syncjob.probe.survey import Survey

__all__ = ["find_advice", "find_versions"]

_MOST_POLICIES: Final = 6


def find_versions(survey: Survey, findings: Findings) -> dict[TLSVersion, bool | None]:
    """Return which TLS versions the server has, by trying each; None where that is not known."""
    best = _best(findings)
    if best is None or best.way.mode is TLSMode.NONE:
        return {}
    return {version: _has(survey, best.way, version) for version in TLSVersion}


def _has(survey: Survey, way: Way, version: TLSVersion) -> bool | None:
    target = along(unrefusing(survey.target), way)
    update = {"min_version": version, "max_version": version}
    tls = target.account.tls.model_copy(update=update)
    account = target.account.model_copy(update={"tls": tls})
    try:
        survey.connector().shake_hands(replace(target, account=account)).close()
    except InterruptedRunError:
        raise
    except UnreachableError:
        # Some servers end a handshake that they do not like without a word.
        return False if survey.reached else None
    except EngineError:
        return False
    return True


def find_advice(
    survey: Survey, findings: Findings, versions: dict[TLSVersion, bool | None]
) -> Advice | None:
    """Return the safest policy that the server meets, tried on it; None if there is none."""
    best = _best(findings)
    if best is None:
        return None
    host, way = survey.target.account.host, best.way
    if way.mode is TLSMode.NONE:
        return advise(host, way, first_policy(way, survey.target.account.tls), shown=None)
    newest = max((v for v, has in versions.items() if has), default=None)
    policy: TLSPolicy | None = first_policy(way, survey.target.account.tls)
    for _ in range(_MOST_POLICIES):
        if policy is None:
            return None
        error = _refused(survey, way, policy)
        if error is None:
            return advise(host, way, policy, shown=best.shown)
        policy = next_policy(policy, error.reason, shown=best.shown, newest=newest)
    return None


def _refused(survey: Survey, way: Way, policy: TLSPolicy) -> EngineError | None:
    """Return why a server does not meet a policy."""
    target = survey.target
    account = target.account.model_copy(update={"tls": policy, "port": way.port})
    ca_pem = target.ca_pem if policy.ca_ref is not None else None
    tried = replace(target, account=account, ca_pem=ca_pem)
    try:
        survey.connector().connect(tried).channel.wire.close()
    except InterruptedRunError:
        raise
    except EngineError as error:
        return error
    return None


def _best(findings: Findings) -> Tried | None:
    """Return the way to write down: TLS from the start, else STARTTLS, else clear text."""
    order = (TLSMode.IMPLICIT, TLSMode.START_TLS, TLSMode.NONE)
    offered = sorted(
        (each for each in findings.tried if each.offered), key=lambda t: order.index(t.way.mode)
    )
    return offered[0] if offered else None

"""The entry point: ``mailsync-operator``."""

from __future__ import annotations

import logging
import os
import sys

import kopf
from prometheus_client import disable_created_metrics

from mailsync_api.process import keep_memory_private
from mailsync_operator import logs
from mailsync_operator.errors import ClusterError
from mailsync_operator.handlers import build_registry
from mailsync_operator.runtime import Runtime
from mailsync_operator.settings import read_settings

__all__ = ["main"]

_log = logging.getLogger(__name__)


def main() -> None:
    """Run until SIGTERM; the exit code is 0 then, and 1 if it failed."""
    keep_memory_private()  # the token of its ServiceAccount, and what pods' logs say
    settings = read_settings(sys.argv[1:], os.environ)
    logs.configure(style=settings.log_format, level=settings.log_level)
    # Each counter would come with a second series that says when it began.
    disable_created_metrics()  # type: ignore[no-untyped-call]  # prometheus-client has no types here
    try:
        kopf.run(
            registry=build_registry(Runtime(settings)),
            standalone=True,
            clusterwide=not settings.namespaces,
            namespaces=settings.namespaces,
            liveness_endpoint=f"http://0.0.0.0:{settings.health_port}/healthz",
        )
    except Exception as error:  # noqa: BLE001  the last word before the pod is started again
        known = _own_error(error)
        _log.critical("%s", known or error, exc_info=None if known else error)
        sys.exit(1)


def _own_error(error: BaseException | None) -> Exception | None:
    """Return the error of ours, or of the system, behind what kopf raised."""
    while error is not None:
        if isinstance(error, ClusterError | OSError):
            return error
        error = error.__cause__
    return None

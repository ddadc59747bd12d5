"""The entry point: ``mailsync-operator``."""

from __future__ import annotations

import os
import sys

import kopf

from mailsync_operator import logs
from mailsync_operator.handlers import build_registry
from mailsync_operator.runtime import Runtime
from mailsync_operator.settings import read_settings

__all__ = ["main"]


def main() -> None:
    """Run until SIGTERM; the exit code is 0 then, and 1 if it failed."""
    settings = read_settings(sys.argv[1:], os.environ)
    logs.configure(style=settings.log_format, level=settings.log_level)
    kopf.run(
        registry=build_registry(Runtime(settings)),
        standalone=True,
        clusterwide=not settings.namespaces,
        namespaces=settings.namespaces,
        liveness_endpoint=f"http://0.0.0.0:{settings.health_port}/healthz",
    )

"""The HTTP server for /metrics and /readyz; kopf has its own for liveness."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web
from prometheus_client.exposition import choose_encoder

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import CollectorRegistry

__all__ = ["MetricsServer"]


class MetricsServer:
    """Serves what monitoring and the readiness probe ask for.

    It runs in the operator's own event loop, as the metrics read what belongs to that loop.
    """

    def __init__(self, registry: CollectorRegistry, *, port: int, ready: Callable[[], str]) -> None:
        self._registry = registry
        self._port = port
        self._ready = ready
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Start serving.

        Raises
        ------
        OSError
            The port is taken.
        """
        app = web.Application()
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/readyz", self._readyz)
        self._runner = web.AppRunner(
            app, handle_signals=False, shutdown_timeout=1.0, access_log=None
        )
        await self._runner.setup()
        # All interfaces of the pod: kubelet and Prometheus come from outside of it.
        await web.TCPSite(self._runner, None, self._port).start()

    async def stop(self) -> None:
        """Stop serving."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _metrics(self, request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(self._registry), headers={"Content-Type": content_type})

    async def _readyz(self, request: web.Request) -> web.Response:
        del request
        why_not = self._ready()
        return web.Response(text=why_not or "ok", status=503 if why_not else 200)

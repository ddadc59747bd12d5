"""Puts the parts together: what lives from the operator's start to its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from mailsync_api import names
from mailsync_operator.apply import Applier
from mailsync_operator.builders.job import Engine
from mailsync_operator.cluster.api import KubernetesApi
from mailsync_operator.cluster.secrets import SecretWatch
from mailsync_operator.cluster.transport import Transport
from mailsync_operator.endpoints.metrics import EndpointCollector
from mailsync_operator.endpoints.reconcile import EndpointReconciler
from mailsync_operator.endpoints.referrers import Referrers
from mailsync_operator.errors import ClusterError, NotFoundError
from mailsync_operator.events import EventRecorder
from mailsync_operator.metrics import Metrics
from mailsync_operator.progress import ProgressPoller
from mailsync_operator.queue import WorkQueue
from mailsync_operator.reconcile import Reconciler
from mailsync_operator.resource_metrics import ResourceCollector
from mailsync_operator.server import MetricsServer
from mailsync_operator.snapshot import Work
from mailsync_operator.turns import Turns

if TYPE_CHECKING:
    from mailsync_operator.settings import Settings
    from mailsync_operator.snapshot import Key
    from mailsync_operator.view import IndexView

__all__ = ["Runtime"]

STUCK_SECONDS: Final = 600.0
"""A look at one object takes a second; its slowest part, a huge log, a few minutes."""
SWEEP_SECONDS: Final = 600.0
"""How often it is checked that what the watches brought is still there."""
_LISTED_RETRY: Final = 1.0
_PLURALS: Final = (names.PLURAL_MAILSYNC, names.PLURAL_MAILENDPOINT)
_log = logging.getLogger(__name__)


def _now() -> datetime:
    return datetime.now(UTC)


class Runtime:
    """The running operator."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._metrics = Metrics()
        release = version("mailsync")
        self._transport = Transport(meter=self._metrics, user_agent=f"mailsync-operator/{release}")
        self._api = KubernetesApi(self._transport)
        self._queue: WorkQueue[Work] | None = None
        self._referrers: Referrers | None = None
        self._turns: Turns | None = None
        self._poller: ProgressPoller | None = None
        self._server: MetricsServer | None = None
        self._secrets: SecretWatch | None = None
        self._listing: asyncio.Task[None] | None = None
        self._listed = False

    async def start(self, view: IndexView) -> None:
        """Log in, and start workers and server.

        Raises
        ------
        ClusterError
            There are no credentials, no answer, no permission or no CRD.
        OSError
            A port is taken.
        """
        await self._transport.open()
        await self._require_definition()
        poller = ProgressPoller(self._api, news=self._add_mailsync)
        self._secrets = self._secret_watch(view) if self.settings.watch_secrets else None
        engine = Engine(self.settings.image, self.settings.image_pull_policy)
        recorder = EventRecorder(self._api, instance=platform.node(), clock=_now)
        endpoints = EndpointReconciler(
            view, self._api, engine=engine, recorder=recorder, meter=self._metrics, clock=_now
        )

        def doubt(key: Key) -> None:
            endpoints.doubt(key)
            self.add(Work(names.KIND_MAILENDPOINT, key))

        self._turns = Turns(view, wake=self._add_mailsync)
        mailsyncs = Reconciler(
            view,
            self._api,
            applier=Applier(self._api, engine=engine),
            poller=poller,
            recorder=recorder,
            meter=self._metrics,
            clock=_now,
            doubt=doubt,
            turns=self._turns,
            secrets=self._secrets,
        )

        async def look(work: Work) -> float | None:
            if work.kind == names.KIND_MAILENDPOINT:
                return await endpoints.reconcile(work.key)
            return await mailsyncs.reconcile(work.key)

        queue = WorkQueue(look, workers=self.settings.workers, meter=self._metrics)
        collector = ResourceCollector(view, per_object=self.settings.per_object_metrics)
        self._metrics.registry.register(collector)
        self._metrics.registry.register(EndpointCollector(view))
        self._metrics.queue_depth.set_function(lambda: queue.depth)
        self._metrics.queue_delayed.set_function(lambda: queue.delayed)
        self._server = MetricsServer(
            self._metrics.registry, port=self.settings.metrics_port, ready=self._why_not_ready
        )
        await self._server.start()
        self._queue, self._poller = queue, poller
        self._referrers = Referrers(view, news=self._add_mailsync)
        queue.start()
        poller.start()
        self._listing = asyncio.create_task(self._keep_listed(view), name="listing")
        _log.info("started with image %s for Jobs", self.settings.image)

    async def stop(self) -> None:
        """Finish what is under way, and stop. What is not finished, the next operator does."""
        if self._listing is not None:
            self._listing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._listing
        if self._secrets is not None:
            await self._secrets.stop()
        if self._poller is not None:
            await self._poller.stop()
        if self._queue is not None:
            await self._queue.stop()
        if self._server is not None:
            await self._server.stop()
        await self._transport.close()
        _log.info("stopped")

    def add(self, work: Work) -> None:
        """Have an object looked at."""
        if self._queue is not None:
            self._queue.add(work)

    def endpoint_seen(self, key: Key) -> None:
        """Have the MailSyncs of a MailEndpoint looked at, if that changes something for them."""
        if self._referrers is not None:
            self._referrers.endpoint_seen(key)

    def job_seen(self, endpoint: Key) -> None:
        """Have those looked at who wait for a slot of a MailEndpoint, and itself: it shows them."""
        if self._turns is not None:
            self._turns.changed(endpoint)
        self.add(Work(names.KIND_MAILENDPOINT, endpoint))

    def check(self) -> dict[str, int]:
        """Return what the liveness probe shows.

        Raises
        ------
        RuntimeError
            A worker died or hangs: only a restart helps.
        """
        queue, poller = self._queue, self._poller
        if queue is None or poller is None:
            return {"queued": 0, "delayed": 0}
        if not queue.alive:
            raise RuntimeError("a worker of the queue died")
        if not poller.alive:
            raise RuntimeError("a worker that reads logs died")
        if self._secrets is not None and not self._secrets.alive:
            raise RuntimeError("the watch on Secrets died")
        stuck = queue.stuck(STUCK_SECONDS)
        if stuck:
            raise RuntimeError(f"a worker has been on {stuck[0]} for over {STUCK_SECONDS:.0f} s")
        return {"queued": queue.depth, "delayed": queue.delayed}

    def _add_mailsync(self, key: Key) -> None:
        self.add(Work(names.KIND_MAILSYNC, key))

    def _secret_watch(self, view: IndexView) -> SecretWatch:
        def changed(secret: Key) -> None:
            for key in view.users_of_secret(secret):
                self._add_mailsync(key)

        return SecretWatch(
            self._transport,
            namespaces=self.settings.namespaces,
            wanted=lambda secret: bool(view.users_of_secret(secret)),
            changed=changed,
        )

    async def _require_definition(self) -> None:
        # kopf looks for the resources once: without the CRD it would watch nothing, for ever.
        for plural in _PLURALS:
            try:
                await self._api.count(plural, self.settings.namespaces)
            except NotFoundError as error:
                raise ClusterError(
                    f"the CRD {plural}.{names.GROUP} is not installed: apply it from crds/, or "
                    "install the chart"
                ) from error

    def _why_not_ready(self) -> str:
        return "" if self._listed else "the MailSyncs are not all listed yet"

    async def _keep_listed(self, view: IndexView) -> None:
        await self._await_listing(view)
        if self._secrets is not None:
            self._secrets.start()  # now it is known which are wanted
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            before = view.uids()
            listed: set[str] = set()
            try:
                for plural in _PLURALS:
                    listed |= await self._api.uids(plural, self.settings.namespaces)
            except ClusterError as error:
                _log.warning("what there is cannot be listed: %s", error)
                continue
            for work in view.forget_missing(before, frozenset(listed)):
                _log.info("was deleted unseen", extra={work.kind.lower(): "/".join(work.key)})
                self.add(work)
                if work.kind == names.KIND_MAILENDPOINT:
                    self.endpoint_seen(work.key)

    async def _await_listing(self, view: IndexView) -> None:
        """Wait until the watches have brought as many MailSyncs as there are."""
        while not self._listed:
            try:
                there = await self._api.count(names.PLURAL_MAILSYNC, self.settings.namespaces)
                self._listed = sum(1 for _ in view.mailsyncs()) >= there
            except ClusterError as error:
                _log.warning("MailSyncs cannot be listed: %s", error)
            if not self._listed:
                await asyncio.sleep(_LISTED_RETRY)
        _log.info("all MailSyncs are listed")

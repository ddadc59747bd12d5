"""A watch on Secrets that never sees what is in them, for those who switch it on.

Lists and watches ask for metadata in a form that has no place for data (PartialObjectMetadata), and
accept no other. Kept are the names and versions of those Secrets that MailSyncs refer to.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import quote

from mailsync_operator.errors import ClusterError, ExpiredError
from mailsync_operator.snapshot import Key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping

__all__ = ["LIST_FORM", "SecretWatch", "SecretsSeen", "SecretsTransport"]

LIST_FORM: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_EVENTS: Final = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_PAGE: Final = "500"
_WATCH_SECONDS: Final = 240
"""The server ends a watch after so long; the next one goes on where it was."""
_FIRST_DELAY: Final = 1.0
_LAST_DELAY: Final = 120.0
_log = logging.getLogger(__name__)


class SecretsTransport(Protocol):
    """The requests that are needed."""

    async def call(
        self, verb: str, path: str, *, query: Mapping[str, str], accept: str
    ) -> dict[str, Any]:
        """Send a request and return the JSON object of the answer."""

    def stream(
        self, path: str, *, query: Mapping[str, str], accept: str, seconds: float
    ) -> AsyncIterator[dict[str, Any]]:
        """Return the JSON objects of an answer of many lines, as they come."""


@dataclass(frozen=True, slots=True)
class SecretsSeen:
    """What is known of the Secrets of one MailSync; all are resourceVersions."""

    upto: int
    """Every change up to this one is known."""
    newest: int
    """The last change of any of them; 0 if none is known."""


@dataclass(slots=True)
class _Scope:
    """The Secrets of a namespace, or of all, and how far they were followed."""

    path: str
    upto: int | None = None
    """None: to be listed, from nothing."""
    versions: dict[Key, int] = field(default_factory=dict)


class SecretWatch:
    """Follows the Secrets that MailSyncs refer to.

    Parameters
    ----------
    namespaces
        Which; all if empty.
    wanted
        Tells whether any MailSync refers to a Secret.
    changed
        Called with each such Secret that is new, changed or gone.
    """

    def __init__(
        self,
        transport: SecretsTransport,
        *,
        namespaces: Iterable[str],
        wanted: Callable[[Key], bool],
        changed: Callable[[Key], None],
    ) -> None:
        self._transport = transport
        self._wanted = wanted
        self._changed = changed
        self._scopes = {name: _Scope(_path(name)) for name in namespaces} or {"": _Scope(_path(""))}
        self._tasks: list[asyncio.Task[None]] = []

    def seen(self, namespace: str, names: Iterable[str]) -> SecretsSeen | None:
        """Return what is known of these Secrets; None while they are not listed."""
        scope = self._scopes.get(namespace) or self._scopes.get("")
        if scope is None or scope.upto is None:
            return None
        newest = max((scope.versions.get((namespace, name), 0) for name in names), default=0)
        return SecretsSeen(upto=scope.upto, newest=newest)

    @property
    def known(self) -> dict[Key, int]:
        """Everything that is kept: versions by namespace and name."""
        return {k: v for scope in self._scopes.values() for k, v in scope.versions.items()}

    @property
    def alive(self) -> bool:
        """Whether it still follows, or was never started."""
        return not any(task.done() for task in self._tasks)

    def start(self) -> None:
        """Start to follow. The MailSyncs must be known by now, or nothing is wanted."""
        self._tasks = [
            asyncio.create_task(self._follow(scope), name=f"Secrets {scope.path}")
            for scope in self._scopes.values()
        ]

    async def stop(self) -> None:
        """Stop."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _follow(self, scope: _Scope) -> None:
        delay = _FIRST_DELAY
        while True:
            try:
                if scope.upto is None:
                    await self._list(scope)
                    _log.info("following %s (metadata only)", scope.path)
                await self._watch(scope)
                delay = _FIRST_DELAY
                continue
            except ExpiredError:
                _log.debug("%s: listed again from the start", scope.path)
                scope.upto = None
            except ClusterError as error:
                _log.warning("%s cannot be watched: %s", scope.path, error)
            await asyncio.sleep(delay * random.uniform(0.8, 1.2))  # noqa: S311  no secret
            delay = min(delay * 2, _LAST_DELAY)

    async def _list(self, scope: _Scope) -> None:
        before, listed = dict(scope.versions), dict[Key, int]()
        query, upto = {"limit": _PAGE}, 0
        while True:
            page = await self._transport.call("GET", scope.path, query=query, accept=LIST_FORM)
            meta = page.get("metadata") or {}
            upto = upto or _version(meta)  # the first page's: the others are of the same moment
            for item in page.get("items") or []:
                key = _key(item)
                if self._wanted(key):
                    listed[key] = _version(item.get("metadata") or {})
            following = meta.get("continue")
            if not following:
                break
            query = {"limit": _PAGE, "continue": str(following)}
        scope.versions, scope.upto = listed, upto
        for key in before.keys() | listed.keys():
            if before.get(key) != listed.get(key):
                self._changed(key)

    async def _watch(self, scope: _Scope) -> None:
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": str(scope.upto),
            "timeoutSeconds": str(_WATCH_SECONDS),
        }
        events = self._transport.stream(
            scope.path, query=query, accept=_EVENTS, seconds=_WATCH_SECONDS + 30.0
        )
        async for event in events:
            kind, item = event.get("type"), event.get("object") or {}
            if kind == "ERROR":
                # Nearly always 410; and after any other a list is right too.
                raise ExpiredError(f"{scope.path}: {item.get('code')} {item.get('message')}")
            version = _version(item.get("metadata") or {})
            scope.upto = max(scope.upto or 0, version)
            if kind != "BOOKMARK":
                self._take(scope, _key(item), version=version, gone=kind == "DELETED")

    def _take(self, scope: _Scope, key: Key, *, version: int, gone: bool) -> None:
        if gone or not self._wanted(key):
            if scope.versions.pop(key, None) is None:
                return
        else:
            scope.versions[key] = version
        self._changed(key)


def _path(namespace: str) -> str:
    return f"/api/v1/namespaces/{quote(namespace)}/secrets" if namespace else "/api/v1/secrets"


def _key(item: Mapping[str, Any]) -> Key:
    meta = item.get("metadata") or {}
    return str(meta.get("namespace", "")), str(meta.get("name", ""))


def _version(meta: Mapping[str, Any]) -> int:
    text = str(meta.get("resourceVersion", ""))
    return int(text) if text.isdigit() else 0

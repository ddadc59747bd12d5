"""Requests to the API server: authentication by the Kubernetes client, plain JSON in and out.

Answers are not turned into the client's models: those refuse fields that they do not know, and an
API server may be newer than the client.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Protocol

import aiohttp
from aiohttp.http_exceptions import LineTooLong
from kubernetes.aio import client, config

from mailsync_operator.cluster.encoding import yaml_compatible_json
from mailsync_operator.errors import (
    AlreadyExistsError,
    ClusterError,
    ConflictError,
    ExpiredError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    ThrottledError,
    TransientError,
)

if TYPE_CHECKING:
    from kubernetes.aio.client import rest

__all__ = ["RequestMeter", "Transport", "current_namespace", "error_of"]

_TIMEOUT_SECONDS: Final = 30.0
_NO_ANSWER: Final = (aiohttp.ClientError, TimeoutError, OSError)
# With the parameter, the client sends our text as it is instead of writing its own JSON.
_APPLY: Final = "application/apply-patch+yaml; charset=utf-8"
_JSON: Final = "application/json"
_BY_STATUS: Final = MappingProxyType({403: ForbiddenError, 404: NotFoundError, 410: ExpiredError})
_MAY_PASS: Final = frozenset({401, 408})
"""A token that is being rotated, a time-out."""


class _Unmetered:
    def request(self, verb: str, code: str, seconds: float) -> None:
        pass


class RequestMeter(Protocol):
    """Counts requests."""

    def request(self, verb: str, code: str, seconds: float) -> None:
        """Count one request; ``code`` is the HTTP status, or ``error`` for no answer."""


@dataclass(frozen=True, slots=True)
class _Request:
    verb: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Mapping[str, Any] | str | None


class Transport:
    """A connection to one API server.

    In a pod it logs in as the pod's ServiceAccount and reads the token again every minute, as it
    is rotated; elsewhere, and where one is named, by a kubeconfig with its exec plugins.
    """

    def __init__(
        self,
        *,
        user_agent: str,
        meter: RequestMeter | None = None,
        kubeconfig: str | None = None,
        context: str | None = None,
    ) -> None:
        self._meter = meter or _Unmetered()
        self._user_agent = user_agent
        self._kubeconfig = kubeconfig
        self._context = context
        self._client: client.ApiClient | None = None

    async def open(self) -> None:
        """Read the credentials.

        Raises
        ------
        ClusterError
            Neither a ServiceAccount nor a usable kubeconfig is there.
        """
        settings = client.Configuration()
        # A proxy of the environment is for the outside world, not for the API server.
        settings.client_session_kwargs = {"trust_env": False}
        if self._kubeconfig is not None or not _in_pod(settings):
            try:
                await config.load_kube_config(
                    config_file=self._kubeconfig,
                    context=self._context,
                    client_configuration=settings,
                )  # type: ignore[no-untyped-call]  # as above
            except config.ConfigException as error:
                raise ClusterError(
                    f"no credentials for an API server: not in a pod, and no kubeconfig ({error})"
                ) from error
        self._client = client.ApiClient(configuration=settings)
        self._client.user_agent = self._user_agent

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()  # type: ignore[no-untyped-call]  # as in open

    async def call(  # noqa: PLR0913  what HTTP requests consist of
        self,
        verb: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | str | None = None,
        content_type: str = _JSON,
        accept: str = _JSON,
    ) -> dict[str, Any]:
        """Send a request and return the JSON object of the answer.

        Raises
        ------
        ClusterError
            One of the tree in ``mailsync_operator.errors``.
        """
        headers = {"Accept": accept, "Content-Type": content_type}
        text = await self._exchange(_Request(verb, path, query or {}, headers, body))
        return _object(text, f"{verb} {path}")

    async def apply(self, path: str, body: Mapping[str, Any], *, manager: str) -> dict[str, Any]:
        """Apply an object server-side: fields of ours that are not in it are taken away."""
        query = {"fieldManager": manager, "force": "true"}
        text = yaml_compatible_json(body)
        return await self.call("PATCH", path, query=query, body=text, content_type=_APPLY)

    async def text(self, path: str, *, query: Mapping[str, str]) -> str:
        """Return what is read from a path as text; bad UTF-8 is replaced.

        Raises
        ------
        ClusterError
            One of the tree in ``mailsync_operator.errors``.
        """
        # Errors come as JSON whatever was asked for, so anything is accepted.
        headers = {"Accept": "*/*", "Content-Type": _JSON}
        return await self._exchange(_Request("GET", path, query, headers, None))

    async def stream(
        self, path: str, *, query: Mapping[str, str], accept: str, seconds: float
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield the JSON objects of an answer of many lines, as they come.

        Parameters
        ----------
        seconds
            When it ends at the latest, with an error.

        Raises
        ------
        ClusterError
            One of the tree in ``mailsync_operator.errors``.
        """
        request = _Request("GET", path, query, {"Accept": accept, "Content-Type": _JSON}, None)
        what = f"GET {path}"
        began = time.monotonic()
        code = "error"
        try:
            answer = (await self._request(request, seconds=seconds)).response
            code = str(answer.status)
        except _NO_ANSWER as error:
            raise TransientError(f"{what}: {type(error).__name__}: {error}") from error
        finally:
            self._meter.request("WATCH", code, time.monotonic() - began)
        try:
            if answer.status != 200:
                raise error_of(what, answer.status, await answer.text(), answer.headers)
            async for line in answer.content:
                yield _object(line, what)
        except (ValueError, LineTooLong) as error:
            # What a line without end is about must be listed.
            raise ExpiredError(f"{what}: {error}") from error
        except _NO_ANSWER as error:
            raise TransientError(f"{what}: {type(error).__name__}: {error}") from error
        finally:
            answer.close()

    async def _exchange(self, request: _Request) -> str:
        began = time.monotonic()
        code = "error"
        what = f"{request.verb} {request.path}"
        try:
            status, data, headers = await self._send(request)
            code = str(status)
        except _NO_ANSWER as error:
            raise TransientError(f"{what}: {type(error).__name__}: {error}") from error
        finally:
            self._meter.request(request.verb, code, time.monotonic() - began)
        text = data.decode("utf-8", errors="replace")
        if not 200 <= status < 300:
            raise error_of(what, status, text, headers)
        return text

    async def _send(self, request: _Request) -> tuple[int, bytes, Mapping[str, str]]:
        answer = await self._request(request, seconds=_TIMEOUT_SECONDS)
        data = await answer.read()  # type: ignore[no-untyped-call]  # as in open
        return answer.status, data, answer.headers

    async def _request(self, request: _Request, *, seconds: float) -> rest.RESTResponse:
        if self._client is None:
            raise TransientError("the connection is not open")
        body = request.body
        serialized = await self._client.param_serialize(
            method=request.verb,
            resource_path=request.path,
            query_params=list(request.query.items()),
            header_params=dict(request.headers),  # the client changes it
            body=dict(body) if isinstance(body, Mapping) else body,
            auth_settings=["BearerToken"],
        )
        return await self._client.call_api(*serialized, _request_timeout=seconds)


def _in_pod(settings: client.Configuration) -> bool:
    """Take the pod's own credentials. Return whether this is a pod that has some."""
    try:
        config.load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call]  # the client's config package has no types
    except config.ConfigException:
        return False
    return True


def current_namespace(kubeconfig: str | None, context: str | None) -> str:
    """Return the namespace of a kubeconfig's context, as kubectl would take it.

    Raises
    ------
    ClusterError
        There is no usable kubeconfig, or no such context.
    """
    try:
        contexts, active = config.list_kube_config_contexts(config_file=kubeconfig)  # type: ignore[no-untyped-call]  # as in Transport.open
    except config.ConfigException as error:
        raise ClusterError(f"no kubeconfig: {error}") from error
    chosen = next((each for each in contexts if each["name"] == context), None)
    if context is not None and chosen is None:
        raise ClusterError(f"the kubeconfig has no context {context!r}")
    return str((chosen or active)["context"].get("namespace") or "default")


def error_of(what: str, status: int, text: str, headers: Mapping[str, str]) -> ClusterError:
    """Return the error of an answer."""
    details = _status_object(text)
    reason = str(details.get("reason", ""))
    message = f"{what}: {status} {reason}: {details.get('message') or text[:300]}"
    if status in _BY_STATUS:
        return _BY_STATUS[status](message)
    if status == 409:
        return AlreadyExistsError(message) if reason == "AlreadyExists" else ConflictError(message)
    if status == 429:
        return ThrottledError(message, retry_after=_seconds(headers.get("Retry-After")))
    if 400 <= status < 500 and status not in _MAY_PASS:
        return InvalidError(message)
    return TransientError(message)


def _object(text: str | bytes, what: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise TransientError(f"{what}: the answer is not JSON") from error
    if not isinstance(value, dict):
        raise TransientError(f"{what}: the answer is not an object")
    return value


def _status_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _seconds(value: str | None) -> float:
    try:
        return max(0.0, float(value or 1))
    except ValueError:
        return 1.0

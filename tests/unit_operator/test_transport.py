"""Requests against an HTTP server on loopback that answers as an API server does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from mailsync_operator.cluster.api import KubernetesApi
from mailsync_operator.cluster.transport import Transport, error_of
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
from tests.unit_operator.objects import mailsync_object


class Meter:
    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    def request(self, verb: str, code: str, seconds: float) -> None:
        assert seconds >= 0
        self.seen.append((verb, code))


class Server:
    """Notes requests, and answers with what is set."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str], str]] = []
        self.headers: list[dict[str, str]] = []
        self.answers: list[tuple[int, str]] = []

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.text()
        self.requests.append((request.method, request.path, dict(request.query), body))
        self.headers.append(dict(request.headers))
        status, text = self.answers.pop(0) if self.answers else (200, "{}")
        return web.Response(status=status, text=text, content_type="application/json")


def with_server(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    scenario: Callable[[KubernetesApi, Server, Meter], Awaitable[None]],
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # nothing listens there

    async def main() -> None:
        server, meter = Server(), Meter()
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", server.handle)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        transport = Transport(
            meter=meter, user_agent="mailsync-operator/test", kubeconfig=kubeconfig(folder, url)
        )
        await transport.open()
        try:
            await scenario(KubernetesApi(transport), server, meter)
        finally:
            await transport.close()
            await runner.cleanup()

    asyncio.run(main())


def kubeconfig(folder: Path, url: str) -> str:
    path = folder / "kubeconfig"
    path.write_text(
        yaml.safe_dump(
            {
                "current-context": "c",
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                "clusters": [{"name": "c", "cluster": {"server": url}}],
                "users": [{"name": "u", "user": {"token": "secret-token"}}],
            }
        )
    )
    return str(path)


def refusal(reason: str) -> str:
    return json.dumps({"kind": "Status", "reason": reason, "message": "because"})


@pytest.mark.parametrize(
    ("status", "reason", "expected"),
    [
        (404, "NotFound", NotFoundError),
        (409, "AlreadyExists", AlreadyExistsError),
        (409, "Conflict", ConflictError),
        (403, "Forbidden", ForbiddenError),
        (422, "Invalid", InvalidError),
        (400, "BadRequest", InvalidError),
        (429, "TooManyRequests", ThrottledError),
        (401, "Unauthorized", TransientError),
        (408, "Timeout", TransientError),
        (410, "Expired", ExpiredError),
        (500, "InternalError", TransientError),
        (503, "ServiceUnavailable", TransientError),
    ],
)
def test_each_answer_has_its_error(status: int, reason: str, expected: type[ClusterError]) -> None:
    error = error_of("GET /x", status, refusal(reason), {})
    assert type(error) is expected
    assert "because" in str(error)


@pytest.mark.parametrize(("header", "seconds"), [("7", 7), ("soon", 1), (None, 1), ("-3", 0)])
def test_a_throttled_request_says_how_long_to_wait(header: str | None, seconds: float) -> None:
    headers = {"Retry-After": header} if header is not None else {}
    error = error_of("GET /x", 429, "", headers)
    assert isinstance(error, ThrottledError)
    assert error.retry_after == seconds


def test_a_status_is_applied_server_side(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def scenario(api: KubernetesApi, server: Server, meter: Meter) -> None:
        written = {"metadata": {"name": "alice", "namespace": "default", "resourceVersion": "11"}}
        server.answers = [(200, json.dumps(written))]
        found = await api.apply_status(mailsync_object(version=10), {"consecutiveFailures": 1})
        assert found.resource_version == 11
        [(verb, path, query, body)] = server.requests
        assert (verb, path) == (
            "PATCH",
            "/apis/mailsync.dev/v1alpha1/namespaces/default/mailsyncs/alice/status",
        )
        assert query == {"fieldManager": "mailsync-operator", "force": "true"}
        sent = json.loads(body)
        # Both keep a status from being written over an object that is another one by now.
        assert sent["metadata"]["resourceVersion"] == "10"
        assert sent["metadata"]["uid"] == mailsync_object().uid
        [headers] = server.headers
        assert headers["Content-Type"].startswith("application/apply-patch+yaml")
        assert headers["Authorization"] == "Bearer secret-token"
        assert headers["User-Agent"] == "mailsync-operator/test"
        assert meter.seen == [("PATCH", "200")]

    with_server(monkeypatch, tmp_path, scenario)


def test_what_is_gone_need_not_be_deleted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def scenario(api: KubernetesApi, server: Server, meter: Meter) -> None:
        server.answers = [(404, refusal("NotFound")), (404, refusal("NotFound"))]
        await api.delete_job("default", "x")
        assert await api.get_job("default", "x") is None
        assert json.loads(server.requests[0][3]) == {"propagationPolicy": "Background"}
        assert meter.seen == [("DELETE", "404"), ("GET", "404")]

    with_server(monkeypatch, tmp_path, scenario)


def test_a_log_is_read_as_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def scenario(api: KubernetesApi, server: Server, meter: Meter) -> None:
        server.answers = [(200, "not JSON\n")]
        assert await api.pod_log("default", "p", tail_lines=5, limit_bytes=9) == "not JSON\n"
        [(_, path, query, _body)] = server.requests
        assert meter.seen == [("GET", "200")]
        assert path == "/api/v1/namespaces/default/pods/p/log"
        assert query == {"container": "engine", "tailLines": "5", "limitBytes": "9"}

    with_server(monkeypatch, tmp_path, scenario)


def test_all_pages_of_a_list_are_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def page(uid: str, following: str) -> tuple[int, str]:
        value: dict[str, Any] = {"items": [{"metadata": {"uid": uid}}]}
        return 200, json.dumps(value | {"metadata": {"continue": following}})

    async def scenario(api: KubernetesApi, server: Server, _: Meter) -> None:
        server.answers = [page("a", "next"), page("b", ""), page("c", "")]
        assert await api.uids("mailsyncs", ("one", "two")) == {"a", "b", "c"}
        assert [query.get("continue") for _, _, query, _ in server.requests] == [
            None,
            "next",
            None,
        ]
        assert "PartialObjectMetadataList" in server.headers[0]["Accept"]

    with_server(monkeypatch, tmp_path, scenario)


def test_a_stream_is_read_line_by_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def objects(api: KubernetesApi) -> list[dict[str, Any]]:
        lines = api._transport.stream("/api/v1/secrets", query={}, accept="a/b", seconds=5)
        return [line async for line in lines]

    async def scenario(api: KubernetesApi, server: Server, meter: Meter) -> None:
        server.answers = [
            (200, '{"type": "ADDED"}\n{"type": "BOOKMARK"}\n'),
            (410, refusal("Expired")),
            (403, refusal("Forbidden")),
            (200, '{"type": "ADDED"}\n{"type": "ADD'),
            (200, "x" * 2**23),
        ]
        assert [each["type"] for each in await objects(api)] == ["ADDED", "BOOKMARK"]
        assert server.headers[0]["Accept"] == "a/b"
        for expected in (ExpiredError, ForbiddenError, TransientError, ExpiredError):
            with pytest.raises(expected):
                await objects(api)
        assert [code for _, code in meter.seen] == ["200", "410", "403", "200", "200"]

    with_server(monkeypatch, tmp_path, scenario)


def test_all_objects_are_counted_without_reading_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def scenario(api: KubernetesApi, server: Server, _: Meter) -> None:
        answer = {"items": [{}], "metadata": {"remainingItemCount": 41}}
        server.answers = [(200, json.dumps(answer))]
        assert await api.count("mailsyncs", ()) == 42

    with_server(monkeypatch, tmp_path, scenario)


@pytest.mark.parametrize("answer", ["", "[1]", "<html>"])
def test_an_answer_that_makes_no_sense_is_worth_another_try(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, answer: str
) -> None:
    async def scenario(api: KubernetesApi, server: Server, _: Meter) -> None:
        server.answers = [(200, answer)]
        with pytest.raises(TransientError):
            await api.get_job("default", "x")

    with_server(monkeypatch, tmp_path, scenario)


def test_no_answer_is_worth_another_try(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    nobody = kubeconfig(tmp_path, "http://127.0.0.1:9")

    async def main() -> None:
        meter = Meter()
        transport = Transport(meter=meter, user_agent="x", kubeconfig=nobody)
        await transport.open()
        with pytest.raises(TransientError):
            await KubernetesApi(transport).get_job("default", "x")
        assert meter.seen == [("GET", "error")]
        await transport.close()

    asyncio.run(main())


def test_without_credentials_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    missing = str(tmp_path / "none")
    transport = Transport(meter=Meter(), user_agent="x", kubeconfig=missing)
    with pytest.raises(ClusterError, match="no kubeconfig"):
        asyncio.run(transport.open())

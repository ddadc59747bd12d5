"""What finished migrations no longer need: the rule, and the command against an API on loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result
from typing_extensions import override

from mailsync_operator.cleanup import unneeded
from mailsync_operator.plugin import app
from tests.support.builders import manifest
from tests.unit_operator.test_transport import kubeconfig

_WHEN = "2026-03-01T12:00:00Z"


def body(
    name: str,
    *,
    succeeded: str = "True",
    when: str = _WHEN,
    generation: int = 1,
    status: dict[str, Any] | None = None,
    **spec: Any,
) -> dict[str, Any]:
    """Return a MailSync with Secrets NAME-old and NAME-new unless ``spec`` says otherwise."""
    sides = {
        "source": {"authentication": {"secretRef": {"name": f"{name}-old"}}},
        "destination": {"authentication": {"secretRef": {"name": f"{name}-new"}}},
    }
    obj = manifest(name, "mail", **(sides | spec))
    obj["metadata"]["generation"] = generation
    condition = {"type": "Succeeded", "status": succeeded, "lastTransitionTime": when}
    obj["status"] = {"observedGeneration": 1, "conditions": [condition], **(status or {})}
    return obj


def secrets(*bodies: dict[str, Any], others: tuple[dict[str, Any], ...] = ()) -> list[str]:
    return [each.secret for each in unneeded(bodies, others)]


def test_those_of_finished_ones_are_listed() -> None:
    assert secrets(body("alice")) == ["alice-new", "alice-old"]


@pytest.mark.parametrize(
    "unfinished",
    [
        {"succeeded": "Unknown"},
        {"succeeded": "False"},
        {"status": {"currentRun": {"number": 2}}},
        {"status": {"nextSyncTime": _WHEN}},
        {"status": {"conditions": []}},
        {"generation": 2},
    ],
)
def test_those_of_unfinished_ones_are_not(unfinished: dict[str, Any]) -> None:
    assert secrets(body("alice", **unfinished)) == []


def test_what_one_unfinished_needs_is_kept_for_all() -> None:
    shared: dict[str, Any] = {"source": {"authentication": {"secretRef": {"name": "admin"}}}}
    done, open_ = body("alice", **shared), body("bob", succeeded="Unknown", **shared)
    assert secrets(done, open_) == ["alice-new"]
    [found] = [each for each in unneeded([done, body("bob", **shared)]) if each.secret == "admin"]
    assert found.used_by == ("alice", "bob")


def test_the_same_name_in_another_namespace_is_another_secret() -> None:
    other = body("alice", succeeded="Unknown")
    other["metadata"]["namespace"] = "elsewhere"
    assert secrets(body("alice"), other) == ["alice-new", "alice-old"]


def test_endpoints_are_never_finished_and_ca_certificates_no_credentials() -> None:
    client: dict[str, Any] = {"tls": {"clientCertificateRef": {"name": "client"}}}
    ca: dict[str, Any] = {"tls": {"caRef": {"kind": "Secret", "name": "ca"}}}
    done = body("alice", source=client, destination=ca)
    assert "client" in secrets(done)
    assert "ca" not in secrets(done)
    endpoint = {"metadata": {"namespace": "mail", "name": "old"}, "spec": client}
    assert "client" not in secrets(done, others=(endpoint,))


def test_it_says_since_when() -> None:
    shared: dict[str, Any] = {"source": {"authentication": {"secretRef": {"name": "admin"}}}}
    late = "2026-04-01T12:00:00Z"
    found = {
        e.secret: e.since for e in unneeded([body("a", **shared), body("b", when=late, **shared)])
    }
    assert found == {"admin": late, "a-new": _WHEN, "b-new": late}


# --- the command ---


class Api(ThreadingHTTPServer):
    """Serves lists by the last part of the path, and notes what is deleted."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.lists: dict[str, list[dict[str, Any]] | int] = {"mailendpoints": 404}
        self.asked: list[tuple[str, str, str]] = []
        self.deleted: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    server: Api

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.server.asked.append((path, self.headers["Accept"], self.headers["Authorization"]))
        found = self.server.lists.get(path.rsplit("/", 1)[-1], [])
        if isinstance(found, int):
            self._answer(found, {"kind": "Status", "message": "because"})
        else:
            self._answer(200, {"items": found, "metadata": {}})

    def do_DELETE(self) -> None:
        self.server.deleted.append(self.path)
        self._answer(200, {"kind": "Status"})

    def _answer(self, code: int, value: dict[str, Any]) -> None:
        text = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    @override
    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def api() -> Iterator[Api]:
    server = Api()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    server.lists["mailsyncs"] = [body("alice"), body("bob", succeeded="Unknown")]
    server.lists["secrets"] = [
        {"metadata": {"namespace": "mail", "name": name}} for name in ("alice-old", "alice-new")
    ]
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def run(api: Api, folder: Path, *arguments: str, answer: str = "") -> Result:
    config = kubeconfig(folder, f"http://127.0.0.1:{api.server_port}")
    command = ["cleanup", "--kubeconfig", config, *arguments]
    return CliRunner().invoke(app, command, input=answer, env={"COLUMNS": "100"})


def test_the_list_for_people(api: Api, tmp_path: Path) -> None:
    result = run(api, tmp_path)
    assert result.exit_code == 0, result.output
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["NAMESPACE", "SECRET", "USED", "BY", "FINISHED"],
        ["mail", "alice-new", "alice", _WHEN],
        ["mail", "alice-old", "alice", _WHEN],
    ]
    assert "change those of the accounts" in result.stderr
    assert api.deleted == []
    # The context's namespace, with the user's credentials, and of Secrets the metadata only.
    assert {(path.split("/")[-2], who) for path, _, who in api.asked} == {
        ("default", "Bearer secret-token")
    }
    [form] = [form for path, form, _ in api.asked if path.endswith("/secrets")]
    assert form.startswith("application/json;as=PartialObjectMetadataList")
    assert "," not in form


def test_the_list_for_programs(api: Api, tmp_path: Path) -> None:
    result = run(api, tmp_path, "-A", "-o", "json")
    assert json.loads(result.stdout)[0] == {
        "namespace": "mail",
        "secret": "alice-new",
        "usedBy": ["alice"],
        "since": _WHEN,
    }
    assert {path for path, _, _ in api.asked} >= {"/api/v1/secrets"}


def test_a_secret_that_is_gone_is_not_listed(api: Api, tmp_path: Path) -> None:
    api.lists["secrets"] = []
    result = run(api, tmp_path)
    assert result.stdout == ""
    api.lists["secrets"] = 403
    result = run(api, tmp_path)
    assert "alice-old" in result.stdout
    assert "may not list Secrets" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "answer", "deleted"),
    [(["--delete"], "n\n", 0), (["--delete"], "y\n", 2), (["--delete", "--yes"], "", 2)],
)
def test_it_deletes_after_a_question_only(
    api: Api, tmp_path: Path, arguments: list[str], answer: str, deleted: int
) -> None:
    result = run(api, tmp_path, "-n", "mail", *arguments, answer=answer)
    assert (result.exit_code == 0) is bool(deleted), result.output
    assert len(api.deleted) == deleted
    assert ("Delete these 2 Secrets?" in result.stderr) is bool(answer)
    for path in api.deleted:
        assert path.startswith("/api/v1/namespaces/mail/secrets/alice-")


def test_an_error_is_one_line(api: Api, tmp_path: Path) -> None:
    api.lists["mailsyncs"] = 403
    result = run(api, tmp_path)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: GET /apis/mailsync.dev/")
    result = run(api, tmp_path, "--context", "no-such")
    assert "no context 'no-such'" in result.stderr

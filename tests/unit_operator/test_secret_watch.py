"""The watch on Secrets: metadata only, resumed, begun anew, and bounded."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from mailsync_api.conditions import ConditionType, Reason
from mailsync_api.exitcodes import ExitCode
from mailsync_operator.cluster.secrets import SecretsSeen, SecretWatch
from mailsync_operator.errors import ClusterError, ExpiredError, ForbiddenError, TransientError
from mailsync_operator.snapshot import Key
from tests.unit_operator import fake_time
from tests.unit_operator.objects import condition_of, state
from tests.unit_operator.test_reconcile import World
from tests.unit_operator.test_refusals import due, refused_world

_DATA = Path(__file__).parents[1] / "data" / "operator"
_LIST = json.loads((_DATA / "secrets-list.json").read_text(encoding="utf-8"))
_EVENTS = [json.loads(x) for x in (_DATA / "secrets-watch.jsonl").read_text("utf-8").splitlines()]
_OLD, _NEW = ("record-secrets", "alice-old"), ("record-secrets", "alice-new")


class Server:
    """Answers lists and watches with what is set; an error is raised. At the end it is silent."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.requests: list[tuple[str, dict[str, str], str]] = []
        self.times: list[float] = []
        self.done = asyncio.Event()

    def _next(self, path: str, query: Mapping[str, str], accept: str) -> Any:
        self.requests.append((path, dict(query), accept))
        self.times.append(asyncio.get_running_loop().time())
        if not self.answers:
            self.done.set()
            return None
        answer = self.answers.pop(0)
        if isinstance(answer, ClusterError):
            raise answer
        return answer

    async def call(
        self, verb: str, path: str, *, query: Mapping[str, str], accept: str
    ) -> dict[str, Any]:
        assert verb == "GET"
        found = self._next(path, query, accept)
        assert isinstance(found, dict), "a watch was expected"
        return found

    async def stream(
        self, path: str, *, query: Mapping[str, str], accept: str, seconds: float
    ) -> AsyncIterator[dict[str, Any]]:
        assert float(query["timeoutSeconds"]) < seconds
        events = self._next(path, query, accept)
        if events is None:
            await asyncio.Event().wait()
        for event in events:
            if isinstance(event, ClusterError):
                raise event
            yield event


@dataclasses.dataclass
class Followed:
    watch: SecretWatch
    server: Server
    changed: list[Key]


def follow(*answers: Any, wanted: frozenset[Key] = frozenset({_OLD, _NEW})) -> Followed:
    """Return what came of it once all answers were given."""

    async def main() -> Followed:
        server, changed = Server(*answers), list[Key]()
        watch = SecretWatch(
            server,
            namespaces=("record-secrets",),
            wanted=wanted.__contains__,
            changed=changed.append,
        )
        assert watch.seen("record-secrets", ["alice-old"]) is None
        watch.start()
        await asyncio.wait_for(server.done.wait(), 10000)  # on a clock of its own
        assert watch.alive
        await watch.stop()
        return Followed(watch, server, changed)

    return fake_time.run(main())


def test_a_recorded_exchange() -> None:
    found = follow(_LIST, _EVENTS)
    assert found.watch.known == {_OLD: 835}
    assert found.watch.seen("record-secrets", ["alice-old"]) == SecretsSeen(upto=836, newest=835)
    assert found.watch.seen("elsewhere", ["alice-old"]) is None
    assert sorted(found.changed) == [_NEW, _NEW, _OLD, _OLD]
    for path, query, accept in found.server.requests:
        assert path == "/api/v1/namespaces/record-secrets/secrets"
        # No other form is accepted: an API server without it answers 406, and sends nothing.
        assert "PartialObjectMetadata" in accept
        assert "," not in accept
        assert query.get("watch") is None or query["allowWatchBookmarks"] == "true"


def test_the_recorded_exchange_held_no_data() -> None:
    text = json.dumps([_LIST, _EVENTS])
    for number in (1, 2, 3):
        secret = f"recorded-geheim-{number}".encode()
        assert secret.decode() not in text
        assert base64.b64encode(secret).decode().rstrip("=")[:-1] not in text
    assert '"data"' not in text


def test_nothing_is_kept_of_secrets_that_nobody_refers_to() -> None:
    found = follow(_LIST, _EVENTS, wanted=frozenset())
    assert found.watch.known == {}
    assert found.changed == []
    # And still it is known up to when nothing of interest changed.
    assert found.watch.seen("record-secrets", ["alice-old"]) == SecretsSeen(upto=836, newest=0)


def test_it_goes_on_where_it_was() -> None:
    cut = [_EVENTS[0], TransientError("cut")]
    found = follow(_LIST, cut, TransientError("refused"), _EVENTS[1:])
    versions = [q.get("resourceVersion") for _, q, _ in found.server.requests]
    assert versions == [None, "833", "835", "835", "836"]
    # After an error it waits, each time longer; after an end that is none it goes on at once.
    pauses = [b - a for a, b in zip(found.server.times, found.server.times[1:], strict=False)]
    assert pauses[0] == 0
    assert 0.8 <= pauses[1] <= 1.2
    assert 1.6 <= pauses[2] <= 2.4
    assert pauses[3] == 0


@pytest.mark.parametrize(
    "expired",
    [
        ExpiredError("410"),
        [{"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old"}}],
    ],
)
def test_an_expired_version_means_to_list_again(expired: Any) -> None:
    later = json.loads(json.dumps(_LIST).replace('"833"', '"900"'))
    later["items"] = [item for item in later["items"] if item["metadata"]["name"] == "alice-new"]
    found = follow(_LIST, expired, later)
    assert found.watch.known == {_NEW: 900}
    # What changed or went in between is told, what did not is not.
    assert sorted(found.changed) == [_NEW, _NEW, _OLD, _OLD]
    assert [q.get("resourceVersion") for _, q, _ in found.server.requests][-1] == "900"


def test_all_pages_are_read_and_the_watch_begins_at_the_first() -> None:
    first, second = (
        {"metadata": meta, "items": [item]}
        for meta, item in zip(
            ({"resourceVersion": "833", "continue": "more"}, {"resourceVersion": "840"}),
            _LIST["items"],
            strict=True,
        )
    )
    found = follow(first, second)
    assert set(found.watch.known) == {_OLD, _NEW}
    assert found.server.requests[1][1]["continue"] == "more"
    assert found.server.requests[2][1]["resourceVersion"] == "833"


def test_without_permission_it_asks_less_and_less_often() -> None:
    found = follow(*[ForbiddenError("403")] * 12, _LIST)
    pauses = [b - a for a, b in zip(found.server.times, found.server.times[1:], strict=False)]
    assert max(pauses) <= 120 * 1.2
    assert sum(pauses) > 300
    assert found.watch.known == {_OLD: 832, _NEW: 833}


# --- what follows from it ---


class Versions:
    """Stands for the watch: the versions of Secrets as a test sets them."""

    def __init__(self) -> None:
        self.upto = 50
        self.changed = dict.fromkeys(("source-password", "destination-password"), 50)

    def seen(self, namespace: str, names: Any) -> SecretsSeen | None:
        assert namespace == "default"
        return SecretsSeen(self.upto, max(self.changed.get(name, 0) for name in names))

    def change(self, name: str = "source-password") -> None:
        self.upto += 10
        self.changed[name] = self.upto


class WatchingWorld(World):
    """An operator that is told when Secrets change."""

    secrets: Versions

    def __init__(self, **spec: Any) -> None:
        self.secrets = Versions()
        super().__init__(**spec)

    @override
    def restart(self) -> None:
        super().restart()
        self.reconciler._secrets = self.secrets


def refused(**spec: Any) -> WatchingWorld:
    world = WatchingWorld(**spec)
    world.settle()
    world.run(ExitCode.CREDENTIALS)
    return world


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("name", ["source-password", "destination-password"])
def test_a_corrected_secret_starts_a_run_at_once(name: str, restarted: bool) -> None:  # noqa: FBT001  a case
    world = refused()
    message = condition_of(world.status, ConditionType.STALLED).message
    assert "by itself when its Secret changes" in message
    if restarted:
        world.restart()
    world.pass_time(5)
    world.settle()
    assert len(world.jobs) == 1
    world.secrets.change(name)
    world.settle()
    assert len(world.jobs) == 2
    world.run()
    assert state(world.status) == ("True", "Completed")


def test_another_secret_starts_nothing() -> None:
    world = refused()
    world.secrets.change("somebody-elses")
    world.settle()
    assert len(world.jobs) == 1


def test_one_change_is_one_attempt_and_a_run_away_controller_gets_few() -> None:
    world = refused()
    for expected in (2, 3, 3, 3):
        world.secrets.change()
        for _ in range(3):
            world.restart()
            world.settle()
        assert len(world.jobs) == expected
        if world.status.current_run is not None:
            world.run(ExitCode.CREDENTIALS)
    world.pass_time(3600)
    world.settle()
    assert len(world.jobs) == 4


def test_without_the_watch_a_changed_secret_starts_nothing() -> None:
    world = refused_world()
    assert "by itself" not in condition_of(world.status, ConditionType.STALLED).message
    world.pass_time(5)
    world.settle()
    assert len(world.jobs) == 1
    assert (due(world.status) - world.cluster.now).total_seconds() > 3500


def test_switched_on_later_it_counts_changes_from_then_on() -> None:
    world = refused_world()
    world.secrets = Versions()  # type: ignore[attr-defined]  # as a release that is upgraded
    world.reconciler._secrets = world.secrets  # type: ignore[attr-defined]  # as above
    world.settle()
    assert len(world.jobs) == 1
    world.secrets.change()  # type: ignore[attr-defined]  # as above
    # The Job of the refused run knows nothing of versions: it holds further logins back, this once.
    world.settle()
    assert len(world.jobs) == 1
    world.pass_time(3600)
    world.settle()
    assert len(world.jobs) == 2


def test_a_change_between_the_start_of_a_run_and_its_end_is_seen() -> None:
    world = WatchingWorld()
    world.settle()
    world.secrets.change()
    world.run(ExitCode.CREDENTIALS)
    assert len(world.jobs) == 2


def test_a_pod_that_waits_for_its_secret_is_replaced_once_it_is_there() -> None:
    world = WatchingWorld()
    del world.secrets.changed["source-password"]
    world.settle()
    pod = world.cluster.start_pod(running=False)
    world.cluster.event_texts = [
        'MountVolume.SetUp failed for volume "source" : secret "source-password" not found'
    ]
    world.settle()
    assert condition_of(world.status, ConditionType.READY).reason == Reason.SECRET_NOT_FOUND
    [job] = world.cluster.all_of("Job")
    world.secrets.change()
    world.look()
    assert world.cluster.all_of("Job")[0]["spec"]["suspend"] is True
    # The Job controller has not seen it yet: it must, before the Job goes on.
    job = world.cluster.all_of("Job")[0]
    world.cluster.put("Job", job | {"status": {"active": 1}})
    world.restart()
    assert world.look() == 1.0
    assert world.cluster.all_of("Job")[0]["spec"]["suspend"] is True
    world.cluster.remove("Pod", "default", pod["metadata"]["name"])
    world.cluster.put("Job", world.cluster.all_of("Job")[0] | {"status": {"active": 0}})
    world.settle()
    assert world.cluster.all_of("Job")[0]["spec"]["suspend"] is False
    world.cluster.event_texts = []
    world.run()
    assert state(world.status) == ("True", "Completed")
    assert len(world.jobs) == 1

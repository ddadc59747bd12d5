"""The main job: a MailSync moves a mailbox, exactly, and says so."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.checker import compare_mailboxes, count_messages
from tests.support.kube import KubeObject, condition, reason
from tests.support.mailbox import generate, load, plain_message
from tests.support.release import Release
from tests.support.stage import USER, Stage, stage

pytestmark = pytest.mark.cluster

_COUNT = 500


@pytest.fixture(scope="module")
def scene(release: Release) -> Iterator[Stage]:
    """Set up a stage with a mailbox at the source that has all kinds of messages in it."""
    with stage(release) as scene:
        with scene.source.login(USER) as session:
            load(session, generate(count=_COUNT, seed=3))
        yield scene


def differences(scene: Stage) -> list[str]:
    with scene.source.login(USER) as source, scene.destination.login(USER) as destination:
        return [str(each) for each in compare_mailboxes(source, destination)]


def messages_at_the_source(scene: Stage) -> int:
    with scene.source.login(USER) as session:
        return count_messages(session)


# The tests of this module are the chapters of one story, in this order.


def test_a_dry_run_says_what_is_missing_and_changes_nothing(scene: Stage) -> None:
    scene.sync("alice", mode="DryRun")
    done = scene.wait_reason("alice", "Completed")
    run = done["status"]["lastRun"]
    assert run["dryRun"] is True
    assert run["messagesCopied"] == messages_at_the_source(scene)
    assert condition(done, "Synced")["status"] == "False"
    with scene.destination.login(USER) as session:
        assert count_messages(session) == 0


def test_everything_is_identical_on_both_sides(scene: Stage) -> None:
    scene.kube.patch("mailsync", "alice", {"spec": {"mode": "Sync"}})
    done = scene.kube.wait(
        "mailsync",
        "alice",
        lambda obj: condition(obj, "Synced").get("status") == "True",
        what="Synced",
        seconds=180,
    )
    total = messages_at_the_source(scene)
    assert total >= _COUNT
    assert differences(scene) == []

    status = done["status"]
    assert reason(done) == "Completed"
    run = status["lastRun"]
    assert (run["messagesTotal"], run["messagesCopied"], run["messagesSkipped"]) == (
        total,
        total,
        0,
    )
    assert status["progress"]["percent"] == 100
    assert status["progress"]["messages"] == {"total": total, "completed": total}
    assert status["tls"]["source"]["mode"] == "Implicit"
    assert status["tls"]["destination"]["mode"] == "StartTLS"
    for side in ("source", "destination"):
        assert status["tls"][side]["secured"] is True
        assert status["tls"][side]["verified"] == "Full"
    assert condition(done, "TLSSecured")["status"] == "True"


def test_the_full_report_is_kept(scene: Stage) -> None:
    obj = scene.kube.get("mailsync", "alice")
    assert obj is not None
    name = obj["status"]["reportName"]
    found = scene.kube.wait(
        "configmap", name, lambda each: "report.json" in each.get("data", {}), what="a report"
    )
    report = json.loads(found["data"]["report.json"])
    assert report["verdict"]["totals"]["copied"] == obj["status"]["lastRun"]["messagesCopied"]
    assert sum(folder["messages"] for folder in report["folders"]) == messages_at_the_source(scene)


def triggered(scene: Stage, token: str) -> tuple[KubeObject, str]:
    """Start a run and return it when it is over, with what it said of the state it was given."""
    scene.kube.patch("mailsync", "alice", {"spec": {"trigger": {"manual": token}}})
    done = scene.kube.wait(
        "mailsync",
        "alice",
        lambda obj: obj["status"].get("lastManualSync") == token,
        what="the trigger answered",
        seconds=120,
    )
    run: KubeObject = done["status"]["lastRun"]
    lines = scene.kube.logs(f"job/{run['jobName']}").splitlines()
    [said] = [line for line in lines if "resume state:" in line]
    return run, str(json.loads(said)["message"])


def test_the_manual_trigger_copies_nothing_again(scene: Stage) -> None:
    run, said = triggered(scene, "once more")
    assert (run["type"], run["messagesCopied"]) == ("Delta", 0)
    assert run["messagesAlreadyPresent"] == messages_at_the_source(scene)
    assert differences(scene) == []
    # What the run before left behind: no folder needed to be opened.
    assert "0 with new messages only, 0 compared in full" in said


def test_without_what_a_run_left_behind_everything_is_compared(scene: Stage) -> None:
    obj = scene.kube.get("mailsync", "alice")
    assert obj is not None
    scene.kube.delete("configmap", obj["status"]["reportName"])
    run, said = triggered(scene, "all of it")
    assert (run["messagesCopied"], run["messagesAlreadyPresent"]) == (
        0,
        messages_at_the_source(scene),
    )
    assert "0 folders unchanged" in said
    assert differences(scene) == []


def test_only_new_mail_is_copied(scene: Stage) -> None:
    with scene.source.login(USER) as session:
        load(session, [plain_message(number) for number in range(900_000, 900_003)])
    run, said = triggered(scene, "new mail")
    assert run["messagesCopied"] == 3
    assert "1 with new messages only, 0 compared in full" in said
    assert differences(scene) == []


def test_the_checker_would_have_seen_one_lost_message(scene: Stage) -> None:
    with scene.destination.login(USER) as session:
        session.select("INBOX")
        session.store("1", "+FLAGS.SILENT", r"(\Deleted)")
        session.expunge()
    assert differences(scene) != []


def test_events_tell_the_story(scene: Stage) -> None:
    events = scene.kube.events("MailSync", "alice")
    reasons = {event["reason"] for event in events}
    assert {"RunStarted", "RunSucceeded"} <= reasons
    # On transitions only: five runs, each with a start and an end, equal ones counted together.
    assert sum(int(event.get("count") or 1) for event in events) == 10


def test_the_metrics_agree_with_the_status(release: Release, scene: Stage) -> None:
    obj = scene.kube.get("mailsync", "alice")
    assert obj is not None
    wanted = {"namespace": scene.kube.namespace, "name": "alice"}

    def value(name: str, **labels: str) -> float | None:
        for family in text_string_to_metric_families(release.metrics()):
            for sample in family.samples:
                if sample.name == name and (wanted | labels).items() <= sample.labels.items():
                    return float(sample.value)
        return None

    assert value("mailsync_status_condition", type="Synced", status="True") == 1
    assert value("mailsync_consecutive_failures") == 0
    for side in ("source", "destination"):
        assert value("mailsync_tls_info", side=side, verified="Full") == 1
    assert (value("mailsync_last_success_timestamp_seconds") or 0) > 1_600_000_000

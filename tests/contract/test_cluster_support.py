"""What cluster tests and the demo are built from, as far as it needs no cluster."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.cluster.shell import ToolingError
from tests.demo.screen import progress_line
from tests.demo.steps import series
from tests.support.dovecot_pod import DovecotPod, KeyPair, configuration, objects
from tests.support.kube import condition, reason

_PAIR = KeyPair("certificate", "key")


def _pod(**changes: Any) -> DovecotPod:
    values: dict[str, Any] = {"name": "old", "image": "i", "users": {"a@x": "p:w"}, "tls": _PAIR}
    return DovecotPod(**(values | changes))


def _by_kind(pod: DovecotPod) -> dict[tuple[str, str], dict[str, Any]]:
    return {(each["kind"], each["metadata"]["name"]): each for each in objects(pod)}


def test_a_server_is_known_by_its_service_under_imaps_own_ports() -> None:
    service = _by_kind(_pod())["Service", "old"]
    assert [(each["port"], each["targetPort"]) for each in service["spec"]["ports"]] == [
        (143, 31143),
        (993, 31993),
    ]


def test_a_server_without_tls_has_neither_the_port_nor_starttls() -> None:
    made = _by_kind(_pod(tls=None))
    assert [each["port"] for each in made["Service", "old"]["spec"]["ports"]] == [143]
    assert ("Secret", "old-tls") not in made
    text = configuration(_pod(tls=None))
    assert "ssl = no\n" in text
    assert "ssl_cert" not in text
    assert "ssl = required\n" in configuration(_pod())


def test_a_password_may_hold_the_separator_of_the_users_file() -> None:
    data = _by_kind(_pod())["Secret", "old-users"]["data"]
    line = base64.b64decode(data["passwd"]).decode()
    encoded = base64.b64encode(b"p:w").decode()
    assert line == f"a@x:{{PLAIN.b64}}{encoded}::::::\n"


def test_no_password_or_key_is_shown_by_a_servers_repr() -> None:
    assert "p:w" not in repr(_pod())
    assert "key=" not in repr(_PAIR)


def test_the_pod_fits_the_strictest_pod_security() -> None:
    spec = _by_kind(_pod())["Pod", "old"]["spec"]
    (container,) = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def _mailsync(**status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "alice"}, "status": status} if status else {}


_RUNNING = {"type": "Succeeded", "status": "Unknown", "reason": "InitialSync", "message": ""}


def test_the_state_is_the_reason_of_succeeded() -> None:
    running = _mailsync(conditions=[_RUNNING])
    assert reason(running) == "InitialSync"
    assert condition(running, "Succeeded") == _RUNNING
    assert condition(running, "Ready") == {}
    assert reason({}) == ""


def test_progress_in_one_line() -> None:
    progress = {
        "percent": 50,
        "messages": {"completed": 3, "total": 6},
        "bytes": {"completed": 1_500_000, "total": 3_000_000},
        "copiedMessages": 2,
    }
    line = progress_line(_mailsync(conditions=[_RUNNING], progress=progress))
    assert " ".join(line.split()) == "InitialSync 50 % 3 of 6 messages 1.5 of 3.0 MB 2 copied"


def test_why_it_is_stalled_is_part_of_the_line() -> None:
    stalled = {"type": "Stalled", "status": "True", "reason": "R", "message": "password refused"}
    assert progress_line(_mailsync(conditions=[_RUNNING, stalled])).endswith("password refused")


def test_metrics_of_one_namespace_and_the_counters_of_runs() -> None:
    text = """\
# HELP mailsync_info x
mailsync_info{name="a",namespace="demo"} 1.0
mailsync_info{name="a",namespace="other"} 1.0
mailsync_runs_total{result="Succeeded"} 1.0
process_cpu_seconds_total 3.0
"""
    assert series(text, "demo").splitlines() == [
        'mailsync_info{name="a",namespace="demo"} 1.0',
        'mailsync_runs_total{result="Succeeded"} 1.0',
    ]
    with pytest.raises(ToolingError, match="elsewhere"):
        series(text, "elsewhere")

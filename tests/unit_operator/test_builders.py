"""Built objects against golden files; ``UPDATE_GOLDENS=1`` writes them anew: read the diff."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from mailsync_api import names
from mailsync_api.endpointstatus import CurrentProbe
from mailsync_api.exitcodes import ExitCode, fail_job_codes
from mailsync_api.job import JobInput
from mailsync_api.mailendpoint import MailEndpointSpec
from mailsync_api.probe import ProbeInput
from mailsync_api.report import Report
from mailsync_api.status import CurrentRun, RunType
from mailsync_api.tunnel import TunnelInput
from mailsync_operator.builders.job import Engine, build_job, to_object
from mailsync_operator.builders.probe import build_probe_job
from mailsync_operator.gate import endpoint_state
from mailsync_operator.naming import job_name, probe_job_name
from mailsync_operator.observe import read, read_accounts, read_spec
from mailsync_operator.report import report_config_map
from mailsync_operator.snapshot import MailSyncObject
from tests.unit_operator.endpoint_objects import endpoint_object
from tests.unit_operator.objects import NOW, mailsync_object, verdict, wanted_hash

_DATA = Path(__file__).parent.parent / "data" / "operator"

_FULL: dict[str, Any] = {
    "source": {
        "port": 1143,
        "username": "alice$(HOME)@example.org",
        "proxy": {
            "type": "HTTPConnect",
            "host": "proxy.example.org",
            "port": 3128,
            "secretRef": {"name": "gate", "usernameKey": "user"},
        },
        "tls": {"mode": "StartTLS", "caRef": {"kind": "Secret", "name": "ca", "key": "tls.crt"}},
        "authentication": {
            "mechanism": "ScramSha256",
            "authorizationIdentity": "bob",
            "secretRef": {"name": "mail", "passwordKey": "alice"},
        },
    },
    "destination": {
        "tls": {
            "mode": "Auto",
            "caRef": {"name": "ca"},
            "serverName": "imap.example.org",
            "clientCertificateRef": {"name": "client", "keyKey": "key"},
        }
    },
    "folders": {"exclude": ["Tr\u00e4sh"]},
    "activeDeadlineSeconds": 3600,
    "ttlSecondsAfterFinished": 0,
    "trigger": {"manual": "again"},
    "retry": {"backoffLimit": 1},
    "podTemplate": {
        "labels": {"team": "mail", "app.kubernetes.io/managed-by": "someone"},
        "annotations": {"note": "x"},
        "resources": {"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}},
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "mail", "operator": "Exists", "effect": "NoSchedule"}],
        "affinity": {
            "podAntiAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": [
                    {"topologyKey": "kubernetes.io/hostname"}
                ]
            }
        },
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}
        ],
        "priorityClassName": "low",
        "serviceAccountName": "engine",
        "imagePullSecrets": [{"name": "registry"}],
        "runtimeClassName": "gvisor",
    },
}


_TOKENS: dict[str, Any] = {
    "source": {
        "authentication": {
            "secretRef": {"name": "delegated", "passwordKey": None, "clientSecretKey": "secret"},
            "oauth2": {
                "grant": "RefreshToken",
                "tokenURL": "https://login.example.org/token",
                "clientID": "app$(HOME)",
                "caRef": {"kind": "Secret", "name": "token-ca", "key": "ca"},
            },
        }
    },
    "destination": {
        "tls": {"mode": "None"},
        "authentication": {
            "mechanism": "XOAuth2",
            "secretRef": {"name": "google", "serviceAccountKey": "robot.json"},
            "oauth2": {"grant": "JWTBearer", "caRef": {"name": "token-ca"}},
        },
    },
}

_GOLDENS = [
    ("job-plain", {}),
    ("job-everything", _FULL),
    ("job-tunnel", {"source": {"tunnel": {}, "tls": {"caRef": {"name": "ca"}}}}),
    ("job-tokens", _TOKENS),
]


def built(mailsync: MailSyncObject, *, number: int = 1) -> dict[str, Any]:
    spec, error = read_spec(mailsync.spec)
    assert spec is not None, error
    accounts, error = read_accounts(spec, {})
    assert accounts is not None, error
    run = CurrentRun(
        number=number,
        type=RunType.INITIAL,
        job_name=job_name(name=mailsync.name, uid=mailsync.uid, run=number),
        start_time=NOW,
        manual=spec.trigger.manual,
    )
    engine = Engine("registry.example/engine:1")
    return to_object(
        build_job(mailsync, spec, accounts, run=run, spec_hash=wanted_hash(mailsync), engine=engine)
    )


def pod_spec(job: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = job["spec"]["template"]["spec"]
    return found


@pytest.mark.parametrize(("golden", "spec"), _GOLDENS)
def test_golden(golden: str, spec: dict[str, Any]) -> None:
    _compare(golden, built(mailsync_object(**spec)))


def _compare(golden: str, made: dict[str, Any]) -> None:
    text = yaml.safe_dump(made, sort_keys=True, allow_unicode=True)
    path = _DATA / f"{golden}.yaml"
    if os.environ.get("UPDATE_GOLDENS"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8"), "if that is right: UPDATE_GOLDENS=1"


def probed(**spec: Any) -> dict[str, Any]:
    endpoint = endpoint_object(generation=4, **spec)
    found, error = read(MailEndpointSpec, endpoint.spec)
    assert found is not None, error
    probe = CurrentProbe(
        number=2,
        job_name=probe_job_name(name=endpoint.name, uid=endpoint.uid, number=2),
        start_time=NOW,
        generation=4,
        manual=found.probe.manual,
    )
    return to_object(build_probe_job(endpoint, found, probe=probe, engine=Engine("engine:1")))


_FULL_PROBE: dict[str, Any] = {
    "port": 1143,
    "tls": _FULL["source"]["tls"] | {"clientCertificateRef": {"name": "client"}},
    "probe": {"manual": "now", "podTemplate": _FULL["podTemplate"]},
}


@pytest.mark.parametrize(
    ("golden", "spec"), [("probe-plain", {}), ("probe-everything", _FULL_PROBE)]
)
def test_golden_probe(golden: str, spec: dict[str, Any]) -> None:
    _compare(golden, probed(**spec))


def test_a_probes_pod_has_no_password_and_is_as_restricted() -> None:
    spec = pod_spec(probed(**_FULL_PROBE))
    assert {volume["name"] for volume in spec["volumes"]} == {"server-ca", "server-client", "tmp"}
    run = pod_spec(built(mailsync_object(**_FULL)))
    [own], [others] = spec["containers"], run["containers"]
    assert own["securityContext"] == others["securityContext"]
    assert spec["securityContext"] == run["securityContext"]
    assert not spec["automountServiceAccountToken"]


def test_the_input_of_a_probe_is_what_the_engine_reads() -> None:
    [container] = pod_spec(probed(**_FULL_PROBE))["containers"]
    [variable] = container["env"]
    assert variable["name"] == names.PROBE_INPUT_ENV
    found = ProbeInput.model_validate_json(variable["value"])
    assert (found.name, found.server.port) == ("old", 1143)


def test_a_probe_goes_by_the_same_proxy_or_tunnel_as_runs() -> None:
    proxy = {"type": "SOCKS5", "host": "p.example.org", "port": 1080, "secretRef": {"name": "x"}}
    [container] = pod_spec(probed(proxy=proxy))["containers"]
    assert {each["name"] for each in container["volumeMounts"]} == {"server-proxy", "tmp"}

    spec = pod_spec(probed(tunnel={}, tls={"caRef": {"name": "ca"}}))
    [sidecar], [engine] = spec["initContainers"], spec["containers"]
    assert sidecar["name"] == names.tunnel_container(names.PROBED_SERVER)
    assert {each["name"] for each in sidecar["volumeMounts"]} == {"server-ca", "tunnel"}
    assert {each["name"] for each in engine["volumeMounts"]} == {"tunnel", "tmp"}


def test_an_answer_ends_a_probe_and_a_death_does_not() -> None:
    [_, final] = probed()["spec"]["podFailurePolicy"]["rules"]
    codes = set(final["onExitCodes"]["values"])
    assert {int(ExitCode.UNREACHABLE), int(ExitCode.TLS_POLICY)} <= codes
    assert not {0, int(ExitCode.INTERNAL), int(ExitCode.TERMINATED), 137} & codes


def test_a_run_remembers_what_its_endpoints_stood_for() -> None:
    mailsync = mailsync_object(source={"host": None, "endpointRef": {"name": "old"}})
    spec, _ = read_spec(mailsync.spec)
    assert spec is not None

    def annotations(**endpoint: Any) -> dict[str, str]:
        state = endpoint_state(endpoint_object(**endpoint))
        assert state.server is not None
        accounts, error = read_accounts(spec, {"old": state.server})
        assert accounts is not None, error
        run = CurrentRun(number=1, type=RunType.INITIAL, job_name="x", start_time=NOW)
        job = build_job(mailsync, spec, accounts, run=run, spec_hash="h", engine=Engine("e"))
        found: dict[str, str] = to_object(job)["metadata"]["annotations"]
        return found

    key = names.SERVERS_HASH_ANNOTATION
    assert annotations()[key] == annotations(probe={"periodSeconds": 60})[key]
    assert annotations()[key] != annotations(port=143)[key]
    assert key not in built(mailsync_object())["metadata"]["annotations"]


def test_the_pod_meets_pod_security_restricted() -> None:
    spec = pod_spec(built(mailsync_object(**_FULL)))
    [container] = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert not container["securityContext"]["allowPrivilegeEscalation"]
    allowed = {"name", "configMap", "secret", "emptyDir"}
    assert all(set(volume) <= allowed for volume in spec["volumes"])
    assert not spec["automountServiceAccountToken"]


def _tunnelled() -> dict[str, Any]:
    tls = {"caRef": {"name": "ca"}, "clientCertificateRef": {"name": "client"}}
    return pod_spec(
        built(
            mailsync_object(
                source={"tunnel": {}, "tls": tls, "username": "alice$(HOME)@example.org"},
                destination={"tunnel": {}, "tls": {"mode": "StartTLS"}},
            )
        )
    )


def test_a_tunnel_is_a_native_sidecar_as_restricted_as_the_engine() -> None:
    spec = _tunnelled()
    [engine] = spec["containers"]
    assert [each["name"] for each in spec["initContainers"]] == [
        names.tunnel_container("source"),
        names.tunnel_container("destination"),
    ]
    for place, sidecar in zip(("source", "destination"), spec["initContainers"], strict=True):
        assert sidecar["restartPolicy"] == "Always"
        assert sidecar["command"] == ["mailsync-tunnel"]
        assert sidecar["image"] == engine["image"]
        assert sidecar["securityContext"] == engine["securityContext"]
        command = sidecar["startupProbe"]["exec"]["command"]
        assert command == ["test", "-s", names.tunnel_ready_path(place)]


def test_a_tunnel_is_told_of_the_server_and_not_of_the_account() -> None:
    [source, _] = _tunnelled()["initContainers"]
    [variable] = source["env"]
    assert variable["name"] == names.TUNNEL_INPUT_ENV
    seen = TunnelInput.model_validate_json(variable["value"].replace("$$", "$"))
    assert (seen.place, seen.server.host) == ("source", "source.example.org")
    assert "alice" not in variable["value"]


def test_certificates_are_the_tunnels_and_passwords_the_engines() -> None:
    spec = _tunnelled()

    def mounted(container: dict[str, Any]) -> dict[str, bool]:
        return {each["name"]: each.get("readOnly", False) for each in container["volumeMounts"]}

    [source, destination], [engine] = spec["initContainers"], spec["containers"]
    assert mounted(source) == {"source-ca": True, "source-client": True, "tunnel": False}
    assert mounted(destination) == {"tunnel": False}
    own = {"source": True, "destination": True, "state": True}
    assert mounted(engine) == {**own, "tunnel": True, "tmp": False}


def test_the_input_is_what_the_engine_reads() -> None:
    [container] = pod_spec(built(mailsync_object(**_FULL)))["containers"]
    [variable] = container["env"]
    assert variable["name"] == names.INPUT_ENV
    # The kubelet turns $$ into a dollar sign, and would replace $(HOME).
    seen = JobInput.model_validate_json(variable["value"].replace("$$", "$"))
    assert seen.source.username == "alice$(HOME)@example.org"
    assert seen.folders.exclude == ["Tr\u00e4sh"]


def test_files_are_where_the_engine_looks_for_them() -> None:
    spec = pod_spec(built(mailsync_object(**_FULL)))
    [container] = spec["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    files = {
        f"{mounts[volume['name']]}/{item['path']}"
        for volume in spec["volumes"]
        for item in (volume.get("secret") or volume.get("configMap") or {}).get("items", [])
    }
    assert files == {
        names.password_path("source"),
        names.password_path("destination"),
        names.proxy_username_path("source"),
        names.proxy_password_path("source"),
        names.ca_path("source"),
        names.ca_path("destination"),
        names.client_certificate_path("destination"),
        names.client_key_path("destination"),
        names.state_path(),
    }


def test_nothing_of_a_secret_but_its_name_is_in_the_job() -> None:
    volumes = {v["name"]: v for v in pod_spec(built(mailsync_object(**_FULL)))["volumes"]}
    assert volumes["source"]["secret"]["items"] == [{"key": "alice", "path": "password"}]


def test_a_side_with_tokens_mounts_what_its_grant_reads() -> None:
    spec = pod_spec(built(mailsync_object(**_TOKENS)))
    items = {
        volume["name"]: {item["key"]: item["path"] for item in source["items"]}
        for volume in spec["volumes"]
        if (source := volume.get("secret") or volume.get("configMap"))
    }
    assert items == {
        "source": {"token": "token", "secret": "client-secret"},
        "source-token-ca": {"ca": "ca.crt"},
        "destination": {"robot.json": "service-account.json"},
        # The token endpoint is verified, whatever the mail server's policy.
        "destination-token-ca": {"ca.crt": "ca.crt"},
        "state": {"state.json": "state.json"},
    }
    [container] = spec["containers"]
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    for side in ("source", "destination"):
        assert names.token_ca_path(side).rpartition("/")[0] in mounts
        assert names.secret_path(side, "token").rpartition("/")[0] in mounts


def test_failure_rules_come_in_an_order_that_the_first_hit_decides() -> None:
    ignore, fail = built(mailsync_object())["spec"]["podFailurePolicy"]["rules"]
    assert ignore["action"] == "Ignore"
    assert fail["action"] == "FailJob"
    assert fail["onExitCodes"]["values"] == sorted(fail_job_codes())
    assert 0 not in fail["onExitCodes"]["values"]


def test_labels_of_ours_win() -> None:
    job = built(mailsync_object(**_FULL))
    assert job["metadata"]["labels"][names.MANAGED_BY_LABEL] == names.FIELD_MANAGER
    assert job["metadata"]["labels"]["team"] == "mail"
    assert job["spec"]["template"]["metadata"]["labels"] == job["metadata"]["labels"]


def test_a_field_that_pods_do_not_have_is_refused() -> None:
    with pytest.raises(ValidationError):
        built(mailsync_object(podTemplate={"topologySpreadConstraints": [{"maxScew": 1}]}))


def test_a_clear_text_side_mounts_no_certificates() -> None:
    job = built(mailsync_object(source={"tls": {"mode": "None"}}))
    assert {volume["name"] for volume in pod_spec(job)["volumes"]} == {
        "source",
        "destination",
        "state",
        "tmp",
    }


def test_a_side_without_a_password_mounts_none() -> None:
    authentication = {"mechanism": "External", "secretRef": None}
    spec = pod_spec(built(mailsync_object(source={"authentication": authentication})))
    expected = {"destination", "state", "tmp"}
    assert {volume["name"] for volume in spec["volumes"]} == expected
    [container] = spec["containers"]
    assert {mount["name"] for mount in container["volumeMounts"]} == expected


def test_no_run_waits_for_the_state_of_the_one_before() -> None:
    spec = pod_spec(built(mailsync_object()))
    [source] = [v["configMap"] for v in spec["volumes"] if v["name"] == names.STATE_VOLUME]
    assert source["optional"] is True
    report = report_config_map(mailsync_object(), Report(verdict=verdict(), state="{}"), run=1)
    assert source["name"] == report["metadata"]["name"]
    assert {item["key"] for item in source["items"]} <= set(report["data"])

"""The chart: what it installs, what it lets the operator do, what it refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from mailsync_api import names
from tests.cluster.binaries import binary
from tests.cluster.shell import run

_ROOT = Path(__file__).parents[2]
_CHART = _ROOT / "charts" / "mailsync"

Objects = dict[tuple[str, str], dict[str, Any]]


def _values() -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((_CHART / "values.yaml").read_text(encoding="utf-8"))
    return values


def _leaves(schema: dict[str, Any], path: str = "") -> set[str]:
    if "properties" not in schema:
        return {path}
    inner = schema["properties"].items()
    return {leaf for key, sub in inner for leaf in _leaves(sub, f"{path}.{key}".lstrip("."))}


def _schema() -> dict[str, Any]:
    text = (_CHART / "values.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def _refusal(*settings: str) -> str:
    """Return what helm says where it must not render."""
    result = run(_command(*settings), check=False)
    assert result.returncode != 0, settings
    return result.stderr


def _rendered(*settings: str) -> Objects:
    """Return the chart's objects by kind and name."""
    made = [each for each in yaml.safe_load_all(run(_command(*settings)).stdout) if each]
    return {(each["kind"], each["metadata"]["name"]): each for each in made}


def _command(*settings: str) -> list[str]:
    values = [word for setting in settings for word in ("--set", setting)]
    chart = ["template", "mailsync", str(_CHART), "--namespace", "mailsync-system"]
    return [str(binary("helm")), *chart, *values]


def _rules(role: dict[str, Any]) -> set[tuple[str, str, str]]:
    return {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


# ---- without helm ----


def test_the_charts_crds_are_those_of_the_api() -> None:
    ours = {path.name: path.read_text(encoding="utf-8") for path in (_ROOT / "crds").glob("*.yaml")}
    copies = (_CHART / "files" / "crds").glob("*.yaml")
    assert {path.name: path.read_text(encoding="utf-8") for path in copies} == ours


def test_chart_and_distribution_have_one_version() -> None:
    chart = yaml.safe_load((_CHART / "Chart.yaml").read_text(encoding="utf-8"))
    project = (_ROOT / "pyproject.toml").read_text(encoding="utf-8")
    version = re.search(r'^version = "(.+)"$', project, re.MULTILINE)
    assert version
    assert chart["version"] == chart["appVersion"] == version[1]


def test_every_value_is_in_the_schema_and_every_object_of_it_is_closed() -> None:
    def check(values: dict[str, Any], schema: dict[str, Any], path: str) -> None:
        assert schema["additionalProperties"] is False, path
        for key, value in values.items():
            sub = schema["properties"][key]
            if isinstance(value, dict) and "properties" in sub:
                check(value, sub, f"{path}.{key}")

    check(_values(), _schema(), "")


def test_the_readme_describes_every_value() -> None:
    text = (_CHART / "README.md").read_text(encoding="utf-8")
    missing = {leaf for leaf in _leaves(_schema()) if f"`{leaf}`" not in text}
    assert missing == {"global"}  # helm's own


# ---- rendered ----


@pytest.mark.cluster
def test_lint_has_nothing_to_say() -> None:
    run([binary("helm"), "lint", "--strict", _CHART])


@pytest.mark.cluster
def test_the_operator_runs_restricted_with_a_read_only_root() -> None:
    pod = _rendered()["Deployment", "mailsync"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"]["memory"]


@pytest.mark.cluster
def test_there_is_never_a_second_operator() -> None:
    spec = _rendered()["Deployment", "mailsync"]["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})


@pytest.mark.cluster
@pytest.mark.parametrize("settings", [[], ["watchNamespaces={mail}"]])
def test_no_role_speaks_of_secrets_or_of_everything(settings: list[str]) -> None:
    objects = _rendered(*settings)
    roles = [each for (kind, _), each in objects.items() if kind in {"Role", "ClusterRole"}]
    assert len(roles) == 3
    words = {word for role in roles for rule in _rules(role) for word in rule}
    assert not words & {"*", "secrets", "impersonate", "escalate", "bind", "pods/exec"}


@pytest.mark.cluster
@pytest.mark.parametrize("settings", [[], ["watchNamespaces={mail}"]])
def test_secrets_are_watched_only_where_that_is_asked_for(settings: list[str]) -> None:
    objects = _rendered("rbac.watchSecrets=true", *settings)
    rules = _rules(objects["Role" if settings else "ClusterRole", "mailsync"])
    assert {verb for _, resource, verb in rules if resource == "secrets"} == {"list", "watch"}
    [container] = objects["Deployment", "mailsync"]["spec"]["template"]["spec"]["containers"]
    values = {each["name"]: each.get("value") for each in container["env"]}
    assert values["MAILSYNC_WATCH_SECRETS"] == "true"


@pytest.mark.cluster
def test_what_the_operator_may_do() -> None:
    assert _rules(_rendered()["ClusterRole", "mailsync"]) == {
        ("mailsync.dev", "mailsyncs", "get"),
        ("mailsync.dev", "mailsyncs", "list"),
        ("mailsync.dev", "mailsyncs", "watch"),
        ("mailsync.dev", "mailsyncs/status", "patch"),
        ("mailsync.dev", "mailendpoints", "get"),
        ("mailsync.dev", "mailendpoints", "list"),
        ("mailsync.dev", "mailendpoints", "watch"),
        ("mailsync.dev", "mailendpoints/status", "patch"),
        ("batch", "jobs", "get"),
        ("batch", "jobs", "list"),
        ("batch", "jobs", "watch"),
        ("batch", "jobs", "create"),
        ("batch", "jobs", "patch"),
        ("batch", "jobs", "delete"),
        ("", "pods", "list"),
        ("", "pods", "watch"),
        ("", "pods/log", "get"),
        ("", "events", "list"),
        ("", "events", "create"),
        ("", "events", "patch"),
        ("", "configmaps", "create"),
        ("", "configmaps", "patch"),
    }


@pytest.mark.cluster
def test_watching_some_namespaces_gives_permissions_in_these_only() -> None:
    settings = ["watchNamespaces={mail,post}", "rbac.aggregate=false"]
    made = yaml.safe_load_all(run(_command(*settings)).stdout)
    found = [
        (each["kind"], each["metadata"].get("namespace"))
        for each in made
        if each and "Role" in each["kind"]
    ]
    assert sorted(found) == [
        ("Role", "mail"),
        ("Role", "post"),
        ("RoleBinding", "mail"),
        ("RoleBinding", "post"),
    ]
    environment = {
        each["name"]: each["value"]
        for each in _rendered(*settings)["Deployment", "mailsync"]["spec"]["template"]["spec"][
            "containers"
        ][0]["env"]
    }
    assert environment["MAILSYNC_NAMESPACES"] == "mail,post"


@pytest.mark.cluster
@pytest.mark.parametrize("plural", ["mailendpoints", "mailsyncs"])
def test_the_crd_is_upgraded_with_the_release_and_kept_without_it(plural: str) -> None:
    crd = _rendered()["CustomResourceDefinition", f"{plural}.mailsync.dev"]
    assert crd["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert crd == yaml.safe_load((_ROOT / "crds" / f"{plural}.yaml").read_text(encoding="utf-8"))
    kinds = {kind for kind, _ in _rendered("crds.install=false")}
    assert "CustomResourceDefinition" not in kinds


@pytest.mark.cluster
def test_both_images_are_of_the_charts_release_unless_said_otherwise() -> None:
    def images(*settings: str) -> tuple[str, str]:
        pod = _rendered(*settings)["Deployment", "mailsync"]["spec"]["template"]["spec"]
        container = pod["containers"][0]
        engine = {each["name"]: each["value"] for each in container["env"]}
        return container["image"], engine["MAILSYNC_SYNCJOB_IMAGE"]

    assert images() == ("mailsync-operator:0.1.0", "mailsync-syncjob:0.1.0")
    assert images("image.syncjob.repository=r.example/engine", "image.syncjob.tag=v7") == (
        "mailsync-operator:0.1.0",
        "r.example/engine:v7",
    )


# ---- NetworkPolicies, as data


def _policy(name: str, *settings: str) -> dict[str, Any]:
    spec: dict[str, Any] = _rendered(*settings)["NetworkPolicy", name]["spec"]
    return spec


def _ports(rule: dict[str, Any]) -> set[tuple[str, int]]:
    return {(each["protocol"], each["port"]) for each in rule["ports"]}


_DNS = {(protocol, port) for protocol in ("UDP", "TCP") for port in (53, 5353)}


@pytest.mark.cluster
def test_there_is_no_network_policy_unless_asked_for() -> None:
    assert not [kind for kind, _ in _rendered() if kind == "NetworkPolicy"]


@pytest.mark.cluster
def test_engines_talk_to_dns_and_imap_and_nobody_to_them() -> None:
    spec = _policy("mailsync-engine", "networkPolicy.enabled=true")
    assert spec.pop("podSelector") == {
        "matchLabels": {
            names.MANAGED_BY_LABEL: names.FIELD_MANAGER,
            names.COMPONENT_LABEL: names.ENGINE_CONTAINER,
        }
    }
    assert sorted(spec.pop("policyTypes")) == ["Egress", "Ingress"]
    assert spec.pop("ingress") == []
    dns, imap = spec.pop("egress")
    assert not spec
    assert (_ports(dns), set(dns)) == (_DNS, {"ports"})
    assert (_ports(imap), set(imap)) == ({("TCP", 143), ("TCP", 993)}, {"ports"})


@pytest.mark.cluster
def test_the_policy_selects_the_pods_that_the_operator_makes() -> None:
    spec = _policy("mailsync-engine", "networkPolicy.enabled=true")
    golden = _ROOT / "tests" / "data" / "operator" / "job-plain.yaml"
    job = yaml.safe_load(golden.read_text(encoding="utf-8"))
    labels = job["spec"]["template"]["metadata"]["labels"]
    assert spec["podSelector"]["matchLabels"].items() <= labels.items()


@pytest.mark.cluster
def test_ports_and_peers_of_the_policy_can_be_chosen() -> None:
    settings = [
        "networkPolicy.enabled=true",
        "networkPolicy.ports={993}",
        "networkPolicy.extraPorts={443,1080,993}",
        "networkPolicy.dnsPorts={53}",
        "networkPolicy.to[0].ipBlock.cidr=192.0.2.0/24",
    ]
    dns, imap = _policy("mailsync-engine", *settings)["egress"]
    assert _ports(dns) == {("UDP", 53), ("TCP", 53)}
    assert [each["port"] for each in imap["ports"]] == [993, 443, 1080]
    assert imap["to"] == [{"ipBlock": {"cidr": "192.0.2.0/24"}}]
    assert "to" not in dns


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("settings", "namespaces"),
    [
        ([], ["mailsync-system"]),
        (["watchNamespaces={mail,post}"], ["mail", "post"]),
        (["watchNamespaces={mail}", "networkPolicy.namespaces={a,b}"], ["a", "b"]),
    ],
)
def test_the_policy_is_made_where_the_engines_are(
    settings: list[str], namespaces: list[str]
) -> None:
    made = yaml.safe_load_all(run(_command("networkPolicy.enabled=true", *settings)).stdout)
    found = [each["metadata"]["namespace"] for each in made if each["kind"] == "NetworkPolicy"]
    assert found == namespaces


@pytest.mark.cluster
def test_the_operators_own_policy() -> None:
    spec = _policy("mailsync", "networkPolicy.operator.enabled=true")
    deployment = _rendered()["Deployment", "mailsync"]["spec"]
    assert spec.pop("podSelector") == deployment["selector"]
    assert sorted(spec.pop("policyTypes")) == ["Egress", "Ingress"]
    (ingress,), (dns, server) = spec.pop("ingress"), spec.pop("egress")
    assert not spec
    container = deployment["template"]["spec"]["containers"][0]
    assert _ports(ingress) == {("TCP", each["containerPort"]) for each in container["ports"]}
    assert _ports(dns) == _DNS
    assert _ports(server) == {("TCP", 443), ("TCP", 6443)}


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("imagePullPolicy=Always", "imagePullPolicy"),
        ("log.level=loud", "level"),
        ("workers=0", "workers"),
        ("watchNamespaces={Mail}", "watchNamespaces"),
        ("metrics.serviceMonitor.intervall=1s", "intervall"),
        ("networkPolicy.extraPorts={0}", "extraPorts"),
        ("networkPolicy.dnsPorts=", "dnsPorts"),
    ],
)
def test_a_wrong_value_is_refused_by_name(setting: str, words: str) -> None:
    assert words in _refusal(setting)


@pytest.mark.cluster
def test_a_service_monitor_needs_the_service() -> None:
    settings = ["metrics.serviceMonitor.enabled=true", "metrics.service=false"]
    assert "metrics.service" in _refusal(*settings)
    assert ("ServiceMonitor", "mailsync") in _rendered(settings[0])

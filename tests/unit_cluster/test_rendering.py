"""Files and command lines of the local cluster."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from tests.cluster import config
from tests.cluster.binaries import MODULES, GoModule, cache_key, link_flags, pinned_version
from tests.cluster.commands import PROGRAMS, command_lines, flags
from tests.cluster.interface import Component, render_status
from tests.cluster.layout import GATEWAY, LOCALHOST, PORTS, Layout
from tests.cluster.manifests import dns_objects

LAYOUT = Layout(state=Path("/cache/cluster"), runtime=Path("/run/here"))
GO = Path(__file__).parents[1] / "cluster" / "go"


def lines() -> dict[str, list[str]]:
    return command_lines(LAYOUT, {name: Path("/bin") / name for name in PROGRAMS})


def test_every_program_has_a_command_line() -> None:
    assert {name: line[0] for name, line in lines().items()} == {
        name: f"/bin/{name}" for name in PROGRAMS
    }


def everything() -> str:
    documents = [
        config.kubelet_config(LAYOUT),
        config.scheduler_config(LAYOUT),
        config.kube_proxy_config(LAYOUT, masquerade_all=False),
        config.cni_network(LAYOUT),
        lines(),
    ]
    toml = config.containerd_config(LAYOUT, pause_image="localhost/p:1", snapshotter="overlayfs")
    return "\n".join([*map(json.dumps, documents), toml])


def test_nothing_is_kept_outside_of_the_cache_and_the_runtime_folder() -> None:
    absolute = set(re.findall(r"""(?:["=]|unix://)(/[\w./-]+)""", everything()))
    programs = {f"/bin/{name}" for name in PROGRAMS}
    read_only = {"/usr/lib/cni", "/mailsync-cluster"}  # plugins; a control group's name
    strangers = {
        path
        for path in absolute - programs - read_only
        if not path.startswith(("/cache/cluster", "/run/here"))
    }
    assert strangers == set()


def test_nothing_listens_on_an_address_of_the_outside() -> None:
    addresses = set(re.findall(r"\b\d+\.\d+\.\d+\.\d+\b(?!/)", everything()))
    assert addresses == {LOCALHOST, GATEWAY, "10.96.0.10"}


def test_ports_are_distinct() -> None:
    ports = [getattr(PORTS, name) for name in PORTS.__slots__]
    assert len(set(ports)) == len(ports)


def test_sockets_fit_the_kernels_limit() -> None:
    assert len(str(Layout(state=Path("/x")).containerd_socket)) < 108


def test_containerd_reads_its_file() -> None:
    text = config.containerd_config(LAYOUT, pause_image="localhost/p:1", snapshotter="native")
    document = tomllib.loads(text)
    cri = document["plugins"]["io.containerd.grpc.v1.cri"]
    assert document["version"] == 2
    assert cri["sandbox_image"] == "localhost/p:1"
    assert cri["containerd"]["snapshotter"] == "native"
    assert cri["containerd"]["runtimes"]["runc"]["options"]["Root"] == "/run/here/runc"


@pytest.mark.parametrize(
    ("filesystem", "expected"), [("ext2/ext3", "overlayfs"), ("overlay", "native")]
)
def test_layers_are_stacked_as_the_file_system_allows(filesystem: str, expected: str) -> None:
    assert config.snapshotter_for(filesystem) == expected


@pytest.mark.parametrize("masquerade", [True, False])
def test_packets_are_masqueraded_where_the_bridge_is_not_filtered(*, masquerade: bool) -> None:
    document = config.kube_proxy_config(LAYOUT, masquerade_all=masquerade)
    assert document["nftables"]["masqueradeAll"] is masquerade


def test_a_kubeconfig_stands_alone() -> None:
    document = config.kubeconfig(
        server="https://[::1]:1", authority=b"ca", certificate=b"crt", key=b"key"
    )
    assert document["clusters"][0]["cluster"]["certificate-authority-data"] == "Y2E="
    assert document["users"][0]["user"] == {
        "client-certificate-data": "Y3J0",
        "client-key-data": "a2V5",
    }
    assert document["contexts"][0]["name"] == document["current-context"]


def test_flags_are_rendered() -> None:
    assert flags({"name": "a b", "empty": ""}) == ["--name=a b", "--empty="]


def test_dns_has_no_way_to_the_outside() -> None:
    objects = {item["kind"]: item for item in dns_objects("localhost/d:1")["items"]}
    assert "forward" not in objects["ConfigMap"]["data"]["Corefile"]
    assert (
        objects["Service"]["spec"]["selector"]
        == (objects["Deployment"]["spec"]["template"]["metadata"]["labels"])
    )


@pytest.mark.parametrize(
    ("module", "version"),
    [
        ("k8s.io/kubernetes", "v1.35.4"),
        ("helm.sh/helm/v4", "v4.3.1"),
        ("github.com/coredns/coredns", "v1.14.7"),
    ],
)
def test_versions_are_pinned(module: str, version: str) -> None:
    texts = [path.read_text(encoding="utf-8") for path in GO.glob("*/go.mod")]
    [text] = [text for text in texts if f"{module} v" in text]
    assert pinned_version(text, module) == version


def test_an_unpinned_module_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"does not require example\.org/x"):
        pinned_version("require example.org/xy v1.0.0\n", "example.org/x")


def test_every_staging_module_is_the_kubernetes_releases_own() -> None:
    text = (GO / "kubernetes" / "go.mod").read_text(encoding="utf-8")
    replaced = re.findall(r"^\s*(k8s\.io/\S+) => (\S+) (\S+)$", text, re.MULTILINE)
    assert len(replaced) == 31
    assert all(old == new and version == "v0.35.4" for old, new, version in replaced)


def test_the_version_is_linked_in() -> None:
    module = GoModule("x", {}, version_of="a.b/c", version_flags=("p.v={version}", "p.m={minor}"))
    assert link_flags(module, "require a.b/c v1.35.4\n") == "-s -w -X p.v=v1.35.4 -X p.m=35"


def test_a_command_is_built_by_one_module_only() -> None:
    commands = [command for module in MODULES for command in module.packages]
    assert len(set(commands)) == len(commands)


def test_the_cache_key_follows_every_input() -> None:
    def key(name: str = "a", content: bytes = b"1", *, settings: tuple[str, ...] = ("s",)) -> str:
        return cache_key({name: content}, settings)

    assert key() == key()
    others = [key("b"), key(content=b"2"), key(settings=("t",)), key(settings=("s", ""))]
    assert len({key(), *others}) == 5


def test_the_status_is_a_table() -> None:
    table = render_status(
        [
            Component("etcd", healthy=True, detail="process 7"),
            Component("kubelet", healthy=False, detail="ended"),
        ]
    )
    assert table.splitlines() == [
        "COMPONENT  HEALTHY  DETAIL",
        "etcd       yes      process 7",
        "kubelet    no       ended",
    ]


def test_the_status_of_nothing_says_so() -> None:
    assert render_status([]) == "The cluster is down."

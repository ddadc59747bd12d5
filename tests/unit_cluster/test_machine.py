"""What is read from the machine: versions, mounts, routes, control groups, packages, caches."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster.cache import cache_root
from tests.cluster.cgroups import Hierarchy, hierarchies
from tests.cluster.host import mounts_under, overlapping
from tests.cluster.packages import missing_from
from tests.cluster.providers import Machine, ProviderName, choose
from tests.cluster.shell import ToolingError
from tests.cluster.toolchain import MINIMUM_GO, parse_version


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"MAILSYNC_CACHE": "/big/disk", "XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/big/disk"),
        ({"XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/x/mailsync"),
        ({"XDG_CACHE_HOME": "", "HOME": "/h"}, "/h/.cache/mailsync"),
        ({"MAILSYNC_CACHE": "", "HOME": "/h"}, "/h/.cache/mailsync"),
    ],
)
def test_the_cache_is_where_the_user_wants_it(environ: dict[str, str], expected: str) -> None:
    assert cache_root(environ) == Path(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("go version go1.26.8 linux/amd64", (1, 26, 8)),
        ("go version go1.27 linux/arm64", (1, 27)),
        ("go version go1.19.8 linux/amd64", (1, 19, 8)),
        ("go version devel go1.28-abcdef linux/amd64", (1, 28)),
        ("gccgo (Debian 12.2.0) 12.2.0", ()),
        ("", ()),
    ],
)
def test_go_versions_are_read(text: str, expected: tuple[int, ...]) -> None:
    assert parse_version(text) == expected


def test_unknown_and_old_go_versions_are_too_old() -> None:
    assert parse_version("") < MINIMUM_GO
    assert parse_version("go version go1.9.2 linux/amd64") < MINIMUM_GO
    assert parse_version("go version go1.100.0 linux/amd64") > MINIMUM_GO


_MOUNTINFO = r"""21 1 254:0 / / rw,relatime - ext4 /dev/vda rw
40 21 0:40 / /cache/cluster/kubelet rw - tmpfs tmpfs rw
41 40 0:41 / /cache/cluster/kubelet/pods/a/token rw - tmpfs tmpfs rw
42 21 0:42 / /cache/cluster-other rw - tmpfs tmpfs rw
43 21 0:43 / /run/mailsync-cluster/netns\040one rw shared:3 - nsfs nsfs rw
44 21 0:44 / /run/docker/netns rw - nsfs nsfs rw"""


def test_mounts_are_found_innermost_first_and_only_under_the_folders() -> None:
    found = mounts_under(_MOUNTINFO, [Path("/cache/cluster"), Path("/run/mailsync-cluster")])
    assert found[0] == "/cache/cluster/kubelet/pods/a/token"
    assert set(found[1:]) == {"/run/mailsync-cluster/netns one", "/cache/cluster/kubelet"}


def test_no_mount_is_found_where_there_is_none() -> None:
    assert mounts_under(_MOUNTINFO, [Path("/cache/clust")]) == []


@pytest.mark.parametrize(
    ("route", "expected"),
    [
        ({"dst": "default", "dev": "eth0"}, []),
        ({"dst": "192.0.2.0/24", "dev": "eth0"}, []),
        ({"dst": "10.244.0.0/24", "dev": "mailsync0"}, []),
        ({"dst": "10.244.0.0/16", "dev": "flannel.1"}, ["10.244.0.0/16 on flannel.1"]),
        ({"dst": "10.244.0.7", "dev": "cali1"}, ["10.244.0.7 on cali1"]),
    ],
)
def test_another_use_of_the_pods_network_is_found(
    route: dict[str, object], expected: list[str]
) -> None:
    assert overlapping([route]) == expected


def test_control_groups_of_a_hybrid_machine() -> None:
    mounts = """\
tmpfs /sys/fs/cgroup tmpfs rw 0 0
cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0
proc /proc proc rw 0 0"""
    assert hierarchies(mounts) == [
        Hierarchy(Path("/sys/fs/cgroup/memory"), unified=False),
        Hierarchy(Path("/sys/fs/cgroup/unified"), unified=True),
    ]


def test_missing_packages_keep_their_order_and_are_named_once() -> None:
    assert missing_from(["b", "a", "b", "c"], frozenset({"a"})) == ("b", "c")


def _machine(
    *,
    context: str = "",
    docker_engine: bool = False,
    kind: bool = False,
    linux: bool = True,
    root: bool = True,
) -> Machine:
    return Machine(context=context, docker_engine=docker_engine, kind=kind, linux=linux, root=root)


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        (_machine(), "local"),
        (_machine(kind=True), "local"),
        (_machine(docker_engine=True), "local"),
        (_machine(kind=True, docker_engine=True), "kind"),
        (_machine(kind=True, docker_engine=True, linux=False, root=False), "kind"),
        (_machine(context="staging"), "context"),
        (_machine(context="staging", kind=True, docker_engine=True), "context"),
    ],
)
def test_the_provider_is_chosen_by_what_works(machine: Machine, expected: ProviderName) -> None:
    assert choose(machine) == expected


@pytest.mark.parametrize("machine", [_machine(root=False), _machine(linux=False)])
def test_without_any_provider_the_error_says_what_each_needs(machine: Machine) -> None:
    with pytest.raises(ToolingError, match=r"CONTEXT=.*kind.*Docker.*root"):
        choose(machine)

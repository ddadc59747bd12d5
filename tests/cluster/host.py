"""What the local cluster changes on the machine besides its processes, and how it is put back."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import shutil
import signal
import socket
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.cluster.layout import BRIDGE, GATEWAY, LOCALHOST, NETWORK, POD_CIDR, Layout
from tests.cluster.processes import wait_until
from tests.cluster.shell import ToolingError, run

__all__ = [
    "FOREIGN_FOLDERS",
    "MARKER",
    "bridged_packets_filtered",
    "busy_ports",
    "filesystem_of",
    "make_network",
    "mounts_under",
    "overlapping",
    "read_settings",
    "remove_foreign",
    "remove_network",
    "stop_strays",
    "unmount_under",
    "write_settings",
]

MARKER = "MAILSYNC_CLUSTER"
"""Environment variable of every process that the cluster starts; its value names the cluster."""

_SETTINGS = (
    "net/ipv4/ip_forward",  # ours
    # The kubelet's own:
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
FOREIGN_FOLDERS = (
    "/opt/cni",
    "/run/containerd",
    "/run/flannel",
    "/run/nri",
    "/usr/libexec/kubernetes",
    "/var/lib/cni",
    "/var/lib/kubelet",
    "/var/log/containers",
    "/var/log/pods",
)
"""Folders that programs of the cluster make wherever they are told to work."""
_NFT_TABLES = (("ip", "kube-proxy"), ("ip6", "kube-proxy"))
_SYS = Path("/proc/sys")


def read_settings() -> dict[str, str]:
    """Read the kernel settings that a running cluster changes."""
    present = (name for name in _SETTINGS if (_SYS / name).exists())
    return {name: (_SYS / name).read_text(encoding="ascii").strip() for name in present}


def write_settings(values: dict[str, str]) -> None:
    """Write kernel settings, those only that differ."""
    for name, value in values.items():
        path = _SYS / name
        if path.exists() and path.read_text(encoding="ascii").strip() != value:
            path.write_text(value, encoding="ascii")


def bridged_packets_filtered() -> bool:
    """Whether netfilter sees packets between two ports of one bridge (br_netfilter)."""
    path = _SYS / "net/bridge/bridge-nf-call-iptables"
    return path.exists() and path.read_text(encoding="ascii").strip() == "1"


def filesystem_of(folder: Path) -> str:
    """Type of the file system that a folder is on."""
    return run(["stat", "--file-system", "--format=%T", folder]).stdout.strip().removesuffix("fs")


def make_network() -> None:
    """Make the pods' bridge, with the node's address on it; forwarding is switched on."""
    run(["ip", "link", "add", BRIDGE, "type", "bridge"])
    prefix = ipaddress.ip_network(POD_CIDR).prefixlen
    run(["ip", "address", "add", f"{GATEWAY}/{prefix}", "dev", BRIDGE])
    run(["ip", "link", "set", BRIDGE, "up"])
    write_settings({"net/ipv4/ip_forward": "1"})


def remove_network() -> None:
    """Remove the bridge, its ports and kube-proxy's rules."""
    shown = run(["ip", "-json", "link", "show", "master", BRIDGE], check=False)
    ports = json.loads(shown.stdout or "[]") if shown.returncode == 0 else []
    for port in ports:
        # Gone by itself, in its own time, with the network namespace of its other end.
        run(["ip", "link", "delete", port["ifname"]], check=False)
    run(["ip", "link", "delete", BRIDGE], check=False)
    if shutil.which("nft"):
        for family, table in _NFT_TABLES:
            run(["nft", "delete", "table", family, table], check=False)


def overlapping(routes: Sequence[dict[str, object]], network: str = POD_CIDR) -> list[str]:
    """Devices, other than the cluster's own, with a route into the pods' network.

    Parameters
    ----------
    routes
        As ``ip -json route`` prints them.
    """
    wanted = ipaddress.ip_network(network)
    found = []
    for route in routes:
        target = str(route.get("dst", "default"))
        if target == "default" or route.get("dev") == BRIDGE:
            continue
        if ipaddress.ip_network(target, strict=False).overlaps(wanted):
            found.append(f"{target} on {route.get('dev', 'no device')}")
    return found


def busy_ports(ports: Iterable[int]) -> list[int]:
    """Those of the TCP ports that something listens on at the loopback address."""
    busy = []
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOCALHOST, port))
            except OSError:
                busy.append(port)
    return busy


def mounts_under(mountinfo: str, folders: Iterable[Path]) -> list[str]:
    r"""Mount points at or under the folders, the innermost first.

    Parameters
    ----------
    mountinfo
        The text of ``/proc/self/mountinfo``: the fifth field is the mount point, with spaces as
        ``\\040`` (proc(5)).
    """
    roots = [str(folder) for folder in folders]
    points = [
        line.split()[4].encode("latin-1", "replace").decode("unicode_escape")
        for line in mountinfo.splitlines()
    ]
    inside = [
        point
        for point in points
        if any(point == root or point.startswith(f"{root}/") for root in roots)
    ]
    # Later lines lie on earlier ones where both have the same mount point.
    return sorted(inside, key=lambda point: point.count("/"), reverse=True)


def unmount_under(*folders: Path) -> None:
    """Unmount everything at or under the folders."""
    for point in mounts_under(Path("/proc/self/mountinfo").read_text(encoding="utf-8"), folders):
        if run(["umount", point], check=False).returncode != 0:
            run(["umount", "--lazy", point], check=False)


def stop_strays(layout: Layout, program: bytes = b"") -> None:
    """Kill processes of this cluster that no record names.

    They are known by a mark in their environment: a program that was started just before the one
    that would have written it down was killed, and the shims of containerd, which outlive it on
    purpose; a shim also names its containerd's socket on the command line.

    Parameters
    ----------
    program
        Only those whose path has this in it.
    """
    mark = f"{MARKER}={layout.runtime}".encode()
    socket_path = str(layout.containerd_socket).encode()

    def is_ours(process: Path) -> bool:
        words = (process / "cmdline").read_bytes().split(b"\0")
        if program not in words[0]:
            return False
        if b"containerd-shim" in words[0] and socket_path in words:
            return True
        return mark in (process / "environ").read_bytes().split(b"\0")

    def running() -> list[int]:
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it ended while it was looked at
                found += [int(process.name)] if is_ours(process) else []
        return found

    for pid in running():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    if not wait_until(lambda: not running(), timeout=10):
        raise ToolingError(f"processes of the local cluster do not end: {running()}")


def remove_foreign(absent_before: Iterable[str]) -> None:
    """Remove folders that were not there before the cluster, and its files in those that were."""
    for name in sorted(absent_before, reverse=True):
        shutil.rmtree(name, ignore_errors=True)
    for leftover in Path("/var/lib/cni/results").glob(f"{NETWORK}-*"):
        leftover.unlink(missing_ok=True)

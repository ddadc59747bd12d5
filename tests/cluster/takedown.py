"""Taking the local cluster down: no process, mount, interface, rule or file of it stays."""

from __future__ import annotations

import dataclasses
import shutil

from tests.cluster.cgroups import kill_members, remove_groups
from tests.cluster.host import (
    remove_foreign,
    remove_network,
    stop_strays,
    unmount_under,
    write_settings,
)
from tests.cluster.layout import Layout
from tests.cluster.processes import stop_all
from tests.cluster.record import Record
from tests.cluster.shell import step

__all__ = ["take_down"]


def take_down(layout: Layout, record: Record) -> None:
    """Stop and remove everything that the record and the layout name.

    Works from any state: half started, half taken down, or left behind by a crash.
    """
    layout = dataclasses.replace(layout, state=record.state)

    def stop(*names: str) -> None:
        found = [record.daemon(name) for name in names]
        stop_all([daemon for daemon in found if daemon])

    with step("stopping the node and its pods"):
        # The kubelet first: it would start again whatever is stopped below.
        stop("kubelet", "kube-proxy")
        kill_members()
        stop("containerd")
        stop_strays(layout, b"containerd-shim")
    with step("stopping the control plane"):
        stop("kube-scheduler", "kube-controller-manager", "kube-apiserver")
        stop("etcd")
        stop_strays(layout)
    with step("removing mounts, network, control groups and files"):
        unmount_under(layout.state, layout.runtime)
        remove_network()
        remove_groups()
        write_settings(record.settings)
        remove_foreign(record.absent)
        # Logs stay: after a failure they are what one wants to read.
        logs = layout.logs
        for path in layout.state.iterdir() if layout.state.exists() else []:
            if path == logs:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        # The record last: while it is there, the job is not done.
        shutil.rmtree(layout.runtime)

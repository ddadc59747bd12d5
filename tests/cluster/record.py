"""What a run of the local cluster has started and changed, kept where a reboot forgets it."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster.layout import Layout
from tests.cluster.processes import Daemon

__all__ = ["Record", "read_record", "write_record"]


@dataclass(frozen=True, slots=True)
class Record:
    """Everything that taking the cluster down needs to know.

    Attributes
    ----------
    state
        The run's folder on disk: another cache folder may be set by the time it is taken down.
    daemons
        Started processes, in the order of their start.
    settings
        Kernel settings as they were before.
    absent
        Folders outside of the run's own that were not there before.
    """

    state: Path
    daemons: tuple[Daemon, ...] = ()
    settings: dict[str, str] = field(default_factory=dict)
    absent: tuple[str, ...] = ()

    def started(self, daemon: Daemon) -> Record:
        """Return the record with one more process in it."""
        return dataclasses.replace(self, daemons=(*self.daemons, daemon))

    def daemon(self, name: str) -> Daemon | None:
        """Find a process by its program's name."""
        return next((each for each in self.daemons if each.name == name), None)


def read_record(layout: Layout) -> Record | None:
    """Read the record; None when no cluster was started since the last boot."""
    try:
        document = json.loads(layout.record.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return Record(
        state=Path(document["state"]),
        daemons=tuple(Daemon(**daemon) for daemon in document["daemons"]),
        settings=document["settings"],
        absent=tuple(document["absent"]),
    )


def write_record(layout: Layout, record: Record) -> None:
    """Write the record in one go, so that it is never read half written."""
    document = dataclasses.asdict(record) | {"state": str(record.state)}
    layout.record.parent.mkdir(parents=True, exist_ok=True)
    new = layout.record.with_suffix(".new")
    new.write_text(json.dumps(document, indent=1), encoding="utf-8")
    new.replace(layout.record)

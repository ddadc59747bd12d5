"""What is kept of a run: its report and the resume state, in a ConfigMap of bounded size.

Both come in one line of the log. A line that cannot be read leaves the ConfigMap as it is: the next
run gets an older state then, which costs it time and nothing else.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any, Final

from mailsync_api import names
from mailsync_api.report import Report, ReportLine, parse_line
from mailsync_api.state import STATE_BYTES
from mailsync_operator.naming import report_name

if TYPE_CHECKING:
    from mailsync_operator.snapshot import MailSyncObject

__all__ = ["REPORT_KEY", "find_report", "report_config_map"]

REPORT_KEY: Final = "report.json"
REPORT_BYTES: Final = 900 * 1024
"""The most that a report takes."""
CONFIG_MAP_BYTES: Final = 1000 * 1024
"""What report and state take together: a ConfigMap holds 1 MiB in all."""
_MARGIN: Final = 200
"""Bytes for the names of the lists and the count of what is left out."""
_log = logging.getLogger(__name__)


def find_report(log: str) -> Report | None:
    """Return the report in a log, None if it is not (or not whole) in it."""
    for line in reversed(log.splitlines()):
        if '"report"' in line:
            parsed = parse_line(line)
            if isinstance(parsed, ReportLine):
                return parsed.report
    return None


def report_config_map(mailsync: MailSyncObject, report: Report, *, run: int) -> dict[str, Any]:
    """Return the ConfigMap with a report and the state for the next run, owned by the MailSync."""
    state = _state(mailsync, report)
    room = CONFIG_MAP_BYTES - len(state.encode())
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": report_name(name=mailsync.name, uid=mailsync.uid),
            "namespace": mailsync.namespace,
            "labels": {
                names.NAME_LABEL: "mailsync",
                names.COMPONENT_LABEL: "report",
                names.MANAGED_BY_LABEL: names.FIELD_MANAGER,
                names.UID_LABEL: mailsync.uid,
                names.RUN_LABEL: str(run),
            },
            "annotations": {names.NAME_ANNOTATION: mailsync.name},
            "ownerReferences": [
                {
                    "apiVersion": names.API_VERSION,
                    "kind": names.KIND_MAILSYNC,
                    "name": mailsync.name,
                    "uid": mailsync.uid,
                    "controller": True,
                    "blockOwnerDeletion": False,
                }
            ],
        },
        "data": {REPORT_KEY: _text(report, most=min(room, REPORT_BYTES))}
        | ({names.STATE_FILE_NAME: state} if state else {}),
    }


def _state(mailsync: MailSyncObject, report: Report) -> str:
    """Return the state, empty where there is none that fits: the next run does without it then."""
    state = report.state or ""
    if len(state.encode()) <= STATE_BYTES:
        return state
    _log.warning(
        "the resume state of a run has %d bytes and is not kept; the next run compares in full",
        len(state.encode()),
        extra={"mailsync": "/".join(mailsync.key)},
    )
    return ""


def _text(report: Report, *, most: int) -> str:
    """Return the report as JSON; what does not fit is left out, and that is said."""
    wire = report.to_wire()
    wire.pop("state", None)
    skipped, folders = wire.pop("skipped"), wire.pop("folders")
    room = most - len(_json(wire).encode()) - _MARGIN
    # What was skipped matters more, and may take what the folders leave of three quarters.
    kept_folders = _fitting(folders, room // 4)
    kept_skipped = _fitting(skipped, room - _size(kept_folders))
    kept_folders = _fitting(folders, room - _size(kept_skipped))
    cut: dict[str, Any] = {"skipped": kept_skipped, "folders": kept_folders}
    omitted = {
        "skipped": len(skipped) - len(kept_skipped),
        "folders": len(folders) - len(kept_folders),
    }
    if any(omitted.values()):
        cut["omitted"] = omitted
    return _json(wire | cut)


def _json(value: Any) -> str:  # noqa: ANN401  any JSON
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _size(items: list[Any]) -> int:
    return len(_json(items).encode())


def _fitting(items: list[Any], room: int) -> list[Any]:
    """Return the first items, as many as have room."""
    left = room - 2
    for index, item in enumerate(items):
        left -= len(_json(item).encode()) + 1
        if left < 0:
            return items[:index]
    return items

"""The report of a run: found in the log, kept in a ConfigMap of bounded size."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from mailsync_api import names
from mailsync_api.report import Report, ReportLine, parse_line
from mailsync_operator.naming import report_name

if TYPE_CHECKING:
    from mailsync_operator.snapshot import MailSyncObject

__all__ = ["REPORT_KEY", "find_report", "report_config_map"]

REPORT_KEY: Final = "report.json"
REPORT_BYTES: Final = 900 * 1024
"""A ConfigMap holds 1 MiB in all."""


def find_report(log: str) -> Report | None:
    """Return the report in a log, None if it is not (or not whole) in it."""
    for line in reversed(log.splitlines()):
        if '"report"' in line:
            parsed = parse_line(line)
            if isinstance(parsed, ReportLine):
                return parsed.report
    return None


def report_config_map(mailsync: MailSyncObject, report: Report, *, run: int) -> dict[str, Any]:
    """Return the ConfigMap with a report, owned by the MailSync."""
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
        "data": {REPORT_KEY: _text(report)},
    }


def _text(report: Report) -> str:
    """Return the report as JSON; what does not fit is left out, and that is said."""
    wire = report.to_wire()
    lists = {key: wire[key] for key in ("skipped", "folders")}
    omitted = dict.fromkeys(lists, 0)
    text = json.dumps(wire, ensure_ascii=False, indent=1)
    while len(text.encode()) > REPORT_BYTES and any(lists.values()):
        # The longer list gives way; by quarters, as a message's size is not known beforehand.
        key = max(lists, key=lambda name: len(lists[name]))
        drop = max(1, len(lists[key]) // 4)
        omitted[key] += drop
        lists[key] = lists[key][:-drop]
        cut = wire | lists | {"omitted": omitted}
        text = json.dumps(cut, ensure_ascii=False, indent=1)
    return text

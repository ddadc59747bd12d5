"""Renders docs/metrics.md from the catalogue: ``python -m mailsync_operator.metrics_docs``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mailsync_operator.metrics import CATALOGUE, Metric

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["main", "render"]

_HEAD = """\
# Metrics

<!-- Rendered from operator/mailsync_operator/metrics.py by
`python -m mailsync_operator.metrics_docs --write docs/metrics.md`: do not edit. -->

The operator serves its metrics at `/metrics` on port 8080. Times are in seconds, sizes in bytes. No
label holds a mail address, a UID or the text of an error.

"""

_OBJECTS = """\
## Of each MailSync

Taken from the resources at the moment of the scrape: a restarted operator says the same, and what
was deleted is gone. `--per-object-metrics=false` switches them off, for clusters with very many
mailboxes; `mailsync_objects` stays.

"""

_ENDPOINTS = """\
## Of each MailEndpoint

Taken from the resources as well, and always there.

"""

_PROCESS = """\
## Of all runs, and of the operator itself

Counters start from zero with the operator's process. A run is counted once, when its end is written
to the status. The usual `process_*` and `python_info` series are there too.

"""

_EXAMPLES = """\
## Useful questions

```promql
# How many MailSyncs are in which state
sum by (state) (mailsync_objects)
# Those that only a person can help
mailsync_status_condition{type="Stalled", status="True"}
# Those whose last success is more than two days ago
time() - mailsync_last_success_timestamp_seconds > 2 * 86400
# Connections in clear text or with an unverified certificate
mailsync_status_condition{type="TLSSecured", status="False"}
# Certificates of mail servers that end within two weeks
mailsync_certificate_expiry_timestamp_seconds - time() < 14 * 86400
# Servers that let no run start, and why
mailsync_endpoint_status_condition{type="Ready", status="False"}
# Servers whose certificate ends within two weeks, or has ended
mailsync_endpoint_certificate_expiry_timestamp_seconds - time() < 14 * 86400
# Servers that nobody has been able to probe for a day
time() - mailsync_endpoint_last_probe_timestamp_seconds > 86400
# MailSyncs that wait for a server
mailsync_objects{state="WaitingForEndpoint"}
# Messages copied per second, over all mailboxes
sum(rate(mailsync_copied_messages_total[5m]))
# Failed runs of the last hour by reason
sum by (reason) (increase(mailsync_runs_total{result="Failed"}[1h]))
```
"""


def _table(metrics: Iterable[Metric]) -> str:
    lines = ["| Metric | Type | Labels | Meaning |", "|---|---|---|---|"]
    for metric in metrics:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        lines.append(f"| `{metric.name}` | {metric.kind} | {labels} | {metric.help} |")
    return "\n".join(lines) + "\n\n"


def render() -> str:
    """Return the page."""
    return "".join(
        (
            _HEAD,
            _OBJECTS,
            _table(metric for metric in CATALOGUE if metric.per_object),
            _ENDPOINTS,
            _table(metric for metric in CATALOGUE if metric.per_endpoint),
            _PROCESS,
            _table(m for m in CATALOGUE if not m.per_object and not m.per_endpoint),
            _EXAMPLES,
        )
    )


def main(arguments: list[str] | None = None) -> int:
    """Write the page of metrics."""
    parser = argparse.ArgumentParser(prog="mailsync_operator.metrics_docs")
    parser.add_argument("--write", type=Path, metavar="FILE", required=True, help="the page")
    parser.parse_args(arguments).write.write_text(render(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Log lines: JSON for machines, plain text for people."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Final

from typing_extensions import override

__all__ = ["JsonFormatter", "configure"]

_EXTRA: Final = ("mailsync", "mailendpoint", "event")


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name in _EXTRA if (value := getattr(record, name, None))}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class _PlainFormatter(logging.Formatter):
    """Time, level, object and text."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        about = getattr(record, "mailsync", None) or getattr(record, "mailendpoint", None)
        return f"{text} [{about}]" if about else text


def configure(*, style: str, level: str) -> None:
    """Send all log lines to stderr in this style."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonFormatter()
        if style == "json"
        else _PlainFormatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # kopf says of every event and every probe that it was handled.
    for noisy in ("kopf.objects", "kopf.activities", "asyncio", "aiohttp.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)

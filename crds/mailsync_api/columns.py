"""The columns of ``kubectl get``, and of ``kubectl get -o wide``."""

from __future__ import annotations

from typing import Any

__all__ = ["endpoint_columns", "mailsync_columns"]


def _column(
    name: str, kind: str, path: str, description: str, *, wide: bool = False
) -> dict[str, Any]:
    return {
        "name": name,
        "type": kind,
        "jsonPath": path,
        "description": description,
        "priority": int(wide),
    }


def _condition(name: str, field: str) -> str:
    return f'.status.conditions[?(@.type=="{name}")].{field}'


def _age() -> dict[str, Any]:
    return _column("Age", "date", ".metadata.creationTimestamp", "Since when it exists.")


def mailsync_columns() -> list[dict[str, Any]]:
    """Return the columns of MailSyncs."""
    return [
        _column("Status", "string", _condition("Succeeded", "reason"), "The state in one word."),
        _column("Progress", "integer", ".status.progress.percent", "Done, of a hundred."),
        _column(
            "Messages", "integer", ".status.progress.messages.completed", "Messages dealt with."
        ),
        _column("Skipped", "integer", ".status.progress.skipped", "Messages that were not copied."),
        _column("Rate", "integer", ".status.progress.messagesPerSecond", "Messages per second."),
        _column("Last Sync", "date", ".status.lastSyncTime", "When a run last succeeded."),
        _column("Next", "string", ".status.nextSyncTime", "When the next run starts."),
        _age(),
        _column(
            "Bytes", "integer", ".status.progress.bytes.completed", "Bytes dealt with.", wide=True
        ),
        _column(
            "TLS",
            "string",
            _condition("TLSSecured", "reason"),
            "How the connections are.",
            wide=True,
        ),
        _column(
            "Failures", "integer", ".status.consecutiveFailures", "Failed runs in a row.", wide=True
        ),
    ]


def endpoint_columns() -> list[dict[str, Any]]:
    """Return the columns of MailEndpoints."""
    return [
        _column("Host", "string", ".status.address", "Host and port."),
        _column("Ready", "string", _condition("Ready", "status"), "Whether runs may start."),
        _column("TLS", "string", _condition("TLSSecured", "reason"), "How the connection is."),
        _column("Protocol", "string", ".status.tls.protocol", "The TLS version."),
        # Not of type date: that is shown as an age, and an end in the future as <invalid>.
        _column(
            "Expires", "string", ".status.certificate.notAfterTime", "When the certificate ends."
        ),
        _column("Latency", "integer", ".status.latencyMilliseconds", "Milliseconds per command."),
        _column("Probed", "date", ".status.lastProbeTime", "When the server was last probed."),
        _age(),
        _column(
            "Reason", "string", _condition("Ready", "reason"), "Why it is ready or not.", wide=True
        ),
        _column("Preset", "string", ".spec.preset", "Which service or software.", wide=True),
        _column("Next", "string", ".status.nextProbeTime", "When it is probed next.", wide=True),
    ]

"""The operator's settings: read once, at the edge, from flags and environment."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Settings", "read_settings"]

_PREFIX: Final = "MAILSYNC_"


@dataclass(frozen=True, slots=True)
class Settings:
    """How this operator runs."""

    image: str
    """The engine's image, of the same release."""
    image_pull_policy: str = "IfNotPresent"
    namespaces: tuple[str, ...] = ()
    """Which namespaces it serves; all of them if empty."""
    workers: int = 8
    """How many MailSyncs are looked at at the same time."""
    metrics_port: int = 8080
    health_port: int = 8081
    log_format: str = "json"
    log_level: str = "info"
    per_object_metrics: bool = True
    """Whether there are metrics for each MailSync; without, sums only."""
    watch_secrets: bool = False
    """Whether it watches Secrets (their metadata); it needs the permission then."""


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _yes(text: str) -> bool:
    match text.strip().lower():
        case "true" | "yes" | "1":
            return True
        case "false" | "no" | "0":
            return False
        case _:
            raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


def _port(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"{number} is no port (1 to 65535)")
    return number


def read_settings(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Return the settings; a flag wins over its environment variable.

    Raises
    ------
    SystemExit
        Something is missing or makes no sense; the text is on stderr.
    """
    parser = argparse.ArgumentParser(
        prog="mailsync-operator",
        description="Runs a Job for every MailSync and tells how it goes.",
        epilog=f"Each flag has an environment variable: {_PREFIX}WORKERS for --workers, and so on.",
    )

    def flag(name: str, variable: str, default: str | None, **options: object) -> None:
        value = environment.get(_PREFIX + variable) or default
        parser.add_argument(
            name,
            default=value,
            required=value is None,
            **options,  # type: ignore[arg-type]  # argparse's own keywords
        )

    flag("--image", "SYNCJOB_IMAGE", None, metavar="REF", help="image of the sync engine")
    flag(
        "--image-pull-policy",
        "SYNCJOB_IMAGE_PULL_POLICY",
        "IfNotPresent",
        choices=("Always", "IfNotPresent", "Never"),
        help="when nodes pull it (default: %(default)s)",
    )
    flag("--namespaces", "NAMESPACES", "", type=_split, help="a,b,c (default: all)")
    flag("--workers", "WORKERS", "8", type=_count, help="parallel looks (default: %(default)s)")
    flag("--metrics-port", "METRICS_PORT", "8080", type=_port, help="/metrics and /readyz")
    flag("--health-port", "HEALTH_PORT", "8081", type=_port, help="/healthz")
    flag("--log-format", "LOG_FORMAT", "json", choices=("json", "plain"), help="log lines")
    levels = ("debug", "info", "warning", "error")
    flag("--log-level", "LOG_LEVEL", "info", choices=levels, help="least level")
    flag(
        "--per-object-metrics",
        "PER_OBJECT_METRICS",
        "true",
        type=_yes,
        metavar="true|false",
        help="metrics for each MailSync (default: %(default)s)",
    )
    flag(
        "--watch-secrets",
        "WATCH_SECRETS",
        "false",
        type=_yes,
        metavar="true|false",
        help="see when Secrets change, by their metadata (default: %(default)s)",
    )
    return Settings(**vars(parser.parse_args(list(arguments))))

"""Names of servers and of Kubernetes objects, checked alike by pydantic and by the API server."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from mailsync_api.schema import cel_value

__all__ = ["DataKey", "Host", "ObjectName"]

_LABEL: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
# For the API server: labels and dots, or an IPv6 address, told by its two colons.
_HOST_RE2: Final = (
    "^([A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?([.][A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*[.]?"
    "|[0-9A-Fa-f]*:[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*)$"
)


def _check_host(value: str) -> str:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        labels = value.removesuffix(".").split(".")
        if not all(_LABEL.fullmatch(label) for label in labels):
            msg = (
                f"{value!r} is neither a host name nor an IP address (no scheme, no port, no path)"
            )
            raise ValueError(msg) from None
    return value


ObjectName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=253,
        pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
    ),
]
"""The name of an object (RFC 1123 subdomain)."""

DataKey = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")]
"""A key in a Secret or ConfigMap."""

Host = Annotated[
    str,
    Field(
        min_length=1,
        max_length=253,
        json_schema_extra=cel_value(
            f"self.matches('{_HOST_RE2}')",
            "'\\'' + self + '\\' is neither a host name nor an IP address"
            " (no scheme, no port, no path)'",
        ),
    ),
    AfterValidator(_check_host),
]
"""A host name or an IP address."""

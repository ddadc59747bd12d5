"""Which Secrets a MailSync refers to, read from its spec as it is on the wire.

Whoever asks (what watches Secrets, what lists those no longer needed) wants names only, also those
in a spec that is not valid: so this is no part of the models.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

__all__ = ["secret_names"]

_ELSEWHERE: Final = frozenset({"endpointRef"})
"""References that never lead to a Secret."""
_EITHER: Final = frozenset({"caRef"})
"""References to a ConfigMap, unless their kind says otherwise."""


def secret_names(spec: Mapping[str, Any]) -> frozenset[str]:
    """Return the names of the Secrets that the accounts of a MailSync's spec refer to."""
    return frozenset(name for side in ("source", "destination") for name in _names(spec.get(side)))


def _names(value: Any) -> Iterator[str]:  # noqa: ANN401  any JSON
    if not isinstance(value, Mapping):
        return
    for key, inner in value.items():
        if key.endswith("Ref") and key not in _ELSEWHERE and isinstance(inner, Mapping):
            kind = inner.get("kind", "ConfigMap" if key in _EITHER else "Secret")
            if kind == "Secret" and inner.get("name"):
                yield str(inner["name"])
        else:
            yield from _names(inner)

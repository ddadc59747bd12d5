"""Which Secrets an object of ours refers to, read from its spec as it is on the wire.

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


def secret_names(spec: Mapping[str, Any], *, cas: bool = True) -> frozenset[str]:
    """Return the names of the Secrets that a spec refers to.

    Parameters
    ----------
    cas
        Whether those with CA certificates count, which hold nothing secret.
    """
    return frozenset(_names(spec, cas=cas))


def _names(value: Any, *, cas: bool) -> Iterator[str]:  # noqa: ANN401  any JSON
    if not isinstance(value, Mapping):
        return
    for key, inner in value.items():
        if not key.endswith("Ref") or not isinstance(inner, Mapping):
            yield from _names(inner, cas=cas)
        elif key not in _ELSEWHERE and (cas or key not in _EITHER):
            kind = inner.get("kind", "ConfigMap" if key in _EITHER else "Secret")
            if kind == "Secret" and inner.get("name"):
                yield str(inner["name"])

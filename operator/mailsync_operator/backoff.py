"""How long to wait after a failed run."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mailsync_api.spec import RetryPolicy

__all__ = ["backoff_seconds"]

_SPREAD: Final = 0.1
"""At most this part of a wait is taken off, so that thousands do not come back at once."""


def backoff_seconds(policy: RetryPolicy, *, failures: int, uid: str) -> int:
    """Return the wait in seconds after that many failed runs in a row, 1 or more.

    It doubles from ``backoffSeconds`` up to ``maxBackoffSeconds`` and is up to a tenth shorter, by
    a jitter that is always the same for the same object and number.
    """
    exponent = min(max(failures - 1, 0), 40)  # 2**40 s is past any limit
    full = min(policy.backoff_seconds << exponent, policy.max_backoff_seconds)
    digest = hashlib.sha256(f"{uid}/{failures}".encode()).digest()
    fraction = int.from_bytes(digest[:4], "big") / 2**32
    return max(1, int(full * (1 - _SPREAD * fraction)))

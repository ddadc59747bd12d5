"""The sync engine, its entry point in a Job's pod, and the ``mailsync`` command."""

from __future__ import annotations

__all__: list[str] = []

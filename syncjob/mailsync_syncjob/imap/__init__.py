"""IMAP: the wire, connecting safely, and sessions. The only place that knows imapclient."""

from __future__ import annotations

__all__: list[str] = []

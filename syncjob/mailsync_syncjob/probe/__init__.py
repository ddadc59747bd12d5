"""Finding out what a server offers, and whether it meets a policy."""

from __future__ import annotations

__all__: list[str] = []

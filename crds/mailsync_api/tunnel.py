"""What the container of a tunnel is told: where to, and by which policy."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mailsync_api.base import ApiModel
from mailsync_api.endpoint import Server

__all__ = ["TunnelInput"]


class TunnelInput(ApiModel):
    """The input of a tunnel; its certificates are files, as the engine's would be."""

    place: Annotated[str, Field(pattern=r"^(source|destination|server)$")]
    """Which side of a run it leads to, or the server of a probe: part of its files' names."""
    server: Server
    """The server."""

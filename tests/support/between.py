"""A pair of scripted servers, and a run of the engine between them."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mailsync_api.endpoint import Side
from tests.support.recorded import FastClock, Recorded, endpoint, run_between
from tests.support.scripted import Script, TinyServer, serve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mailsync_api.report import Report

__all__ = ["MAILS", "Both", "both", "mail"]


def mail(number: int, text: bytes = b"body") -> bytes:
    """Return a small message."""
    return b"Message-ID: <%d@x>\r\nDate: Mon, 1 Jan 2024 10:00:00 +0000\r\n\r\n%s\r\n" % (
        number, text,
    )  # fmt: skip


MAILS = {1: mail(1), 2: mail(2), 5: mail(5)}


@dataclass
class Both:
    """A pair of scripted servers."""

    source: TinyServer
    destination: TinyServer
    source_script: Script
    destination_script: Script

    def run(self, *, server: dict[str, Any] | None = None, **job: Any) -> tuple[Report, Recorded]:
        """Run the engine; ``job`` is laid over its input, ``server`` over both accounts.

        By default with one connection a side.
        """
        more = {"username": "bob", **(server or {})}
        return run_between(
            endpoint(self.source_script.port, **(server or {})),
            endpoint(self.destination_script.port, side=Side.DESTINATION, **more),
            clock=FastClock(),
            **{"connections": 1, **job},
        )


@contextmanager
def both(source: TinyServer | None = None, destination: TinyServer | None = None) -> Iterator[Both]:
    """Serve both for as long as the block lasts; by default a source of three messages."""
    source = source or TinyServer(dict(MAILS))
    destination = destination or TinyServer()
    with ExitStack() as stack:
        a = stack.enter_context(serve(source))
        b = stack.enter_context(serve(destination))
        yield Both(source, destination, a, b)

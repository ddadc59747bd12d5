"""One run of the engine in a process of its own, which can be killed."""

from __future__ import annotations

from functools import partial
from multiprocessing.connection import Connection

from mailsync_api.endpoint import Side
from mailsync_syncjob import manner
from mailsync_syncjob.batching import BatchSize, Window
from mailsync_syncjob.imap import session
from mailsync_syncjob.sharing import Shares
from tests.support.recorded import HastyClock, endpoint, patience, run_between

__all__ = ["BATCH", "HOLD_BYTES", "Place", "run"]

BATCH = 3
"""Messages in one MULTIAPPEND, or under way, so that a small mailbox has several such groups."""
HOLD_BYTES = 6000
"""Larger messages are passed through."""
SHARES = Shares(pair_messages=1, pair_bytes=1, least_messages=2, most_messages=2, most_bytes=9000)
"""So small that a small mailbox is shared by as many connections as there may be."""
_SECONDS = 3.0

Place = tuple[str, int, str]
"""Host, port and user."""


def run(source: Place, destination: Place, pipe: Connection, connections: int) -> None:
    """Run, and say the exit code and how many messages were copied."""
    # Module by module, since the process ends after this run.
    vars(manner)["BatchSize"] = partial(BatchSize, most=BATCH)
    vars(manner)["Window"] = partial(Window, most=BATCH)
    vars(session)["HOLD_BYTES"] = HOLD_BYTES
    ends = [
        endpoint(port, side=side, host=host, username=user)
        for side, (host, port, user) in ((Side.SOURCE, source), (Side.DESTINATION, destination))
    ]
    report, output = run_between(
        *ends,
        clock=HastyClock(),
        patient=patience(command=_SECONDS),
        connections=connections,
        shares=SHARES,
    )
    logs = "; ".join(text for _, text in output.logs[-3:])
    pipe.send((int(report.verdict.exit_code), report.verdict.totals.copied, logs))

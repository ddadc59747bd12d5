"""The destination's folders, made when they are due; for several workers."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from mailsync_syncjob.errors import CommandRefusedError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mailsync_syncjob.imap.session import Session
    from mailsync_syncjob.output import Output
    from mailsync_syncjob.plan import Destination, Task

__all__ = ["DestinationFolders"]


class DestinationFolders:
    """Finds and creates the folders of a run.

    Attributes
    ----------
    created
        How many were made; with a dry run, how many would be.
    """

    def __init__(self, destination: Destination, *, output: Output) -> None:
        self._destination = destination
        self._output = output
        self._lock = threading.Lock()
        self._counted: set[Task] = set()
        self._absent: set[Task] = set()

    @property
    def created(self) -> int:
        """How many were made; with a dry run, how many would be."""
        return len(self._counted)

    def expect(self, tasks: Iterable[Task]) -> None:
        """Take note of which are missing before any is made: some bring their parents along."""
        self._absent = {
            task for task in tasks if self._destination.existing(task.destination) is None
        }

    def look(self, task: Task) -> bytes | None:
        """Return the folder's raw name; None where a real run would create it."""
        with self._lock:
            if task in self._absent:
                self._counted.add(task)
            return self._destination.existing(task.destination)

    def ensure(self, task: Task, session: Session) -> bytes:
        """Return the folder's raw name, of which it is made now if need be.

        Raises
        ------
        CommandRefusedError
            The server refused to create it.
        """
        with self._lock:  # two of them may need the same parent
            raw = self._destination.existing(task.destination)
            if raw is None:
                raw = self._destination.create(task.destination, session=session)
            if task in self._absent:
                self._counted.add(task)
        # Also for a folder that was there before: an earlier run may have ended in between.
        if task.subscribe and raw not in self._destination.subscribed:
            try:
                session.subscribe(raw)
            except CommandRefusedError as error:
                self._output.log("warning", f"{task.destination_name}: {error.message}")
        return raw

    def forget(self, task: Task) -> None:
        """Take it that a folder is gone."""
        with self._lock:
            self._destination.forget(task.destination)

"""What a run knows of its folders' numbers: from the last run, and for the next one.

Entries are facts: at these numbers the folder was complete. A folder that a run does not reach, or
does not get done, keeps its old one, which is as true as before.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from mailsync_api.state import folder_key, state_text
from mailsync_syncjob.resume import Full, decide, new_numbers

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mailsync_api.state import FolderNumbers
    from mailsync_syncjob.imap.survey import Standing
    from mailsync_syncjob.resume import Decision, Done

__all__ = ["Ledger"]


class Ledger:
    """Decides what each folder needs, and notes what is certain afterwards; any thread may ask.

    Parameters
    ----------
    subject
        What the state is about (``state_subject``).
    folders
        The last run's entries.
    """

    def __init__(self, subject: str, folders: Mapping[str, FolderNumbers]) -> None:
        self._subject = subject
        self._folders = dict(folders)
        self._decided: set[str] = set()
        self._unsettled: dict[str, tuple[bytes, Done]] = {}
        self._lock = threading.Lock()

    def decide(
        self,
        source_raw: bytes,
        destination_raw: bytes,
        *,
        source: Standing | None,
        destination: Standing | None,
    ) -> Decision:
        """Return what a folder needs.

        Only once in a run: a second attempt follows a broken connection, and only a comparison
        tells what was stored before it broke.
        """
        key = folder_key(self._subject, source_raw, destination_raw)
        with self._lock:
            if key in self._decided:
                return Full("it was begun before in this run")
            self._decided.add(key)
            return decide(self._folders.get(key), source, destination)

    def done(self, source_raw: bytes, destination_raw: bytes, done: Done, *, touched: bool) -> None:
        """Note that a folder's pass is over and left nothing out.

        Parameters
        ----------
        touched
            Whether anything was changed at the destination, so that its numbers have moved on.
        """
        key = folder_key(self._subject, source_raw, destination_raw)
        with self._lock:
            if touched:
                self._unsettled[key] = (destination_raw, done)
            else:
                self._note(key, done, done.destination)

    @property
    def unsettled(self) -> tuple[bytes, ...]:
        """Raw names of the destination folders whose numbers are to be read once more."""
        with self._lock:
            return tuple(raw for raw, _ in self._unsettled.values())

    def settle(self, standings: Mapping[bytes, Standing]) -> None:
        """Take how destination folders stand after their pass, by raw name."""
        with self._lock:
            for key, (raw, done) in list(self._unsettled.items()):
                if raw in standings:
                    del self._unsettled[key]
                    self._note(key, done, standings[raw])

    def keep_only(self, folders: Iterable[tuple[bytes, bytes]]) -> None:
        """Forget the folders that are no longer there, given the pairs of raw names that are."""
        keys = {folder_key(self._subject, here, there) for here, there in folders}
        with self._lock:
            self._folders = {key: one for key, one in self._folders.items() if key in keys}

    def text(self) -> tuple[str, int]:
        """Return the state for the next run, and how many folders had no room in it."""
        with self._lock:
            return state_text(self._subject, self._folders)

    def _note(self, key: str, done: Done, after: Standing) -> None:
        numbers = new_numbers(done, after)
        if numbers is not None:
            self._folders[key] = numbers

"""Which folder goes where: from both sides' lists to the work of a run."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from mailsync_syncjob.errors import CommandRefusedError
from mailsync_syncjob.folders import INBOX, Layout, Path, display, guess_layout, lookup_key, place
from mailsync_syncjob.imap.names import encode_name
from mailsync_syncjob.selection import Selector

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mailsync_api.spec import FolderSelection
    from mailsync_syncjob.imap.session import Session
    from mailsync_syncjob.imap.survey import ListedFolder, Standing, Survey

__all__ = ["Destination", "Plan", "Task", "View", "make_plan", "make_tasks"]


@dataclass(frozen=True, slots=True)
class View:
    """One side's folders and how it writes their names."""

    survey: Survey
    layout: Layout
    folders: dict[Path, ListedFolder]

    @classmethod
    def of(cls, survey: Survey) -> View:
        """Return the user's own folders among those that were listed."""
        foreign = survey.namespaces.foreign
        own = [f for f in survey.folders if not (foreign and f.name.startswith(foreign))]
        layout = _layout(survey, own)
        folders: dict[Path, ListedFolder] = {}
        for folder in sorted(own, key=lambda one: one.raw):
            path = layout.path(folder.name)
            while path in folders and folders[path].raw != folder.raw:
                # Two names that mean the same to us are still two folders.
                path = (*path[:-1], path[-1] + "_")
            folders[path] = folder
        return cls(survey, layout, folders)


@dataclass(frozen=True, slots=True)
class Task:
    """One folder's migration."""

    source_raw: bytes
    source: Path
    destination: Path
    subscribe: bool
    here: Standing | None = None
    """How the source folder stood when the run began; None if the server did not say."""
    there: Standing | None = None
    """The same of the destination folder; None also for one that did not exist."""

    @property
    def expected(self) -> tuple[int, int]:
        """How many messages both sides are thought to have; 0 also where nobody knows."""
        here, there = self.here, self.there
        return here.messages if here else 0, there.messages if there else 0

    @property
    def source_name(self) -> str:
        """The source folder for people."""
        return display(self.source)

    @property
    def destination_name(self) -> str:
        """The destination folder for people."""
        return display(self.destination)


@dataclass(frozen=True, slots=True)
class Plan:
    """The work of a run."""

    tasks: list[Task]
    destination: Destination


def make_plan(source: Session, destination: Session, *, selection: FolderSelection) -> Plan:
    """Look at both sides at once and decide which folder goes where.

    Raises
    ------
    EngineError
        A side cannot be looked at.
    """
    with ThreadPoolExecutor(max_workers=2, thread_name_prefix="surveying") as pool:
        ours = pool.submit(source.survey, sizes=True)
        theirs = pool.submit(destination.survey, sizes=False)
        here, there = View.of(ours.result()), View.of(theirs.result())
        known = Destination.of(there)
        tasks = make_tasks(here, layout=there.layout, selection=selection)
        # Only of what matters: an account may have many more folders than are migrated.
        sources = [task.source_raw for task in tasks]
        targets = [raw for task in tasks if (raw := known.existing(task.destination)) is not None]
        ours_told = pool.submit(_standings, source, here.survey, sources, sizes=True)
        theirs_told = pool.submit(_standings, destination, there.survey, targets, sizes=False)
        stand_here, stand_there = ours_told.result(), theirs_told.result()
    return Plan(
        [
            replace(
                task,
                here=stand_here.get(task.source_raw),
                there=stand_there.get(known.existing(task.destination) or b""),
            )
            for task in tasks
        ],
        known,
    )


def _standings(
    session: Session, survey: Survey, names: Sequence[bytes], *, sizes: bool
) -> dict[bytes, Standing]:
    """Return how these folders stand, asking for what the survey did not tell."""
    told = {raw: found for raw in names if (found := survey.standing(raw)) is not None}
    return told | session.standings([raw for raw in names if raw not in told], sizes=sizes)


def _layout(survey: Survey, listed: Sequence[ListedFolder]) -> Layout:
    separator = next((f.separator for f in listed if f.separator), "")
    personal = survey.namespaces.personal
    if personal is None:
        return guess_layout([f.name for f in listed], separator=separator)
    prefix, stated = personal
    return Layout(stated or separator, prefix)


def make_tasks(source: View, *, layout: Layout, selection: FolderSelection) -> list[Task]:
    """Return the work, INBOX first, then by name.

    Parameters
    ----------
    layout
        The destination's.
    """
    selector = Selector(selection)
    wanted = {
        path: folder
        for path, folder in source.folders.items()
        if folder.selectable and selector.selects(display(path))
    }
    tasks = [
        Task(
            source_raw=wanted[placed.source].raw,
            source=placed.source,
            destination=placed.destination,
            subscribe=wanted[placed.source].raw in source.survey.subscribed,
        )
        for placed in place(wanted, layout=layout)
    ]
    return sorted(tasks, key=lambda task: (task.source != (INBOX,), task.source))


@dataclass(slots=True)
class Destination:
    """The destination's folders, and those that are created on the way."""

    layout: Layout
    known: dict[Path, bytes] = field(default_factory=dict)
    """Raw names of folders that exist, by lookup key."""
    selectable: set[Path] = field(default_factory=set)
    subscribed: set[bytes] = field(default_factory=set)
    """Raw names."""

    @classmethod
    def of(cls, view: View) -> Destination:
        """Return the destination that a list shows."""
        destination = cls(view.layout, subscribed=set(view.survey.subscribed))
        for path, folder in view.folders.items():
            key = lookup_key(path)
            destination.known[key] = folder.raw
            if folder.selectable:
                destination.selectable.add(key)
        # Every account has it, listed or not (RFC 9051 section 5.1).
        destination.known.setdefault((INBOX,), INBOX.encode())
        destination.selectable.add((INBOX,))
        return destination

    def existing(self, path: Path) -> bytes | None:
        """Return the raw name of a folder that can be selected; None if there is none yet."""
        key = lookup_key(path)
        return self.known[key] if key in self.selectable else None

    def forget(self, path: Path) -> None:
        """Take it that the folder is gone."""
        key = lookup_key(path)
        self.known.pop(key, None)
        self.selectable.discard(key)

    def create(self, path: Path, *, session: Session) -> bytes:
        """Create a folder with its parents and return its raw name.

        Raises
        ------
        CommandRefusedError
            The server refused it.
        """
        for parent in self._missing_parents(path):
            self._create(parent, session=session)
        return self._create(path, session=session)

    def create_missing(self, tasks: Sequence[Task], *, session: Session) -> None:
        """Create the folders that these tasks lack, with one wait for all.

        One that is refused is left as it is: when its turn comes, ``create`` is told why.
        """
        wanted: dict[Path, bytes] = {}
        lacking = [task for task in tasks if self.existing(task.destination) is None]
        for task in lacking:
            for path in (*self._missing_parents(task.destination), task.destination):
                # Known for the moment, as the names below it depend on its own.
                wanted[lookup_key(path)] = self.known[lookup_key(path)] = self.raw_name(path)
        if not wanted:
            return
        subscribe = [wanted[lookup_key(task.destination)] for task in lacking if task.subscribe]
        created, subscribed = session.create_all(list(wanted.values()), subscribe=subscribe)
        self.subscribed |= subscribed
        for key, raw in wanted.items():
            if raw in created:
                self.selectable.add(key)
            else:
                del self.known[key]

    def _missing_parents(self, path: Path) -> list[Path]:
        if self.layout.prefix and path[0] == INBOX:
            return []
        parents = [path[:depth] for depth in range(1, len(path))]
        return [parent for parent in parents if lookup_key(parent) not in self.known]

    def _create(self, path: Path, *, session: Session) -> bytes:
        raw = self.raw_name(path)
        try:
            session.create(raw)
        except CommandRefusedError as error:
            if error.code != "ALREADYEXISTS":
                raise
        self.known[lookup_key(path)] = raw
        self.selectable.add(lookup_key(path))
        return raw

    def raw_name(self, path: Path) -> bytes:
        """Return the name to create a folder by, below its parent as the server spells that."""
        parent = self.known.get(lookup_key(path[:-1])) if len(path) > 1 else None
        # With a prefix, INBOX is not the parent of what is called below it.
        if parent is None or (self.layout.prefix and path[0] == INBOX):
            return encode_name(self.layout.name(path))
        return parent + encode_name(self.layout.separator + path[-1])

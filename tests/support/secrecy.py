"""Nothing secret anywhere: what tests use, what was said while they ran, and the search in it.

Whatever gives a credential to the engine or to a server registers it here; whatever reads what the
product says (logs, reports, objects, metrics, the command's output) keeps it here; a sampler looks
at all processes of the machine for as long as the tests run. At the end everything that was kept is
searched for every form of every credential. It works with any selection of tests.

What is left out, and why:

- what mail servers log: they are not the product;
- Secrets, and what is sent to servers on the wire: that is where credentials belong;
- the memory of processes: ``tests/cluster/test_secrecy.py`` reads the operator's;
- the tools of ``HOLDERS``: tests use them to make what a server stores, and they take a password as
  an argument only;
- credentials whose forms are shorter than ``SHORTEST`` bytes: they would be found by chance. How
  many is said at the end.
"""

from __future__ import annotations

import threading
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.support.secret_forms import SHORTEST, forms

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["HOLDERS", "WATCH", "Hit", "Sampler", "Watch"]

HOLDERS: Final = (b"doveadm\0pw\0",)
_PROC: Final = Path("/proc")
_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class Hit:
    """A credential where it must not be."""

    credential: str
    source: str
    """What holds it."""
    around: str


@dataclass
class Watch:
    """What is secret, and what was said."""

    secrets: dict[bytes, tuple[bytes, ...]] = field(default_factory=dict)
    texts: dict[bytes, str] = field(default_factory=dict)
    """Compressed, as many of them are much alike, with where each is from."""
    bytes_kept: int = 0
    short: set[bytes] = field(default_factory=set)

    def secret(self, *values: str | bytes) -> None:
        """Register credentials."""
        for value in values:
            raw = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
            raw = _telling(raw.strip())
            if not raw:
                continue
            if len(raw) < SHORTEST:
                self.short.add(raw)
            elif raw not in self.secrets:
                self.secrets[raw] = forms(raw)

    def keep(self, source: str, text: str | bytes) -> None:
        """Keep what was said, for the search at the end."""
        raw = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
        packed = zlib.compress(raw, 1)
        if raw and packed not in self.texts:
            self.texts[packed] = source
            self.bytes_kept += len(raw)

    def hits(self) -> Iterator[Hit]:
        """Search everything."""
        by_start: dict[bytes, list[tuple[bytes, bytes]]] = {}
        for secret, found in self.secrets.items():
            for form in found:
                by_start.setdefault(form[:SHORTEST], []).append((form, secret))
        for packed, source in self.texts.items():
            text = zlib.decompress(packed)
            for at in _starts(text, by_start.keys()):
                for form, secret in by_start[text[at : at + SHORTEST]]:
                    if text.startswith(form, at):
                        around = text[max(at - 60, 0) : at + len(form) + 20]
                        yield Hit(repr(secret), source, repr(around))

    @property
    def summary(self) -> str:
        """What was searched."""
        count = sum(len(found) for found in self.secrets.values())
        return (
            f"{len(self.secrets)} credentials in {count} forms ({len(self.short)} more are too "
            f"short to search for), {self.bytes_kept / 1024:.0f} KiB in {len(self.texts)} texts"
        )


def _telling(value: bytes) -> bytes:
    """Return what of a credential can be searched for; nothing where it is none.

    A key is known by its second line: the first one begins like those of all keys. Certificates are
    public, and other texts of several lines (a server's list of users) are not the engine's.
    """
    if b"PRIVATE KEY-----" in value:
        lines = value.partition(b"PRIVATE KEY-----")[2].replace(b"\\n", b"\n").split(b"\n")
        return lines[2] if len(lines) > 3 else lines[1]
    return b"" if b"\n" in value or value.startswith(b"-----BEGIN") else value


def _starts(text: bytes, wanted: object) -> Iterator[int]:
    """Yield where one of the beginnings is; one look-up for each place, however many they are."""
    assert hasattr(wanted, "__contains__")
    for at in range(len(text) - SHORTEST + 1):
        if text[at : at + SHORTEST] in wanted:
            yield at


WATCH: Final = Watch()
"""The one of this run of tests."""


class Sampler:
    """Looks at the arguments and the environment of every process, again and again."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="sampler")
        self._seen: set[tuple[str, str, bytes]] = set()

    @property
    def processes(self) -> int:
        """How many processes were seen."""
        return len({(number, began) for number, began, _ in self._seen})

    def start(self) -> None:
        """Look for as long as the tests run."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._ended.set()
        self._thread.join(10)

    def look(self) -> None:
        """Look once."""
        for folder in _PROC.iterdir():
            if folder.name.isdigit():
                try:
                    self._look_at(folder)
                except OSError:
                    continue  # it ended meanwhile

    def _look_at(self, folder: Path) -> None:
        command = (folder / "cmdline").read_bytes()
        # A kernel's thread, or a process that ended and was not waited for.
        if not command:
            return
        # A process keeps its beginning (field 22 of stat) when it becomes another program.
        began = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[19]
        key = folder.name, began, command
        if key in self._seen:
            return
        environment = (folder / "environ").read_bytes()
        self._seen.add(key)
        if not command.startswith(HOLDERS):
            name = command.partition(b"\0")[0].decode(errors="replace")
            self._watch.keep(f"arguments of {name}", command)
            self._watch.keep(f"environment of {name}", environment)

    def _run(self) -> None:
        while not self._ended.wait(_SECONDS):
            self.look()

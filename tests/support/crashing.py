"""An entry point with a fault in it: ``python -m tests.support.crashing ENTRY PLACE FILE ...``.

PLACE (``module:name``) is a function that fails with an error nobody expects, whose words and whose
local variables hold what FILE does. With ``none`` for a place it runs as it is. Everything is
logged that any library would log.
"""

from __future__ import annotations

import importlib
import logging
import sys
from pathlib import Path
from typing import NoReturn

__all__ = ["main"]


def main() -> None:
    """Run the entry point; further arguments are its own."""
    entry, place, file, *arguments = sys.argv[1:]
    logging.basicConfig(level=logging.DEBUG)
    if place != "none":
        module, _, name = place.partition(":")
        owner: object = importlib.import_module(module)
        *path, last = name.split(".")
        for each in path:
            owner = getattr(owner, each)
        setattr(owner, last, _failing(Path(file)))
    sys.argv = [entry, *arguments]
    importlib.import_module(entry).main()


def _failing(file: Path) -> object:
    def fail(*given: object, **named: object) -> NoReturn:
        password = file.read_text(encoding="utf-8")
        raise RuntimeError(f"{password} {given} {named}")

    return fail


if __name__ == "__main__":
    main()

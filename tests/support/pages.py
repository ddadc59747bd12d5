"""Pages of the documentation as tests read them: commands and manifests, by heading."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

__all__ = ["commands", "manifests", "page", "section"]

_DOCS = Path(__file__).parents[2] / "docs"


def page(name: str) -> str:
    """Return the text of a page."""
    return (_DOCS / name).read_text(encoding="utf-8")


def section(text: str, heading: str) -> str:
    """Return what stands under a heading of level 2, up to the next one."""
    found = re.search(
        rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE
    )
    assert found, heading
    return found[1]


def commands(text: str) -> list[str]:
    """Return the commands in ``console`` blocks, with their continuation lines, without outputs."""
    found: list[str] = []
    for block in re.findall(r"^```console\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        goes_on = False
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append(line[2:])
            elif goes_on or line.startswith("> "):
                found[-1] += "\n" + line.removeprefix("> ")
            else:
                continue  # what the command says
            goes_on = line.endswith("\\")
    return found


def manifests(text: str) -> list[dict[str, Any]]:
    """Return the objects in ``yaml`` blocks."""
    blocks = re.findall(r"^```yaml\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [obj for block in blocks for obj in yaml.safe_load_all(block)]

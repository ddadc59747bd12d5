"""The strings under the fields of a model, read from its source when a schema is rendered.

pydantic has a setting for it, which reads the source of every model whenever it is imported: a
sixth of the time that the engine takes to start, and nothing in a run needs a description.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from itertools import pairwise

__all__ = ["field_descriptions"]


def field_descriptions(model: type) -> dict[str, str]:
    """Return the string under each field of a class and of those it inherits from, by field."""
    found: dict[str, str] = {}
    for part in reversed(model.__mro__):
        if part.__module__.partition(".")[0] == model.__module__.partition(".")[0]:
            found |= _described(part)
    return found


def _described(part: type) -> dict[str, str]:
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(part))).body
    if not isinstance(definition, ast.ClassDef):
        raise TypeError(f"{part.__qualname__} is no class in its source")
    return {
        field.target.id: inspect.cleandoc(below.value.value)
        for field, below in pairwise(definition.body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(below, ast.Expr)
        and isinstance(below.value, ast.Constant)
        and isinstance(below.value.value, str)
    }

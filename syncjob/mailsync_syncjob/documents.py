"""Documents of manifests: YAML as Kubernetes reads it, checked by the models, errors in words.

No value of a Secret gets into an error.
"""

from __future__ import annotations

import base64
import binascii
import difflib
from typing import TYPE_CHECKING, Any, Final, TypeGuard, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from typing_extensions import override

from mailsync_syncjob.errors import ConfigurationError
from mailsync_syncjob.references import SECRET

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["documents", "entries", "parsed", "shown"]

M = TypeVar("M", bound=BaseModel)
_SHOWN_CHARACTERS: Final = 80


class _Loader(yaml.SafeLoader):
    """YAML as Kubernetes reads it: a key that is there twice is a mistake."""

    @override
    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str) and key in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key!r} is there twice", problem_mark=key_node.start_mark
                )
            seen.add(key if isinstance(key, str) else id(key_node))
        return super().construct_mapping(node, deep=deep)


def documents(name: str, text: str) -> Iterator[tuple[int, Any]]:
    """Yield each document of a YAML text with its number, from 1; empty ones are left out.

    Raises
    ------
    ConfigurationError
        It is no YAML; the message has the place.
    """
    loader = _Loader(text)
    number = 0
    try:
        while loader.check_data():  # type: ignore[no-untyped-call]  # types-pyyaml has no types here
            number += 1
            document = loader.get_data()
            if document is not None:
                yield number, document
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "it cannot be read"
        raise ConfigurationError(
            f"{name}, document {max(number, 1)}{place}: not valid YAML: {problem}"
        ) from None
    finally:
        loader.dispose()


def parsed(model: type[M], document: dict[str, Any], *, where: str) -> M:
    """Return the model of a document.

    Raises
    ------
    ConfigurationError
        Names each bad field with its value.
    """
    try:
        return model.model_validate(document)
    except ValidationError as error:
        problems = [
            _problem(model, one["loc"], kind=one["type"], said=one["msg"], value=one["input"])
            for one in error.errors(include_url=False)
        ]
        raise ConfigurationError("\n".join(f"{where}: {p}" for p in problems)) from None


def _problem(
    model: type[BaseModel], loc: tuple[int | str, ...], *, kind: str, said: str, value: object
) -> str:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc).lstrip(".")
    if kind == "extra_forbidden":
        known = _fields_at(model, loc[:-1])
        near = difflib.get_close_matches(str(loc[-1]), known, n=1)
        cure = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
        return f"{path}: there is no such field; {cure}"
    if kind == "missing":
        return f"{path}: this field is required"
    said = said.removeprefix("Value error, ")
    if isinstance(value, dict):
        return f"{path or 'the object'}: {said}"
    return f"{path}: {shown(value)}: {said}"


def _fields_at(root: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """Return the names of the fields at a place of a resource."""
    model: type[BaseModel] | None = root
    for part in loc:
        fields = model.model_fields if model else {}
        found = next((f for f in fields.values() if f.alias == part), None)
        model = _model_in(found.annotation) if found else None
    return [f.alias or name for name, f in model.model_fields.items()] if model else []


def _is_model(value: object) -> TypeGuard[type[BaseModel]]:
    return isinstance(value, type) and issubclass(value, BaseModel)


def _model_in(annotation: object) -> type[BaseModel] | None:
    if _is_model(annotation):
        return annotation
    inner = (_model_in(argument) for argument in getattr(annotation, "__args__", ()))
    return next((model for model in inner if model is not None), None)


def entries(document: Mapping[str, Any], *, where: str) -> tuple[tuple[str, str], dict[str, bytes]]:
    """Return namespace and name, and the entries, of a Secret or ConfigMap.

    Raises
    ------
    ConfigurationError
        It has no name, or an entry that is no text or no base64.
    """
    kind = document["kind"]
    metadata = document.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    if not isinstance(metadata, dict) or not isinstance(name, str) or not name:
        raise ConfigurationError(f"{where}: metadata.name of the {kind} is missing")
    found: dict[str, bytes] = {}
    for section in ("data", "binaryData", "stringData"):
        values = document.get(section) or {}
        if not isinstance(values, dict):
            raise ConfigurationError(f"{where}: {section} of {kind} {name} is no mapping")
        encoded = section == "binaryData" or (section == "data" and kind == SECRET)
        for key, value in values.items():
            at = f"{where}: {section}.{key} of {kind} {name}"
            found[str(key)] = _decoded(value, encoded=encoded, at=at)
    return (str(metadata.get("namespace") or ""), name), found


def _decoded(value: object, *, encoded: bool, at: str) -> bytes:
    if not isinstance(value, str):
        raise ConfigurationError(f"{at} is no text: put the value in quotes")
    if not encoded:
        return value.encode()
    try:
        return base64.b64decode("".join(value.split()), validate=True)
    except (binascii.Error, ValueError):
        raise ConfigurationError(
            f"{at} is not base64: encode it, or give the plain text under stringData"
        ) from None


def shown(value: object) -> str:
    """Return a value for people, cut where it is long."""
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"

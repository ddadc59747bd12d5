"""Structural schemas from the models, as Kubernetes wants them.

No references, no ``anyOf`` for an absent value, no titles.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mailsync_api.base import ApiModel

__all__ = ["structural_schema"]

_DROPPED: Final = frozenset({"title", "$defs", "discriminator", "const"})


def structural_schema(model: type[ApiModel], *, defaults: bool = True) -> dict[str, Any]:
    """Return the OpenAPI v3 structural schema of a model, with its defaults or without."""
    schema = model.model_json_schema(mode="validation")
    result: dict[str, Any] = _convert(schema, schema.get("$defs", {}))
    return result if defaults else _without_defaults(result)


def _without_defaults(node: Any) -> Any:  # noqa: ANN401  any JSON
    if isinstance(node, list):
        return [_without_defaults(item) for item in node]
    if not isinstance(node, dict):
        return node
    # A field may be named "default", but then its value is a schema, under "properties".
    return {
        key: {name: _without_defaults(sub) for name, sub in value.items()}
        if key == "properties"
        else _without_defaults(value)
        for key, value in node.items()
        if key != "default"
    }


def _convert(node: Any, defs: dict[str, Any]) -> Any:  # noqa: ANN401  any JSON
    if isinstance(node, list):
        return [_convert(item, defs) for item in node]
    if not isinstance(node, dict):
        return node
    # An optional model is a union of null and a reference, so the order matters, twice.
    node = _dereferenced(_without_null(_dereferenced(node, defs)), defs)
    out: dict[str, Any] = {}
    for key, value in node.items():
        if key in _DROPPED:
            continue
        if key == "properties":
            out[key] = {name: _convert(sub, defs) for name, sub in value.items()}
        elif key == "default":
            out[key] = value
        elif key == "additionalProperties" and value in (False, True):
            continue  # a structural schema prunes unknown fields, or keeps them by its own word
        elif key == "propertyNames":
            continue  # not part of a structural schema
        elif key == "description":
            out[key] = " ".join(value.split())
        else:
            out[key] = _convert(value, defs)
    return _kubernetes_forms(out)


def _dereferenced(node: dict[str, Any], defs: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        target = defs[node["$ref"].rsplit("/", 1)[-1]]
        # What stands beside the reference (a field's own description) wins.
        node = {**target, **{key: value for key, value in node.items() if key != "$ref"}}
    return node


def _without_null(node: dict[str, Any]) -> dict[str, Any]:
    options = node.get("anyOf")
    if not options:
        return node
    kept = [option for option in options if option != {"type": "null"}]
    if len(kept) != 1:
        msg = f"a union of types has no structural schema: {options}"
        raise ValueError(msg)
    rest = {k: v for k, v in node.items() if k != "anyOf" and not (k == "default" and v is None)}
    inner = kept[0]
    return {**inner, **rest}


def _kubernetes_forms(out: dict[str, Any]) -> dict[str, Any]:
    if out.get("type") == "integer":
        out.setdefault("format", "int64" if out.get("maximum", 2**63) > 2**31 - 1 else "int32")
    if out.get("type") == "object" and "maxItems" in out:
        out["maxProperties"] = out.pop("maxItems")
    if "default" in out:
        default = _without_absent(out.pop("default"))
        # An empty default would only be noise in the stored object.
        if default not in (None, {}, []):
            out["default"] = default
    if "enum" in out:
        out.setdefault("type", "string")
    return out


def _without_absent(default: Any) -> Any:  # noqa: ANN401  any JSON
    if not isinstance(default, dict):
        return default
    cleaned = {key: _without_absent(value) for key, value in default.items()}
    return {key: value for key, value in cleaned.items() if value not in (None, {}, [])}

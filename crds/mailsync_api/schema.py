"""Additions to a model's JSON schema that only Kubernetes knows."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict

__all__ = ["cel", "cel_value", "list_map", "list_set", "preserve_unknown"]


def cel(*rules: tuple[str, str]) -> ConfigDict:
    """Return a model configuration with CEL rules, each a pair of expression and message."""
    return ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                {"rule": rule, "message": message} for rule, message in rules
            ]
        }
    )


def cel_value(rule: str, message_expression: str) -> dict[str, Any]:
    """Return the schema of a scalar with a CEL rule whose message may name the value."""
    return {"x-kubernetes-validations": [{"rule": rule, "messageExpression": message_expression}]}


def list_map(*keys: str) -> dict[str, Any]:
    """Return the schema of a list whose items are told apart by these fields."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


def list_set() -> dict[str, Any]:
    """Return the schema of a list of scalars without repetition."""
    return {"x-kubernetes-list-type": "set"}


def preserve_unknown() -> dict[str, Any]:
    """Return the schema of an object that another API defines and checks."""
    return {"x-kubernetes-preserve-unknown-fields": True}

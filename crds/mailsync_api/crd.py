"""Render the CRDs from the models: ``python -m mailsync_api.crd --write crds``.

Kubernetes wants structural schemas: no references, no ``anyOf`` for an absent value, no titles. The
text form is JSON's subset of YAML with sorted layout, so that no YAML library is needed here.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mailsync_api.names import (
    CATEGORY,
    GROUP,
    KIND_MAILSYNC,
    PLURAL_MAILSYNC,
    SHORT_NAME_MAILSYNC,
    VERSION,
)
from mailsync_api.spec import MailSyncSpec
from mailsync_api.status import MailSyncStatus

if TYPE_CHECKING:
    from mailsync_api.base import ApiModel

__all__ = ["crds", "mailsync_crd", "main", "render_yaml", "structural_schema"]

_DROPPED: Final = frozenset({"title", "$defs", "discriminator", "const"})
_PLAIN: Final = re.compile(r"^[A-Za-z][A-Za-z0-9_./-]*$")
_RESERVED: Final = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n", "none"})


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


def _columns() -> list[dict[str, Any]]:
    def column(
        name: str, kind: str, path: str, description: str, *, wide: bool = False
    ) -> dict[str, Any]:
        return {
            "name": name,
            "type": kind,
            "jsonPath": path,
            "description": description,
            "priority": int(wide),
        }

    def condition(name: str, field: str) -> str:
        return f'.status.conditions[?(@.type=="{name}")].{field}'

    return [
        column("Status", "string", condition("Succeeded", "reason"), "The state in one word."),
        column("Progress", "integer", ".status.progress.percent", "Done, of a hundred."),
        column(
            "Messages", "integer", ".status.progress.messages.completed", "Messages dealt with."
        ),
        column("Skipped", "integer", ".status.progress.skipped", "Messages that were not copied."),
        column("Rate", "integer", ".status.progress.messagesPerSecond", "Messages per second."),
        column("Last Sync", "date", ".status.lastSyncTime", "When a run last succeeded."),
        column("Next", "string", ".status.nextSyncTime", "When the next run starts."),
        column("Age", "date", ".metadata.creationTimestamp", "Since when it exists."),
        column(
            "Bytes", "integer", ".status.progress.bytes.completed", "Bytes dealt with.", wide=True
        ),
        column(
            "TLS",
            "string",
            condition("TLSSecured", "reason"),
            "How the connections are.",
            wide=True,
        ),
        column(
            "Failures", "integer", ".status.consecutiveFailures", "Failed runs in a row.", wide=True
        ),
    ]


def mailsync_crd() -> dict[str, Any]:
    """Return the MailSync CRD as an object."""
    schema = {
        "type": "object",
        "description": (
            "MailSync migrates one mailbox: it copies folders, messages, flags and dates from the "
            "source account to the destination account, over connections that meet the TLS policy."
        ),
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": f"{GROUP}/{VERSION}."},
            "kind": {"type": "string", "description": f"{KIND_MAILSYNC}."},
            "metadata": {"type": "object"},
            "spec": structural_schema(MailSyncSpec),
            "status": structural_schema(MailSyncStatus, defaults=False),
        },
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{PLURAL_MAILSYNC}.{GROUP}",
            # Helm must never delete it: with the definition goes every MailSync.
            "annotations": {"helm.sh/resource-policy": "keep"},
        },
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND_MAILSYNC,
                "listKind": f"{KIND_MAILSYNC}List",
                "plural": PLURAL_MAILSYNC,
                "singular": KIND_MAILSYNC.lower(),
                "shortNames": [SHORT_NAME_MAILSYNC],
                "categories": [CATEGORY],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": _columns(),
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }


def crds() -> dict[str, dict[str, Any]]:
    """Return every CRD by its file's name."""
    crd = mailsync_crd()
    return {f"{crd['metadata']['name'].replace(f'.{GROUP}', '')}.yaml": crd}


def _scalar(value: Any) -> str:  # noqa: ANN401  any JSON scalar
    if isinstance(value, str) and _PLAIN.match(value) and value.lower() not in _RESERVED:
        return value
    # JSON strings, numbers, booleans and empty collections are YAML too.
    return json.dumps(value, ensure_ascii=False)


def render_yaml(value: Any, indent: int = 0) -> str:  # noqa: ANN401  any JSON
    """Return JSON data as YAML block text, ending in a line break."""
    pad = "  " * indent
    if isinstance(value, dict) and value:
        lines = []
        for key, item in value.items():
            if isinstance(item, dict | list) and item:
                lines.append(f"{pad}{_scalar(key)}:\n{render_yaml(item, indent + 1)}")
            else:
                lines.append(f"{pad}{_scalar(key)}: {_scalar(item)}\n")
        return "".join(lines)
    if isinstance(value, list) and value:
        items = []
        for item in value:
            if isinstance(item, dict | list) and item:
                text = render_yaml(item, indent + 1)
                items.append(f"{pad}- {text[len(pad) + 2 :]}")
            else:
                items.append(f"{pad}- {_scalar(item)}\n")
        return "".join(items)
    return f"{pad}{_scalar(value)}\n"


def _texts() -> dict[str, str]:
    head = "# Rendered from crds/mailsync_api by `make crds`: do not edit.\n"
    return {name: head + render_yaml(crd) for name, crd in crds().items()}


def main(arguments: list[str] | None = None) -> int:
    """Write the CRDs into a folder, or check that the folder holds what the models say."""
    parser = argparse.ArgumentParser(prog="mailsync_api.crd", description=main.__doc__)
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--write", type=Path, metavar="DIR", help="write the CRDs into DIR")
    group.add_argument("--check", type=Path, metavar="DIR", help="fail where DIR differs")
    options = parser.parse_args(arguments)
    if options.write:
        for name, text in _texts().items():
            (options.write / name).write_text(text, encoding="utf-8")
            print(f"wrote {options.write / name}")  # noqa: T201  a command's output
        return 0
    stale = [
        name
        for name, text in _texts().items()
        if not (options.check / name).is_file()
        or (options.check / name).read_text(encoding="utf-8") != text
    ]
    for name in stale:
        print(f"{options.check / name} differs from the models: run `make crds`", file=sys.stderr)  # noqa: T201  a command's output
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())

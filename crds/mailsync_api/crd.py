"""Render the CRDs from the models: ``python -m mailsync_api.crd --write crds``.

The text form is JSON's subset of YAML with sorted layout, so that no YAML library is needed here.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mailsync_api import names
from mailsync_api.columns import endpoint_columns, mailsync_columns
from mailsync_api.endpointstatus import MailEndpointStatus
from mailsync_api.mailendpoint import MailEndpointSpec
from mailsync_api.spec import MailSyncSpec
from mailsync_api.status import MailSyncStatus
from mailsync_api.structural import structural_schema

if TYPE_CHECKING:
    from mailsync_api.base import ApiModel

__all__ = ["crds", "main", "render_yaml"]

_PLAIN: Final = re.compile(r"^[A-Za-z][A-Za-z0-9_./-]*$")
_RESERVED: Final = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n", "none"})


@dataclass(frozen=True, slots=True)
class _Kind:
    """What tells the definitions apart."""

    kind: str
    plural: str
    short_name: str
    description: str
    columns: list[dict[str, Any]]
    spec: type[ApiModel]
    status: type[ApiModel]


def _kinds() -> tuple[_Kind, ...]:
    return (
        _Kind(
            names.KIND_MAILENDPOINT,
            names.PLURAL_MAILENDPOINT,
            names.SHORT_NAME_MAILENDPOINT,
            "MailEndpoint is an IMAP server that many MailSyncs share: where it is and how "
            "connections to it are protected. It is probed from time to time, and while it is not "
            "Ready no run of its MailSyncs starts.",
            endpoint_columns(),
            MailEndpointSpec,
            MailEndpointStatus,
        ),
        _Kind(
            names.KIND_MAILSYNC,
            names.PLURAL_MAILSYNC,
            names.SHORT_NAME_MAILSYNC,
            "MailSync migrates one mailbox: it copies folders, messages, flags and dates from the "
            "source account to the destination account, over connections that meet the TLS policy.",
            mailsync_columns(),
            MailSyncSpec,
            MailSyncStatus,
        ),
    )


def _crd(of: _Kind) -> dict[str, Any]:
    schema = {
        "type": "object",
        "description": of.description,
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": f"{names.GROUP}/{names.VERSION}."},
            "kind": {"type": "string", "description": f"{of.kind}."},
            "metadata": {"type": "object"},
            "spec": structural_schema(of.spec),
            "status": structural_schema(of.status, defaults=False),
        },
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{of.plural}.{names.GROUP}",
            # Helm must never delete it: with the definition goes every object of its kind.
            "annotations": {"helm.sh/resource-policy": "keep"},
        },
        "spec": {
            "group": names.GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": of.kind,
                "listKind": f"{of.kind}List",
                "plural": of.plural,
                "singular": of.kind.lower(),
                "shortNames": [of.short_name],
                "categories": [names.CATEGORY],
            },
            "versions": [
                {
                    "name": names.VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": of.columns,
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }


def crds() -> dict[str, dict[str, Any]]:
    """Return every CRD by its file's name."""
    return {f"{of.plural}.yaml": _crd(of) for of in _kinds()}


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

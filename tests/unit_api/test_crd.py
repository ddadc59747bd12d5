"""The rendered CRDs: equal to the files, structural, documented and bounded everywhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from mailsync_api.crd import crds, main, render_yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]


_EACH = pytest.mark.parametrize("name", sorted(crds()))


def _schema(name: str) -> dict[str, Any]:
    (version,) = crds()[name]["spec"]["versions"]
    schema: dict[str, Any] = version["schema"]["openAPIV3Schema"]
    return schema


def _nodes(node: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, node
    for name, sub in node.get("properties", {}).items():
        yield from _nodes(sub, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if key in node:
            yield from _nodes(node[key], f"{path}[]")


def test_the_files_are_those_of_the_models(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check", str(ROOT / "crds")]) == 0, capsys.readouterr().err


def test_there_is_one_for_each_resource() -> None:
    assert set(crds()) == {"mailendpoints.yaml", "mailsyncs.yaml"}


def test_no_name_of_a_resource_is_taken_for_all_of_them() -> None:
    names = [crd["spec"]["names"] for crd in crds().values()]
    own = {each[key] for each in names for key in ("plural", "singular", "kind")}
    own |= {short for each in names for short in each["shortNames"]}
    assert not own & {category for each in names for category in each["categories"]}


@_EACH
def test_drift_is_found(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--write", str(tmp_path)]) == 0
    assert main(["--check", str(tmp_path)]) == 0
    file = tmp_path / name
    file.write_text(file.read_text().replace("65535", "65536"))
    assert main(["--check", str(tmp_path)]) == 1
    assert name in capsys.readouterr().err


@_EACH
def test_the_yaml_is_the_object(name: str) -> None:
    crd = crds()[name]
    assert yaml.safe_load(render_yaml(crd)) == crd


@pytest.mark.parametrize(
    "value",
    [{"a": []}, {"a": {"b": [1, {"c": "None"}, [2, 3]]}}, {"x": "yes", "y": "1", "z": "é: #"}],
)
def test_yaml_text(value: object) -> None:
    assert yaml.safe_load(render_yaml(value)) == value


@_EACH
def test_every_field_is_described(name: str) -> None:
    silent = [
        path
        for path, node in _nodes(_schema(name))
        if path and not path.endswith("[]") and path != ".metadata" and not node.get("description")
    ]
    assert silent == []


@_EACH
def test_everything_is_bounded(name: str) -> None:
    def open_ended(path: str, node: dict[str, Any]) -> bool:
        match node.get("type"):
            case "string":
                bounded = {"maxLength", "enum", "format"} & node.keys()
                return not bounded and path not in {".apiVersion", ".kind"}
            case "array":
                return "maxItems" not in node
            case "object" if "additionalProperties" in node:
                return "maxProperties" not in node
            case "integer":
                return not {"minimum", "maximum"} <= node.keys()
            case _:
                return False

    assert [path for path, node in _nodes(_schema(name)) if open_ended(path, node)] == []


@_EACH
def test_the_schema_is_structural(name: str) -> None:
    text = json.dumps(_schema(name))
    for word in ("$ref", "anyOf", '"title"', "$defs", "null"):
        assert word not in text


@_EACH
def test_every_object_has_a_type_and_refuses_unknown_fields(name: str) -> None:
    for path, node in _nodes(_schema(name)):
        assert "type" in node or "x-kubernetes-preserve-unknown-fields" in node, path

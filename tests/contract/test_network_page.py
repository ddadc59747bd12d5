"""docs/network.md says what the code and the chart do."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from mailsync_api import names
from mailsync_api.conditions import Reason
from mailsync_api.endpoint import Server

_ROOT = Path(__file__).parents[2]
_PAGE = (_ROOT / "docs" / "network.md").read_text(encoding="utf-8")


def _schema() -> dict[str, Any]:
    path = _ROOT / "charts" / "mailsync" / "values.schema.json"
    schema: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return schema


def test_the_values_of_the_chart_are_there() -> None:
    found = set(re.findall(r"networkPolicy\.([A-Za-z.]+)", _PAGE))
    known: dict[str, Any] = _schema()["properties"]["networkPolicy"]["properties"]
    for path in found:
        first, _, second = path.rstrip(".").partition(".")
        assert first in known, path
        assert not second or second in known[first].get("properties", {"ipBlock": 0}), path
    assert {"enabled", "namespaces", "extraPorts", "dnsPorts", "operator.enabled"} <= found


def test_the_ports_of_tunnels_are_those_of_the_code() -> None:
    for place in ("source", "destination"):
        assert f"127.0.0.1:{names.tunnel_port(place)}" in _PAGE
    assert names.tunnel_port(names.PROBED_SERVER) == names.tunnel_port("source")


def test_the_reasons_of_proxies_are_on_both_pages() -> None:
    codes = (_ROOT / "docs" / "exit-codes.md").read_text(encoding="utf-8")
    about = [reason for reason in Reason if reason.startswith("Proxy")]
    assert len(about) == 3
    for reason in about:
        assert f"`{reason}`" in _PAGE
        assert f"`{reason}`" in codes


def test_the_manifest_of_a_tunnel_is_valid() -> None:
    [text] = re.findall(r"```yaml\n(.*?)```", _PAGE, re.DOTALL)
    source = Server.model_validate(yaml.safe_load(text)["spec"]["source"])
    assert source.tunnel is not None

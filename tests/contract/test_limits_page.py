"""docs/limits.md says what the code does: fields, presets, manifests."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from mailsync_api.conditions import Reason
from mailsync_api.limits import EndpointLimits, Limits
from mailsync_api.manifest import MailEndpoint, MailSync
from mailsync_api.presets import PRESETS

_PAGE = (Path(__file__).parents[2] / "docs" / "limits.md").read_text(encoding="utf-8")


def _figure(value: int | None) -> str:
    return "any" if value is None else f"{value:,}"


def test_every_field_is_in_the_table_with_where_it_is() -> None:
    section = _PAGE.split("## Fields\n", 1)[1].split("\n## ", 1)[0]
    rows = dict(re.findall(r"^\| `([^`]+)` \| (\w+) \|", section, re.MULTILINE))
    own = {field.alias for field in Limits.model_fields.values()}
    shared = {field.alias for field in EndpointLimits.model_fields.values()}
    assert {name for name, where in rows.items() if where in {"both", "MailSync"}} == own
    assert {name for name, where in rows.items() if where in {"both", "MailEndpoint"}} == shared


def test_every_preset_is_in_the_table_as_it_is_in_the_code() -> None:
    for info in PRESETS.values():
        row = (
            f"| `{info.preset}` | {info.connections} | {_figure(info.download_bytes_per_day)} | "
            f"{_figure(info.upload_bytes_per_day)} | {info.limits_note or 'no limit is known'} |"
        )
        assert row in _PAGE, row


def test_the_reason_is_that_of_the_code() -> None:
    assert f"`{Reason.DAILY_LIMIT_REACHED}`" in _PAGE


def test_the_manifests_are_valid() -> None:
    [text] = re.findall(r"```yaml\n(.*?)```", _PAGE, re.DOTALL)
    endpoint, mailsync = yaml.safe_load_all(text)
    MailEndpoint.from_object(endpoint)
    MailSync.from_object(mailsync)

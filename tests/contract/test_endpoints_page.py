"""docs/endpoints.md says what the code does: presets, fields, conditions, Events, manifests."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from mailsync_api.conditions import EndpointConditionType, EventReason
from mailsync_api.mailendpoint import MailEndpointSpec, ProbePolicy
from mailsync_api.manifest import MailEndpoint, MailSync
from mailsync_api.presets import PRESETS

_PAGE = (Path(__file__).parents[2] / "docs" / "endpoints.md").read_text(encoding="utf-8")


def _first_cells(heading: str) -> list[str]:
    """Return the first code words of the rows of a section's table."""
    section = _PAGE.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return re.findall(r"^\| `([^`]+)`", section, re.MULTILINE)[1:]


def test_every_preset_is_in_the_table_as_it_is_in_the_code() -> None:
    for info in PRESETS.values():
        host = f"`{info.host}`" if info.host else "your own"
        note = info.note or "nothing special"
        assert f"| `{info.preset}`: {info.title} | {host} | {note} |" in _PAGE
    assert _first_cells("Presets") == [preset.value for preset in PRESETS]


def test_every_field_is_in_the_table() -> None:
    own = {field.alias for field in MailEndpointSpec.model_fields.values()} - {"probe"}
    probe = {f"probe.{field.alias}" for field in ProbePolicy.model_fields.values()}
    assert {"preset", *_first_cells("Fields")} == own | probe


def test_every_condition_and_event_is_named() -> None:
    assert set(_first_cells("Conditions")) | {"Ready"} == set(EndpointConditionType)
    told = EventReason
    for reason in (
        told.ENDPOINT_READY,
        told.ENDPOINT_UNREACHABLE,
        told.ENDPOINT_REFUSED,
        told.TLS_NOT_SECURED,
        told.CERTIFICATE_EXPIRING,
        told.PROBE_FAILED,
        told.INVALID_SPEC,
    ):
        assert f"`{reason}`" in _PAGE


def test_the_manifests_are_valid() -> None:
    [text] = re.findall(r"```yaml\n(.*?)```", _PAGE, re.DOTALL)
    endpoint, mailsync = yaml.safe_load_all(text)
    MailEndpoint.from_object(endpoint)
    MailSync.from_object(mailsync)

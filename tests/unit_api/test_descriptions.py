"""Where the descriptions of fields come from."""

from __future__ import annotations

from mailsync_api.base import ApiModel
from mailsync_api.descriptions import field_descriptions


class _Above(ApiModel):
    """A model to inherit from."""

    first_field: int = 0
    """What the
    first is for."""
    bare: int = 0


class _Below(_Above):
    first_field: int = 1
    second: int | None = None
    """The second."""
    third: _Above = _Above()
    """The third."""


def test_the_string_under_a_field_describes_it_and_is_inherited() -> None:
    assert field_descriptions(_Below) == {
        "first_field": "What the\nfirst is for.",
        "second": "The second.",
        "third": "The third.",
    }


def test_a_schema_has_the_descriptions_under_the_names_on_the_wire() -> None:
    properties = _Below.model_json_schema()["properties"]
    assert properties["firstField"]["description"] == "What the\nfirst is for."
    assert properties["third"]["description"] == "The third."
    assert "description" not in properties["bare"]


def test_importing_the_models_reads_no_sources() -> None:
    # It would be paid for at every start of the engine.
    assert not ApiModel.model_config.get("use_attribute_docstrings", False)

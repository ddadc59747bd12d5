"""The one base class of all models, and the scalar types that they share."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    PlainSerializer,
)
from pydantic.alias_generators import to_camel
from typing_extensions import override

from mailsync_api.descriptions import field_descriptions
from mailsync_api.schema import cel_value

if TYPE_CHECKING:
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import CoreSchema

__all__ = [
    "MAX_INT64",
    "ApiModel",
    "Bytes",
    "Count",
    "MessageText",
    "OpenApiModel",
    "PrintableText",
    "Time",
    "format_time",
]

MAX_INT64: Final = 2**53 - 1
"""The largest integer that every JSON reader keeps exact (Kubernetes API conventions)."""


class ApiModel(BaseModel):
    """A model of the API: camelCase on the wire, unknown fields refused, frozen.

    The string under a field is its description in the CRD and in ``kubectl explain``.
    """

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
    )

    @classmethod
    @override
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler, /
    ) -> JsonSchemaValue:
        schema = handler(core_schema)
        properties = handler.resolve_ref_schema(schema).get("properties", {})
        for name, text in field_descriptions(cls).items():
            field = cls.model_fields.get(name)
            if field is not None:
                properties[field.alias or name].setdefault("description", text)
        return schema

    def to_wire(self) -> dict[str, Any]:
        """Return this object in JSON's types: camelCase names, absent fields left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class OpenApiModel(ApiModel):
    """A model that an older reader must still understand: unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore")


def format_time(value: datetime) -> str:
    """Return a time as RFC 3339 in UTC with whole seconds, as Kubernetes writes it."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _whole_seconds(value: datetime) -> datetime:
    # Kubernetes keeps whole seconds: cutting here lets a value survive the round trip unchanged.
    return value.astimezone(UTC).replace(microsecond=0)


Time = Annotated[
    AwareDatetime,
    AfterValidator(_whole_seconds),
    PlainSerializer(format_time, return_type=str, when_used="json"),
]
"""A point in time: RFC 3339, whole seconds, always with a time zone."""


def _printable(value: str) -> str:
    if any(ord(char) < 0x20 or ord(char) == 0x7F for char in value):
        msg = f"{value!r} holds a control character: IMAP commands are lines, remove it"
        raise ValueError(msg)
    return value


PrintableText = Annotated[
    str,
    AfterValidator(_printable),
    Field(
        json_schema_extra=cel_value(
            r"!self.matches('[\\x00-\\x1F\\x7F]')",
            "'holds a control character: IMAP commands are lines, remove it'",
        )
    ),
]
"""A text without control characters."""

Count = Annotated[int, Field(ge=0, le=MAX_INT64)]
"""A number of things, 0 or more."""

Bytes = Annotated[int, Field(ge=0, le=MAX_INT64)]
"""A number of bytes, 0 or more."""

MessageText = Annotated[str, Field(max_length=32768)]
"""A text for people; the Kubernetes limit for a condition's message."""

"""Resources as whole objects, for those who read manifests without an API server."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from mailsync_api.base import ApiModel, OpenApiModel, Time
from mailsync_api.endpointstatus import MailEndpointStatus
from mailsync_api.mailendpoint import MailEndpointSpec
from mailsync_api.names import API_VERSION, KIND_MAILENDPOINT, KIND_MAILSYNC
from mailsync_api.spec import MailSyncSpec
from mailsync_api.status import MailSyncStatus

__all__ = ["MailEndpoint", "MailSync", "ObjectMeta"]


class ObjectMeta(OpenApiModel):
    """The part of metav1.ObjectMeta that is ours to read."""

    name: Annotated[str, Field(min_length=1, max_length=253)]
    namespace: Annotated[str, Field(min_length=1, max_length=63)] = "default"
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    creation_timestamp: Time | None = None
    deletion_timestamp: Time | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class MailSync(ApiModel):
    """One mailbox to migrate."""

    api_version: Literal["mailsync.dev/v1alpha1"] = API_VERSION
    kind: Literal["MailSync"] = KIND_MAILSYNC
    metadata: ObjectMeta
    spec: MailSyncSpec
    status: MailSyncStatus | None = None

    @classmethod
    def from_object(cls, obj: dict[str, Any]) -> MailSync:
        """Return the model of an object.

        Raises
        ------
        pydantic.ValidationError
            Names each bad field with its value.
        """
        return cls.model_validate(obj)


class MailEndpoint(ApiModel):
    """An IMAP server that many MailSyncs share."""

    api_version: Literal["mailsync.dev/v1alpha1"] = API_VERSION
    kind: Literal["MailEndpoint"] = KIND_MAILENDPOINT
    metadata: ObjectMeta
    spec: MailEndpointSpec
    status: MailEndpointStatus | None = None

    @classmethod
    def from_object(cls, obj: dict[str, Any]) -> MailEndpoint:
        """Return the model of an object.

        Raises
        ------
        pydantic.ValidationError
            Names each bad field with its value.
        """
        return cls.model_validate(obj)

"""Which Secrets a MailSync refers to."""

from __future__ import annotations

from typing import Any

import pytest

from mailsync_api.references import secret_names
from mailsync_api.spec import MailSyncSpec
from tests.support.builders import manifest, merged


def test_those_of_both_accounts_and_no_config_map() -> None:
    spec: dict[str, Any] = merged(
        manifest()["spec"],
        {
            "source": {
                "tls": {
                    "caRef": {"name": "public"},
                    "clientCertificateRef": {"name": "client"},
                }
            },
            "destination": {"tls": {"caRef": {"kind": "Secret", "name": "private"}}},
            "podTemplate": {"imagePullSecrets": [{"name": "registry"}]},
        },
    )
    expected = {"source-password", "destination-password", "client", "private"}
    assert secret_names(spec) == expected
    assert secret_names(spec, cas=False) == expected - {"private"}
    # The same as the API server stores it, with its defaults.
    assert secret_names(MailSyncSpec.model_validate(spec).to_wire()) == expected


def test_an_endpoint_is_no_secret() -> None:
    spec = manifest(source={"host": None, "endpointRef": {"name": "old"}})["spec"]
    assert secret_names(spec) == {"source-password", "destination-password"}


@pytest.mark.parametrize("spec", [{}, {"source": None}, {"source": {"secretRef": "no object"}}])
def test_what_is_no_valid_spec_has_none(spec: dict[str, Any]) -> None:
    assert secret_names(spec) == frozenset()

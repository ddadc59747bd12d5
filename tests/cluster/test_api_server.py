"""The CRD on a real API server: bad input is refused by field, in words that help."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cluster.shell import CommandError
from tests.support.builders import endpoint_manifest, manifest
from tests.support.kube import Kube, KubeObject
from tests.support.release import Release
from tests.unit_api.test_limits import BAD as BAD_LIMITS
from tests.unit_api.test_mailendpoint import BAD as BAD_ENDPOINTS
from tests.unit_api.test_models import BAD
from tests.unit_api.test_oauth2 import BAD as BAD_OAUTH2
from tests.unit_api.test_oauth2 import GOOD as GOOD_OAUTH2
from tests.unit_api.test_oauth2 import authentication

pytestmark = pytest.mark.cluster

# What CEL cannot check; the operator says it on the status instead (see test_failures).
_BEYOND_THE_API_SERVER = {"regular expression"}
_REFUSED = [bad for bad in BAD if bad[0] not in _BEYOND_THE_API_SERVER]


@pytest.fixture(scope="module")
def kube(release: Release) -> Kube:
    return release.kube.within("default")


def dry_run(kube: Kube, obj: KubeObject) -> KubeObject:
    """Return the object as the API server would store it."""
    text = kube.run("apply", "--dry-run=server", "-o", "json", "-f", "-", stdin=json.dumps(obj))
    stored: KubeObject = json.loads(text)
    return stored


@pytest.mark.parametrize(
    ("spec", "field"), [bad[1:3] for bad in _REFUSED], ids=[bad[0] for bad in _REFUSED]
)
def test_bad_input_is_refused_by_field(kube: Kube, spec: dict[str, Any], field: str) -> None:
    with pytest.raises(CommandError) as caught:
        dry_run(kube, manifest(**spec))
    assert field in caught.value.output


@pytest.mark.parametrize(
    ("limits", "field"), [bad[1:3] for bad in BAD_LIMITS], ids=[bad[0] for bad in BAD_LIMITS]
)
def test_bad_limits_are_refused_by_field(kube: Kube, limits: dict[str, Any], field: str) -> None:
    with pytest.raises(CommandError) as caught:
        dry_run(kube, manifest(limits=limits))
    assert f"spec.limits{'.' if field else ''}{field}" in caught.value.output


@pytest.mark.parametrize(
    ("changes", "cure"), [bad[1:] for bad in BAD_OAUTH2], ids=[bad[0] for bad in BAD_OAUTH2]
)
def test_contradictions_about_tokens_are_refused(
    kube: Kube, changes: dict[str, Any], cure: str
) -> None:
    login = {"secretRef": None, **authentication(**changes)}
    with pytest.raises(CommandError) as caught:
        dry_run(kube, manifest(source={"authentication": login}))
    assert "spec.source.authentication" in caught.value.output
    assert cure in caught.value.output


@pytest.mark.parametrize(("oauth2", "keys", "_read"), GOOD_OAUTH2)
def test_each_grant_is_accepted(
    kube: Kube, oauth2: dict[str, Any], keys: dict[str, str], _read: object
) -> None:
    login = {"secretRef": {"name": "x", **keys}, "oauth2": oauth2}
    stored = dry_run(kube, manifest(source={"authentication": login}))
    assert stored["spec"]["source"]["authentication"]["oauth2"] == oauth2


@pytest.mark.parametrize(
    ("spec", "field"), [bad[1:3] for bad in BAD_ENDPOINTS], ids=[bad[0] for bad in BAD_ENDPOINTS]
)
def test_a_bad_endpoint_is_refused_by_field(kube: Kube, spec: dict[str, Any], field: str) -> None:
    with pytest.raises(CommandError) as caught:
        dry_run(kube, endpoint_manifest(**spec))
    assert field in caught.value.output


def test_an_endpoints_defaults_are_visible(kube: Kube) -> None:
    stored = dry_run(kube, endpoint_manifest(preset="Gmail", host=None))["spec"]
    assert stored == {
        "preset": "Gmail",
        "compression": "None",
        "tls": {"mode": "Implicit", "verify": "Full", "minVersion": "TLSv1.2", "securityLevel": 2},
        "probe": {"periodSeconds": 3600, "suspend": False, "certificateWarningDays": 14},
    }


def test_defaults_are_visible_in_the_stored_object(kube: Kube) -> None:
    stored = dry_run(kube, manifest(source={"tls": {}}))["spec"]
    assert "tls" not in stored["destination"], "it may come from a MailEndpoint"
    assert stored["source"]["tls"] == {
        "mode": "Implicit",
        "verify": "Full",
        "minVersion": "TLSv1.2",
        "securityLevel": 2,
    }
    assert stored["retry"]["backoffLimit"] == 3
    assert stored["mode"] == "Sync"


def test_explain_reads_like_documentation(kube: Kube) -> None:
    text = kube.run("explain", "mailsync.spec.source.tls")
    for words in ("Implicit, StartTLS, None", "with\n    nothing sent", "impostors"):
        assert words.split()[0] in text
    for kind in ("mailsync", "mailendpoint"):
        assert "<no description>" not in kube.run("explain", kind, "--recursive")

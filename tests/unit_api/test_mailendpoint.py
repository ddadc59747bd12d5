"""MailEndpoints: what a preset gives, what is given wins, and what is wrong is said by field."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from mailsync_api.endpoint import TLSMode
from mailsync_api.endpointstatus import MailEndpointStatus
from mailsync_api.mailendpoint import MailEndpointSpec
from mailsync_api.manifest import MailEndpoint
from mailsync_api.presets import PRESETS, Preset
from tests.support.builders import endpoint_manifest

_SLOTS = {"maxConcurrentInitialSyncs": 3, "maxConcurrentDeltaSyncs": 2}
BAD: list[tuple[str, dict[str, Any], str, str]] = [
    # what, spec, field, words of the message
    ("no host", {"host": None}, "spec", "host is required"),
    (
        "no host for all",
        {"host": None, "preset": "Dovecot"},
        "spec",
        "unless preset is one of Gmail",
    ),
    ("preset", {"preset": "Gmial"}, "spec.preset", "Gmial"),
    ("host", {"host": "imaps://x"}, "spec.host", "neither a host name"),
    ("port", {"port": 70000}, "spec.port", "65535"),
    ("tls", {"tls": {"mode": "None", "caRef": {"name": "ca"}}}, "spec.tls", "clear text"),
    ("tunnel", {"tls": {"mode": "Auto"}, "tunnel": {}}, "spec", "set tls.mode to Implicit"),
    ("proxy", {"proxy": {"type": "SOCKS4", "host": "p", "port": 1}}, "spec.proxy.type", "SOCKS5"),
    (
        "both",
        {"tunnel": {}, "proxy": {"type": "SOCKS5", "host": "p", "port": 1}},
        "spec",
        "remove proxy or tunnel",
    ),
    ("period", {"probe": {"periodSeconds": 59}}, "spec.probe.periodSeconds", "60"),
    ("days", {"probe": {"certificateWarningDays": 0}}, "spec.probe.certificateWarningDays", "1"),
    (
        "connections",
        {"limits": {"maxConnectionsPerMailbox": 33}},
        "spec.limits.maxConnectionsPerMailbox",
        "32",
    ),
    ("day", {"limits": {"maxBytesPerDay": 1}}, "spec.limits.maxBytesPerDay", "1000000"),
    (
        "a rate without slots",
        {"limits": {"maxBytesPerSecond": 10**6, "maxConcurrentInitialSyncs": 3}},
        "spec.limits",
        "maxConcurrentDeltaSyncs",
    ),
    (
        "too little for each",
        {"limits": {**_SLOTS, "maxBytesPerSecond": 5 * 1024 - 1}},
        "spec.limits",
        "at least 1024 for each",
    ),
    (
        "no message for each",
        {"limits": {**_SLOTS, "maxMessagesPerSecond": 4}},
        "spec.limits",
        "at least 1 for each",
    ),
    (
        "no slot",
        {"limits": {"maxConcurrentInitialSyncs": 0}},
        "spec.limits.maxConcurrentInitialSyncs",
        "1",
    ),
    ("token", {"probe": {"manual": ""}}, "spec.probe.manual", "1"),
]


def spec(**changes: Any) -> MailEndpointSpec:
    return MailEndpoint.from_object(endpoint_manifest(**changes)).spec


@pytest.mark.parametrize(
    ("changes", "field", "words"), [bad[1:] for bad in BAD], ids=[bad[0] for bad in BAD]
)
def test_bad_input_is_refused_by_field(changes: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        spec(**changes)
    [error] = caught.value.errors()
    assert ".".join(str(part) for part in error["loc"]) == field
    assert words in f"{error['msg']} {error['input']}"


def test_the_least_that_can_be_said_is_safe() -> None:
    server = spec().server
    assert (server.host, server.ports) == ("imap.old.example.org", (993,))
    assert server.tls.mode is TLSMode.IMPLICIT


@pytest.mark.parametrize("preset", [info for info in PRESETS.values() if info.host])
def test_a_service_needs_its_name_only(preset: Any) -> None:
    server = spec(host=None, preset=preset.preset.value).server
    assert (server.host, server.ports) == (preset.host, (993,))


def test_what_is_given_wins_over_the_preset() -> None:
    server = spec(preset="Gmail", port=143, tls={"mode": "StartTLS"}).server
    assert (server.host, server.ports) == ("imap.old.example.org", (143,))
    assert server.tls.mode is TLSMode.START_TLS


def test_every_preset_has_its_row() -> None:
    assert set(PRESETS) == set(Preset)
    assert all(info.note for info in PRESETS.values() if info.preset is not Preset.GENERIC)


def test_an_empty_status_says_nothing() -> None:
    assert MailEndpointStatus().to_wire() == {
        "conditions": [],
        "certificateNames": [],
        "capabilities": [],
        "authMechanisms": [],
        "alternatives": [],
        "consecutiveFailures": 0,
    }

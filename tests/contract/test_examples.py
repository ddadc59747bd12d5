"""The manifests that users copy are valid and complete."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from mailsync_api.endpoint import CaRefKind, MailAccount
from mailsync_api.manifest import MailEndpoint, MailSync
from mailsync_api.spec import Accounts

_FOLDER = Path(__file__).parents[2] / "examples"
_HTTPS_PORT = 443
_CHART = Path(__file__).parents[2] / "charts" / "mailsync"
_FILES = sorted(_FOLDER.glob("*.yaml"))


def _objects(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def _keys(objects: list[dict[str, Any]]) -> set[tuple[str, str, str]]:
    """Return kind, name and key of all data in the Secrets and ConfigMaps."""
    return {
        (each["kind"], each["metadata"]["name"], key)
        for each in objects
        for key in {**each.get("data", {}), **each.get("stringData", {})}
    }


def _referenced(account: MailAccount) -> set[tuple[str, str, str]]:
    login = account.authentication
    name = login.secret_ref.name if login.secret_ref else ""
    keys = {("Secret", name, key) for key in login.secret_keys.values()}
    if login.oauth2 and (ca := login.oauth2.ca_ref):
        keys.add((CaRefKind(ca.kind).value, ca.name, ca.key))
    if ca := account.tls.ca_ref:
        keys.add((CaRefKind(ca.kind).value, ca.name, ca.key))
    if account.proxy and (gate := account.proxy.secret_ref):
        keys |= {("Secret", gate.name, key) for key in (gate.username_key, gate.password_key)}
    return keys


def test_there_are_examples() -> None:
    assert "single-mailbox.yaml" in {path.name for path in _FILES}


@pytest.mark.parametrize("path", _FILES, ids=lambda path: path.name)
def test_an_example_is_valid_and_holds_what_it_refers_to(path: Path) -> None:
    objects = _objects(path)
    mailsyncs = [MailSync.from_object(each) for each in objects if each["kind"] == "MailSync"]
    assert mailsyncs
    endpoints = [MailEndpoint.from_object(o) for o in objects if o["kind"] == "MailEndpoint"]
    servers = {each.metadata.name: each.spec.server for each in endpoints}
    for each in mailsyncs:
        accounts = Accounts.of(each.spec, servers)
        referenced = _referenced(accounts.source) | _referenced(accounts.destination)
        assert referenced <= _keys(objects)


@pytest.mark.parametrize("path", _FILES, ids=lambda path: path.name)
def test_the_ports_that_a_network_policy_must_open_are_said(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    values = yaml.safe_load((_CHART / "values.yaml").read_text(encoding="utf-8"))
    said = re.search(r"networkPolicy\.extraPorts=\{([0-9,]+)\}", text)
    opened = {*values["networkPolicy"]["ports"], *map(int, said[1].split(",") if said else ())}
    needed = {port for each in _objects(path) for port in _ports(each)}
    assert needed <= opened


def _ports(obj: dict[str, Any]) -> set[int]:
    """Return the ports that a MailSync's pod connects to, or that a Service's pods have."""
    if obj["kind"] == "Service":
        return {each["targetPort"] for each in obj["spec"]["ports"]}
    if obj["kind"] == "MailEndpoint":
        return set(MailEndpoint.from_object(obj).spec.server.ports)
    if obj["kind"] != "MailSync":
        return set()
    spec = MailSync.from_object(obj).spec
    accounts = [each for each in (spec.source, spec.destination) if each.endpoint_ref is None]
    found: set[int] = set()
    for each in (account.on(None) for account in accounts):
        # A token endpoint is asked by the account's proxy too.
        token_ports = {_HTTPS_PORT} if each.authentication.oauth2 else set()
        found |= {each.proxy.port} if each.proxy else {*each.ports, *token_ports}
    return found


@pytest.mark.parametrize("path", _FILES, ids=lambda path: path.name)
def test_an_example_is_in_the_list(path: Path) -> None:
    assert f"]({path.name})" in (_FOLDER / "README.md").read_text(encoding="utf-8")

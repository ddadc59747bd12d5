"""What to write into the manifest: valid, met by the server, and giving up no more than it must."""

from __future__ import annotations

import ssl
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from mailsync_api.endpoint import Server
from mailsync_syncjob.credentials import Target
from mailsync_syncjob.deadline import Clock, Stop
from mailsync_syncjob.probecommand import probe_target
from tests.support.odd_certificates import Wish, issue
from tests.support.probing import target
from tests.support.recorded import connector
from tests.support.scripted import TinyServer, serve, with_starttls
from tests.support.tls_cases import CASES, Listener, Pki

if TYPE_CHECKING:
    from mailsync_syncjob.probe.report import ProbeReport

_SERVERS = {case.server: case.make for case in CASES}
_OLD = ssl.TLSVersion.TLSv1


def _old_and_self_signed(_: Pki) -> Listener:
    return Listener([issue(Wish())], oldest=_OLD, newest=_OLD)


_MADE = {**_SERVERS, "self-signed, TLS 1.0 only": _old_and_self_signed}
_PIN: dict[str, Any] = {"verify": "None", "pinnedSpkiSha256": "own"}
_TRUSTED: dict[str, Any] = {"caRef": {"name": "mail-ca"}}
_LEGACY: dict[str, Any] = {"minVersion": "TLSv1.0", "securityLevel": 0}


@pytest.fixture(scope="module")
def pki() -> Pki:
    return Pki()


def _report(of: Target) -> ProbeReport:
    clock = Clock()
    return probe_target(of, clock=clock, stop=Stop(clock), seconds=20)


@pytest.mark.parametrize("mode", ["Implicit", "StartTLS"])
@pytest.mark.parametrize(
    ("server", "tls", "caution"),
    [
        ("good", _TRUSTED, "kubectl create configmap mail-ca"),
        ("good, with its intermediate", _TRUSTED, ""),
        ("intermediate not sent", _PIN, "caRef"),
        ("expired", _PIN, "renewed"),
        ("not yet valid", _PIN, "came over this very connection"),
        ("for another name", {**_TRUSTED, "serverName": "mail.example.net"}, "make sure"),
        ("self-signed", _PIN, "Compare it"),
        ("of an unknown CA", _PIN, "name the CA"),
        ("RSA key of 1024 bits", {**_TRUSTED, "securityLevel": 1}, "weak keys"),
        ("signed with SHA-1", {**_TRUSTED, "securityLevel": 0}, "weak keys"),
        ("good, TLS 1.0 only", {**_TRUSTED, **_LEGACY}, "RFC 8996"),
        ("self-signed, TLS 1.0 only", {**_PIN, **_LEGACY}, "RFC 8996"),
        ("good, TLS 1.2 only", _TRUSTED, ""),
        ("good, TLS 1.3 only", _TRUSTED, ""),
    ],
)
def test_the_safest_policy(
    pki: Pki, server: str, tls: dict[str, Any], caution: str, mode: str
) -> None:
    listener = _MADE[server](pki)
    inside = TinyServer()
    implicit = mode == "Implicit"
    dialogue = inside if implicit else with_starttls(inside)
    with serve(dialogue, context=listener.context(), implicit_tls=implicit) as script:
        wish = target(script.port, ca_pem=pki.ca.pem, mode="Auto", caRef={"name": "mail-ca"})
        report = _report(wish)
        assert report.manifest is not None
        wire = yaml.safe_load(report.manifest)
        advised = Server.model_validate(wire)
        # Used as a policy, it meets the same server.
        ca_pem = pki.ca.pem if advised.tls.ca_ref is not None else None
        met = connector().connect(Target("server", advised, ca_pem=ca_pem))
        met.channel.wire.close()
    found = wire["tls"]
    if "pinnedSpkiSha256" in tls:
        own = report.facts.certificate
        assert own is not None
        tls = {**tls, "pinnedSpkiSha256": [own.spki_sha256]}
    assert found == {"mode": mode, **tls}
    assert caution in " ".join(report.cautions)
    assert bool(report.cautions) or not tls


def test_clear_text_is_the_last_thing_advised() -> None:
    with serve(TinyServer()) as script:
        report = _report(target(script.port, mode="Auto"))
    assert report.exit_code == 76
    assert report.manifest is not None
    assert yaml.safe_load(report.manifest)["tls"] == {"mode": "None"}
    assert "Clear text" in report.cautions[0]


@pytest.mark.parametrize(
    "server", ["good, without authentication (aNULL) only", "nothing", "another protocol"]
)
def test_no_advice_without_a_way(pki: Pki, server: str) -> None:
    with ExitStack() as stack:
        port = 1
        if server in _MADE:
            context = _MADE[server](pki).context()
            port = stack.enter_context(serve(TinyServer(), context=context, implicit_tls=True)).port
        elif server == "another protocol":
            smtp = TinyServer(greeting=b"220 mail ESMTP\r\n")
            port = stack.enter_context(serve(smtp)).port
        report = _report(target(port, mode="Auto"))
    assert report.exit_code != 0
    assert report.manifest is None


def test_another_protocol_behind_a_good_certificate_is_no_advice(pki: Pki) -> None:
    context = _MADE["good"](pki).context()
    pop3 = TinyServer(greeting=b"+OK POP3 ready\r\n")
    with serve(pop3, context=context, implicit_tls=True) as script:
        report = _report(target(script.port, mode="Auto"))
    assert report.exit_code == 76  # no CA was given, and nothing is said before that
    assert report.manifest is None


def test_versions_are_tried_one_by_one(pki: Pki) -> None:
    listener = Listener([issue(Wish(), by=pki.ca)], oldest=_OLD, newest=ssl.TLSVersion.TLSv1_2)
    with serve(TinyServer(), context=listener.context(), implicit_tls=True) as script:
        report = _report(target(script.port, ca_pem=pki.ca.pem, mode="Implicit"))
    assert {str(each.version): each.offered for each in report.versions} == {
        "TLSv1.0": True,
        "TLSv1.1": True,
        "TLSv1.2": True,
        "TLSv1.3": False,
    }


def test_the_chain_is_shown_as_it_is_sent(pki: Pki) -> None:
    listener = _MADE["good, with its intermediate"](pki)
    with serve(TinyServer(), context=listener.context(), implicit_tls=True) as script:
        report = _report(target(script.port, ca_pem=pki.ca.pem, mode="Implicit"))
    assert [(link.certificate.subject, link.signed_by) for link in report.chain] == [
        ("commonName=mail", "the next one"),
        ("commonName=Intermediate", "one that the server does not send"),
    ]

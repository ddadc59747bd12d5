"""What the models accept and refuse, and what they say about it."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from pydantic import ValidationError

from mailsync_api.endpoint import Server, TLSMode, TLSPolicy
from mailsync_api.job import JobInput, job_input
from mailsync_api.manifest import MailSync
from mailsync_api.spec import Accounts
from tests.support.builders import mailsync

PROXY = {"type": "SOCKS5", "host": "proxy.example.org", "port": 1080}

BAD: list[tuple[str, dict[str, Any], str, str]] = [
    ("scheme in host", {"source": {"host": "imaps://a"}}, "spec.source.host", "'imaps://a'"),
    ("port in host", {"source": {"host": "a.example:993"}}, "spec.source.host", "no port"),
    ("empty label", {"source": {"host": "a..example"}}, "spec.source.host", "a..example"),
    ("port 0", {"source": {"port": 0}}, "spec.source.port", "1"),
    ("port too high", {"destination": {"port": 65536}}, "spec.destination.port", "65535"),
    ("unknown mode", {"source": {"tls": {"mode": "SSL"}}}, "spec.source.tls.mode", "StartTLS"),
    (
        "CA without verification",
        {"source": {"tls": {"verify": "None", "caRef": {"name": "ca"}}}},
        "spec.source.tls",
        "remove it",
    ),
    (
        "server name in clear text",
        {"destination": {"tls": {"mode": "None", "serverName": "a.example"}}},
        "spec.destination.tls",
        "choose mode",
    ),
    (
        "no TLS for a client certificate",
        {"source": {"tls": {"mode": "None", "clientCertificateRef": {"name": "x"}}}},
        "spec.source.tls",
        "choose mode",
    ),
    (
        "versions the wrong way round",
        {"source": {"tls": {"minVersion": "TLSv1.3", "maxVersion": "TLSv1.2"}}},
        "spec.source.tls",
        "must not be older",
    ),
    (
        "an old version at a high level",
        {"destination": {"tls": {"minVersion": "TLSv1.1", "securityLevel": 1}}},
        "spec.destination.tls",
        "securityLevel 0",
    ),
    (
        "a pin where clear text is allowed",
        {"source": {"tls": {"mode": "Opportunistic", "pinnedSpkiSha256": ["A" * 43 + "="]}}},
        "spec.source.tls",
        "choose mode Auto",
    ),
    (
        "a tunnel that would have to find out",
        {"source": {"tls": {"mode": "Auto"}, "tunnel": {"type": "Stunnel"}}},
        "spec.source",
        "set tls.mode to Implicit or StartTLS",
    ),
    (
        "a tunnel for clear text",
        {"destination": {"tls": {"mode": "None"}, "tunnel": {"type": "Stunnel"}}},
        "spec.destination",
        "or remove tunnel",
    ),
    (
        "a pin behind a tunnel",
        {"source": {"tls": {"pinnedSpkiSha256": ["A" * 43 + "="]}, "tunnel": {}}},
        "spec.source",
        "remove the pins",
    ),
    (
        "a tunnel and a proxy",
        {"source": {"tunnel": {}, "proxy": PROXY}},
        "spec.source",
        "remove proxy or tunnel",
    ),
    (
        "an unknown tunnel",
        {"source": {"tunnel": {"type": "OpenVPN"}}},
        "spec.source.tunnel.type",
        "Stunnel",
    ),
    (
        "a proxy beside endpointRef",
        {"source": {"host": None, "endpointRef": {"name": "old"}, "proxy": PROXY}},
        "spec.source",
        "change the MailEndpoint",
    ),
    (
        "an unknown proxy",
        {"source": {"proxy": {**PROXY, "type": "SOCKS4"}}},
        "spec.source.proxy.type",
        "SOCKS5",
    ),
    (
        "a proxy's address as a URL",
        {"source": {"proxy": {**PROXY, "host": "http://p"}}},
        "spec.source.proxy.host",
        "no scheme",
    ),
    (
        "a proxy without its port",
        {"source": {"proxy": {"type": "SOCKS5", "host": "p"}}},
        "spec.source.proxy.port",
        "required",
    ),
    ("level 6", {"source": {"tls": {"securityLevel": 6}}}, "spec.source.tls.securityLevel", "5"),
    (
        "a level among the ciphers",
        {"source": {"tls": {"ciphers": "ALL:@seclevel=0"}}},
        "spec.source.tls.ciphers",
        "securityLevel",
    ),
    (
        "a line break among the ciphers",
        {"source": {"tls": {"ciphers": "ALL\n"}}},
        "spec.source.tls.ciphers",
        "OpenSSL cipher",
    ),
    ("no server", {"source": {"host": None}}, "spec.source", "host is required"),
    (
        "two servers",
        {"source": {"endpointRef": {"name": "old"}}},
        "spec.source",
        "no place beside it",
    ),
    (
        "a policy beside an endpoint",
        {"source": {"host": None, "endpointRef": {"name": "old"}, "tls": {"verify": "None"}}},
        "spec.source",
        "no place beside it",
    ),
    (
        "same endpoint, same user",
        {
            side: {"host": None, "endpointRef": {"name": "old"}}
            for side in ("source", "destination")
        },
        "spec",
        "at the same endpointRef",
    ),
    ("line break in user", {"source": {"username": "a\r\nX"}}, "spec.source.username", "control"),
    ("unknown field", {"sauce": {}}, "spec.sauce", "not permitted"),
    ("regular expression", {"folders": {"include": ["re:("]}}, "spec.folders.include.0", "'re:('"),
    (
        "back-off",
        {"retry": {"backoffSeconds": 100, "maxBackoffSeconds": 10}},
        "spec.retry",
        "(10) must not be less",
    ),
    (
        "refused logins too often",
        {"retry": {"credentialsRetrySeconds": 3599}},
        "spec.retry",
        "lock accounts",
    ),
    (
        "same mailbox",
        {"destination": {"host": "SOURCE.example.org"}},
        "spec",
        "same mailbox",
    ),
    ("no Secret", {"source": {"authentication": None}}, "spec.source.authentication", "required"),
    (
        "a mechanism without its password",
        {"source": {"authentication": {"secretRef": None}}},
        "spec.source.authentication",
        "only mechanism External",
    ),
    (
        "a password without effect",
        {"source": {"authentication": {"mechanism": "External"}}},
        "spec.source.authentication",
        "remove it",
    ),
    (
        "unknown mechanism",
        {"source": {"authentication": {"mechanism": "PLAIN"}}},
        "spec.source.authentication.mechanism",
        "ScramSha256",
    ),
    *(
        (
            f"an administrator with {mechanism}",
            {
                "destination": {
                    "authentication": {"mechanism": mechanism, "authorizationIdentity": "bob"}
                }
            },
            "spec.destination.authentication",
            "change mechanism, or remove it",
        )
        for mechanism in ("Login", "LoginCommand", "CramMd5")
    ),
    (
        "two ways to another's mailbox",
        {"source": {"authentication": {"authorizationIdentity": "a", "proxyAuthUser": "a"}}},
        "spec.source.authentication",
        "keep one",
    ),
    (
        "a line break in the identity",
        {"source": {"authentication": {"authorizationIdentity": "a\r\nX"}}},
        "spec.source.authentication.authorizationIdentity",
        "control",
    ),
    (
        "same mailbox of an administrator",
        {
            "source": {"username": "admin", "authentication": {"authorizationIdentity": "bob"}},
            "destination": {
                "host": "source.example.org",
                "username": "root",
                "authentication": {"proxyAuthUser": "bob"},
            },
        },
        "spec",
        "same mailbox",
    ),
]


@pytest.mark.parametrize(("spec", "field", "hint"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
def test_bad_input_is_refused_by_field(spec: dict[str, Any], field: str, hint: str) -> None:
    with pytest.raises(ValidationError) as caught:
        mailsync(**spec)
    (error,) = caught.value.errors()
    assert ".".join(str(part) for part in error["loc"]) == field
    assert hint in error["msg"]


def _accounts(**spec: Any) -> Accounts:
    return Accounts.of(mailsync(**spec).spec, {})


def test_an_endpoint_stands_for_its_server() -> None:
    spec = mailsync(source={"host": None, "endpointRef": {"name": "old"}}).spec
    old = Server(host="imap.example.org", port=1143, tls=TLSPolicy(mode=TLSMode.START_TLS))
    source = Accounts.of(spec, {"old": old}).source
    assert (source.host, source.ports, source.tls) == (old.host, (1143,), old.tls)
    assert source.username == "alice@example.org"
    with pytest.raises(ValueError, match=r'spec.source.endpointRef: there is no .* "old"'):
        Accounts.of(spec, {"new": old})
    with pytest.raises(ValueError, match="same mailbox"):
        Accounts.of(spec, {"old": Server(host="Destination.example.org")})


@pytest.mark.parametrize("pin", ["", "ab" * 32, "A" * 44, "A" * 42 + "B=", "A" * 43 + "=\n"])
def test_a_pin_is_base64_of_32_bytes(pin: str) -> None:
    with pytest.raises(ValidationError) as caught:
        mailsync(source={"tls": {"pinnedSpkiSha256": [pin]}})
    assert "44 characters" in str(caught.value)
    good = base64.b64encode(bytes(range(32))).decode()
    tls = _accounts(source={"tls": {"pinnedSpkiSha256": [good]}}).source.tls
    assert tls.pinned_spki_sha256 == [good]


def test_the_same_rules_are_there_for_the_api_server() -> None:
    rules = TLSPolicy.model_json_schema()["x-kubernetes-validations"]
    messages = {rule["message"] for rule in rules}
    cases = [spec for _, spec, field, _ in BAD if field.endswith(".tls")]
    for spec in cases:
        with pytest.raises(ValidationError) as caught:
            mailsync(**spec)
        said = caught.value.errors()[0]["msg"]
        # The last words are the cure, and do not depend on the values.
        assert any(message.split(": ")[-1].split(" (")[0] in said for message in messages), said


@pytest.mark.parametrize("host", ["a", "imap.example.org", "192.0.2.1", "2001:db8::1", "a_b.svc"])
def test_hosts(host: str) -> None:
    assert mailsync(source={"host": host}).spec.source.host == host


@pytest.mark.parametrize(
    ("account", "port"),
    [
        ({}, 993),
        ({"tls": {"mode": "StartTLS"}}, 143),
        ({"tls": {"mode": "None"}}, 143),
        ({"tls": {"mode": "Auto"}}, 993),
        ({"tls": {"mode": "Opportunistic"}}, 993),
        ({"port": 143, "tls": {"mode": "Auto"}}, 143),
        ({"port": 1993}, 1993),
    ],
)
def test_the_port_follows_the_mode(account: dict[str, Any], port: int) -> None:
    assert _accounts(source=account).source.effective_port == port


def test_the_same_host_with_two_users_or_ports_is_two_mailboxes() -> None:
    mailsync(destination={"host": "source.example.org", "username": "bob"})
    mailsync(destination={"host": "source.example.org", "port": 10993})


def test_an_administrator_migrates_between_two_mailboxes_of_one_server() -> None:
    sides: dict[str, Any] = {
        side: {
            "host": "imap.example.org",
            "username": "admin",
            "authentication": {"authorizationIdentity": user},
        }
        for side, user in (("source", "alice"), ("destination", "bob"))
    }
    spec = mailsync(**sides).spec
    assert (spec.source.mailbox, spec.destination.mailbox) == ("alice", "bob")


def test_a_client_certificate_needs_no_secret() -> None:
    authentication = {"mechanism": "External", "secretRef": None}
    assert mailsync(source={"authentication": authentication}).spec.source.mailbox == (
        "alice@example.org"
    )


@pytest.mark.parametrize(
    ("source", "destination", "same"),
    [
        ("Auto", "Implicit", True),
        ("Auto", "StartTLS", True),
        ("None", "Opportunistic", True),
        ("Auto", "Auto", True),
        ("Implicit", "StartTLS", False),
    ],
)
def test_two_ports_may_be_one_mailbox(source: str, destination: str, *, same: bool) -> None:
    sides: dict[str, Any] = {
        "source": {"host": "a.example.org", "tls": {"mode": source}},
        "destination": {"host": "a.example.org", "tls": {"mode": destination}},
    }
    if not same:
        mailsync(**sides)
        return
    with pytest.raises(ValidationError, match="same mailbox"):
        mailsync(**sides)


def test_a_manifest_survives_the_round_trip() -> None:
    model = mailsync(trigger={"manual": "1"}, folders={"exclude": ["Trash/**"]})
    assert MailSync.from_object(model.to_wire()) == model


def test_secure_by_default() -> None:
    tls = _accounts().source.tls
    assert (tls.mode, tls.verify, tls.min_version) == ("Implicit", "Full", "TLSv1.2")
    assert tls.security_level == 2


def test_the_job_input_names_secrets_but_holds_none() -> None:
    spec, accounts = mailsync().spec, _accounts()
    job = job_input(spec, accounts, namespace="a", name="b", run=3)
    again = JobInput.model_validate_json(job.model_dump_json(by_alias=True))
    assert (again.run, again.source) == (3, accounts.source)
    assert again.destination == accounts.destination

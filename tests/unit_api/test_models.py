"""What the models accept and refuse, and what they say about it."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from mailsync_api.job import JobInput, job_input
from mailsync_api.manifest import MailSync
from tests.support.builders import mailsync, manifest

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


@pytest.mark.parametrize("host", ["a", "imap.example.org", "192.0.2.1", "2001:db8::1", "a_b.svc"])
def test_hosts(host: str) -> None:
    assert mailsync(source={"host": host}).spec.source.host == host


@pytest.mark.parametrize(
    ("account", "port"),
    [
        ({}, 993),
        ({"tls": {"mode": "StartTLS"}}, 143),
        ({"tls": {"mode": "None"}}, 143),
        ({"port": 1993}, 1993),
    ],
)
def test_the_port_follows_the_mode(account: dict[str, Any], port: int) -> None:
    assert mailsync(source=account).spec.source.effective_port == port


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


def test_a_manifest_survives_the_round_trip() -> None:
    model = mailsync(trigger={"manual": "1"}, folders={"exclude": ["Trash/**"]})
    assert MailSync.from_object(model.to_wire()) == model


def test_secure_by_default() -> None:
    tls = MailSync.from_object(manifest()).spec.source.tls
    assert (tls.mode, tls.verify, tls.min_version) == ("Implicit", "Full", "TLSv1.2")


def test_the_job_input_names_secrets_but_holds_none() -> None:
    spec = mailsync().spec
    text = job_input(spec, namespace="a", name="b", run=3).model_dump_json(by_alias=True)
    again = JobInput.model_validate_json(text)
    assert (again.run, again.source, again.destination) == (3, spec.source, spec.destination)

"""From the policy to stunnel's configuration, field by field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mailsync_api.endpoint import Server
from mailsync_syncjob.tunnelconfig import SYSTEM_CA, TunnelFiles, stunnel_config

_HOST = "imap.example.org"
_READY = Path("/run/source.ready")


def settings(
    tls: dict[str, Any] | None = None, *, files: TunnelFiles | None = None, **server: Any
) -> dict[str, list[str]]:
    """Return what the service's section says, each setting with all its values."""
    model = Server.model_validate({"host": _HOST, "tunnel": {}, "tls": tls or {}, **server})
    text = stunnel_config(model, files or TunnelFiles(_READY), port=10143)
    head, _, section = text.partition("[imap]\n")
    assert head == f"foreground = yes\nsyslog = no\npid = {_READY}\ndebug = info\n"
    found: dict[str, list[str]] = {}
    for line in section.splitlines():
        name, _, value = line.partition(" = ")
        found.setdefault(name, []).append(value)
    return found


def test_the_default_is_implicit_tls_with_full_verification() -> None:
    assert settings() == {
        "client": ["yes"],
        "accept": ["127.0.0.1:10143"],
        "connect": [f"{_HOST}:993"],
        "delay": ["yes"],
        "sessionResume": ["no"],
        "renegotiation": ["no"],
        "libwrap": ["no"],
        "socket": ["l:TCP_NODELAY=1", "r:TCP_NODELAY=1", "r:SO_KEEPALIVE=1"],
        "TIMEOUTconnect": ["25"],
        "TIMEOUTbusy": ["50"],
        "TIMEOUTclose": ["5"],
        "sslVersionMin": ["TLSv1.2"],
        "ciphers": ["DEFAULT:!aNULL:!eNULL"],
        "securityLevel": ["2"],
        "sni": [_HOST],
        "verifyChain": ["yes"],
        "CAfile": [SYSTEM_CA],
        "checkHost": [_HOST],
    }


_CASES: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, list[str] | None]]] = [
    ("mode", {"mode": "StartTLS"}, {}, {"protocol": ["imap"], "connect": [f"{_HOST}:143"]}),
    ("no mode", {}, {}, {"protocol": None}),
    ("port", {}, {"port": 1993}, {"connect": [f"{_HOST}:1993"]}),
    ("final dot", {}, {"host": f"{_HOST}."}, {"connect": [f"{_HOST}:993"], "checkHost": [_HOST]}),
    (
        "IPv4",
        {},
        {"host": "192.0.2.7"},
        {"connect": ["192.0.2.7:993"], "checkIP": ["192.0.2.7"], "checkHost": None, "sni": [""]},
    ),
    (
        "IPv6",
        {},
        {"host": "2001:db8::7"},
        {"connect": ["2001:db8::7:993"], "checkIP": ["2001:db8::7"], "sni": [""]},
    ),
    (
        "server name",
        {"serverName": "mail.example.net"},
        {"host": "192.0.2.7"},
        {"checkHost": ["mail.example.net"], "sni": ["mail.example.net"], "checkIP": None},
    ),
    ("an address as server name", {"serverName": "192.0.2.8"}, {}, {"checkIP": ["192.0.2.8"]}),
    (
        "ChainOnly",
        {"verify": "ChainOnly"},
        {},
        {"verifyChain": ["yes"], "CAfile": [SYSTEM_CA], "checkHost": None},
    ),
    ("no verification", {"verify": "None"}, {}, {"verifyChain": None, "CAfile": None}),
    ("no name either", {"verify": "None"}, {}, {"checkHost": None, "sni": [_HOST]}),
    ("minimum", {"minVersion": "TLSv1.3"}, {}, {"sslVersionMin": ["TLSv1.3"]}),
    ("maximum", {"maxVersion": "TLSv1.2"}, {}, {"sslVersionMax": ["TLSv1.2"]}),
    ("no maximum", {}, {}, {"sslVersionMax": None}),
    (
        "an old server",
        {"minVersion": "TLSv1.0", "securityLevel": 0},
        {},
        {"sslVersionMin": ["TLSv1"], "securityLevel": ["0"]},
    ),
    ("TLS 1.1", {"minVersion": "TLSv1.1", "securityLevel": 0}, {}, {"sslVersionMin": ["TLSv1.1"]}),
    ("ciphers", {"ciphers": "ECDHE+AESGCM"}, {}, {"ciphers": ["ECDHE+AESGCM:!aNULL:!eNULL"]}),
    ("no client certificate", {}, {}, {"cert": None, "key": None}),
]


@pytest.mark.parametrize(
    ("tls", "server", "expected"), [case[1:] for case in _CASES], ids=[case[0] for case in _CASES]
)
def test_field_by_field(
    tls: dict[str, Any], server: dict[str, Any], expected: dict[str, list[str] | None]
) -> None:
    found = settings(tls, **server)
    assert {name: found.get(name) for name in expected} == expected


def test_files() -> None:
    files = TunnelFiles(_READY, Path("/s/ca.crt"), Path("/s/tls.crt"), Path("/s/tls.key"))
    found = settings({"caRef": {"name": "ca"}}, files=files)
    assert (found["CAfile"], found["cert"], found["key"]) == (
        ["/s/ca.crt"],
        ["/s/tls.crt"],
        ["/s/tls.key"],
    )


@pytest.mark.parametrize("end", ["\n", "\r", "\x00", "\u2028", "\x85"])
@pytest.mark.parametrize("field", ["host", "ciphers", "server_name"])
def test_no_value_becomes_another_line(field: str, end: str) -> None:
    server = Server.model_validate({"host": _HOST, "tunnel": {}})
    bad = f"x{end}verifyChain = no"
    # Past the models' own rules, which refuse such values already.
    changed = (
        server.model_copy(update={"host": bad})
        if field == "host"
        else server.model_copy(update={"tls": server.tls.model_copy(update={field: bad})})
    )
    with pytest.raises(ValueError, match="not one line"):
        stunnel_config(changed, TunnelFiles(_READY), port=1)

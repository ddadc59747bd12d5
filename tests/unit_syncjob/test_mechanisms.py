"""Which mechanism is chosen: a table of what is announced, asked for and known."""

from __future__ import annotations

from typing import Any

import pytest

from mailsync_api.endpoint import Authentication, Mechanism
from mailsync_syncjob.imap.binding import Binding
from mailsync_syncjob.imap.mechanisms import choose

_UNIQUE = Binding("tls-unique", b"x")
_END_POINT = Binding("tls-server-end-point", b"x")
_EVERYTHING = (
    "SCRAM-SHA-256-PLUS SCRAM-SHA-256 SCRAM-SHA-1-PLUS SCRAM-SHA-1 CRAM-MD5 PLAIN LOGIN EXTERNAL"
    " XOAUTH2 OAUTHBEARER"
)


def _authentication(mechanism: str = "Auto", **fields: Any) -> Authentication:
    secret = {} if mechanism == "External" else {"secretRef": {"name": "x"}}
    if mechanism in {"XOAuth2", "OAuthBearer"}:
        secret["oauth2"] = {"grant": "StaticToken"}
    return Authentication.model_validate({"mechanism": mechanism, **secret, **fields})


def _chosen(
    offered: str,
    *,
    binding: Binding | None = None,
    proven: bool = True,
    other: str = "",
    **authentication: Any,
) -> str | None:
    choice = choose(
        frozenset(f"AUTH={word}" for word in offered.split()) | set(other.split()),
        authentication=_authentication(**authentication),
        binding=binding,
        proven=proven,
    )
    return choice.name if choice else None


@pytest.mark.parametrize("binding", [None, _UNIQUE, _END_POINT])
@pytest.mark.parametrize("proven", [True, False])
def test_auto_goes_down_the_list_only_by_what_is_announced(
    binding: Binding | None, *, proven: bool
) -> None:
    weak = ["PLAIN", "CRAM-MD5"] if proven else ["CRAM-MD5", "PLAIN"]
    order = ["SCRAM-SHA-256", "SCRAM-SHA-1", *weak, "LOGIN"]
    if binding is _UNIQUE:
        order = ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1-PLUS", *order[1:]]
    if binding is _END_POINT:
        order = ["SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", *order[1:2], "SCRAM-SHA-1-PLUS", *order[2:]]
    offered = _EVERYTHING.split()
    for expected in order:
        assert _chosen(" ".join(offered), binding=binding, proven=proven) == expected
        offered.remove(expected)
    # What is left: EXTERNAL and what carries tokens, which are never chosen for a password, and
    # -PLUS where nothing can be bound.
    assert _chosen(" ".join(offered), binding=binding, other="LOGINDISABLED") is None
    command = choose(frozenset(), authentication=_authentication(), binding=binding, proven=proven)
    assert command is not None
    assert command.mechanism is Mechanism.LOGIN_COMMAND


def test_an_administrator_leaves_out_what_cannot_name_the_mailbox() -> None:
    offered = "CRAM-MD5 PLAIN LOGIN"
    assert _chosen(offered, proven=False, authorizationIdentity="bob") == "PLAIN"
    assert _chosen("CRAM-MD5 LOGIN", authorizationIdentity="bob") is None


@pytest.mark.parametrize("proven", [True, False])
def test_a_token_is_never_sent_as_a_password(*, proven: bool) -> None:
    oauth2: dict[str, Any] = {"oauth2": {"grant": "StaticToken"}}
    assert _chosen(_EVERYTHING, proven=proven, **oauth2) == "OAUTHBEARER"
    assert _chosen("PLAIN LOGIN XOAUTH2", proven=proven, **oauth2) == "XOAUTH2"
    assert _chosen("SCRAM-SHA-256 PLAIN LOGIN EXTERNAL", proven=proven, **oauth2) is None


@pytest.mark.parametrize(
    ("mechanism", "name"),
    [
        ("Plain", "PLAIN"),
        ("Login", "LOGIN"),
        ("LoginCommand", "LOGIN"),
        ("CramMd5", "CRAM-MD5"),
        ("ScramSha1", "SCRAM-SHA-1"),
        ("ScramSha256", "SCRAM-SHA-256"),
        ("External", "EXTERNAL"),
        ("XOAuth2", "XOAUTH2"),
        ("OAuthBearer", "OAUTHBEARER"),
    ],
)
def test_what_is_asked_for_is_used_or_nothing(mechanism: str, name: str) -> None:
    assert _chosen(_EVERYTHING, mechanism=mechanism) == name
    rest = " ".join(word for word in _EVERYTHING.split() if word != name)
    assert _chosen(rest, mechanism=mechanism, other="LOGINDISABLED") is None

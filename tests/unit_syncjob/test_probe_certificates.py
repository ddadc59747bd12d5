"""Certificates taken apart: as openssl says, and whatever a hostile server makes of them."""

from __future__ import annotations

from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from mailsync_syncjob.probe.certificates import read_chain
from tests.support.odd_certificates import Issuer, Wish, issue

_CA = issue(Wish((), "CA", ca=True))
_LEAF = issue(Wish(("mail.example.org", "*.example.org", "192.0.2.1")), by=_CA)


def _der(issuer: Issuer) -> bytes:
    return issuer.certificate.public_bytes(Encoding.DER)


def test_a_chain() -> None:
    shown = read_chain((_der(_LEAF), _der(_CA)))
    assert shown is not None
    assert shown.names == ("mail.example.org", "*.example.org", "192.0.2.1")
    assert [link.signed_by for link in shown.links] == ["the next one", "itself"]
    assert [link.facts.self_signed for link in shown.links] == [False, True]
    assert shown.own.key == "EC secp256r1"
    assert shown.own.issuer == "commonName=CA"


def test_a_chain_in_the_wrong_order() -> None:
    shown = read_chain((_der(_LEAF), _der(issue(Wish())), _der(_CA)))
    assert shown is not None
    assert shown.links[0].signed_by == "not the next one"


def test_kinds_of_keys() -> None:
    kinds = {
        kind: read_chain((_der(issue(Wish(key=kind))),)) for kind in ("rsa2048", "ed25519", "ec")
    }
    assert {kind: shown.own.key for kind, shown in kinds.items() if shown} == {
        "rsa2048": "RSA 2048",
        "ed25519": "Ed25519",
        "ec": "EC secp256r1",
    }


def test_names_that_steer_a_terminal_do_not() -> None:
    shown = read_chain((_der(issue(Wish((), "a\x1b[2Jb\n"))),))
    assert shown is not None
    assert shown.own.subject == "commonName=a [2Jb"
    assert shown.names == ()


@settings(max_examples=600, deadline=None)
@given(
    changes=st.lists(
        st.tuples(st.integers(0, len(_der(_LEAF)) - 1), st.integers(0, 255)), min_size=1, max_size=6
    ),
    cut=st.integers(0, 40),
)
def test_anything_at_all(changes: list[tuple[int, int]], cut: int) -> None:
    data = bytearray(_der(_LEAF))
    for place, value in changes:
        data[place] = value
    # It says nothing rather than to fail.
    read_chain((bytes(data[: len(data) - cut]), _der(_CA)))

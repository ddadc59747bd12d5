"""Every certificate of the matrix, on both sides and in both TLS modes, through a whole run."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailsync_api.endpoint import Side
from tests.support.recorded import PASSWORD, endpoint, run_between
from tests.support.scripted import TinyServer, serve, with_starttls
from tests.support.tls_cases import CASES, MESSAGES, Case, Pki, messages, table

_PAGE = Path(__file__).parents[2] / "docs" / "tls.md"


@pytest.fixture(scope="module")
def pki() -> Pki:
    return Pki()


@pytest.mark.parametrize("mode", ["Implicit", "StartTLS"])
@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize("case", CASES, ids=[f"{c.server}, {c.policy}" for c in CASES])
def test_verdict(case: Case, side: Side, mode: str, pki: Pki) -> None:
    listener = case.make(pki)
    tls = case.policy_for(listener, mode)
    implicit = mode == "Implicit"
    dialogue = TinyServer() if implicit else with_starttls(TinyServer())
    unverified = tls.get("verify") == "None"
    if not unverified:
        tls["caRef"] = {"name": "ca"}
    with (
        serve(dialogue, context=listener.context(), implicit_tls=implicit) as script,
        serve(TinyServer()) as peer,
    ):
        tested = endpoint(
            script.port,
            side=side,
            ca_pem=None if unverified else (listener.trusted or pki.ca).pem,
            client=listener.shown_by_client(),
            tls=tls,
        )
        other = endpoint(peer.port, side=next(each for each in Side if each is not side))
        ends = (tested, other) if side is Side.SOURCE else (other, tested)
        report, output = run_between(*ends)
        # The server's own trace decides, not what the engine says about itself.
        said = script.said

    verdict = report.verdict
    assert (int(verdict.exit_code), verdict.reason) == (case.exit_code, case.reason), (
        verdict.message
    )
    assert PASSWORD not in output.everything
    if case.exit_code:
        assert verdict.side is side
        # It becomes the condition's message as it is.
        assert case.says(verdict.message), verdict.message
        for word in (b"AUTHENTICATE", b"LOGIN", b"alice", PASSWORD.encode()):
            assert word not in said.replace(b"LOGINDISABLED", b"")
    else:
        assert b"AUTHENTICATE" in said
        assert b"AUTHENTICATE" not in script.said_in_clear


def test_the_page_has_this_table() -> None:
    assert table() in _PAGE.read_text(encoding="utf-8")


def test_the_page_has_the_messages() -> None:
    assert messages() in _PAGE.read_text(encoding="utf-8")
    assert {case.reason for case in CASES} == {*MESSAGES, "Completed"}


def test_half_of_the_matrix_is_refused() -> None:
    assert sum(case.exit_code == 76 for case in CASES) >= len(CASES) / 2

"""Runs through real proxies, from the files of a pod to two real Dovecots."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from mailsync_api import names
from tests.support.engine import Engine
from tests.support.mailbox import load, plain_message
from tests.support.proxies import (
    PROXY_PASSWORD,
    PROXY_USER,
    RealProxy,
    run_microsocks,
    run_tinyproxy,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.conftest import Pair
    from tests.support.dovecot import Dovecot
    from tests.support.engine import Result

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module", params=["SOCKS5", "HTTPConnect"])
def proxy(
    request: pytest.FixtureRequest, source_server: Dovecot, destination_server: Dovecot
) -> Iterator[RealProxy]:
    # The destination's port of implicit TLS is not among those that tinyproxy allows.
    allowed = (source_server.tls_port, destination_server.port)
    started = run_microsocks() if request.param == "SOCKS5" else run_tinyproxy(*allowed)
    with started as running:
        yield running


def run_behind(
    pair: Pair, proxy: RealProxy, *, password: str | None = PROXY_PASSWORD, **changes: Any
) -> Result:
    """Run between two accounts that are both behind the proxy."""
    wire: dict[str, Any] = {"type": proxy.kind, "host": "127.0.0.1", "port": proxy.port}
    if password is not None:
        wire["secretRef"] = {"name": "gate"}
        for side in ("source", "destination"):
            folder = pair.directory / f"{side}-proxy"
            folder.mkdir()
            (folder / names.PROXY_USERNAME_FILE_NAME).write_text(PROXY_USER)
            (folder / names.PROXY_PASSWORD_FILE_NAME).write_text(password)
    source = replace(pair.source_account(), server={"proxy": wire})
    destination = replace(pair.destination_account(), server={"proxy": wire}, **changes)
    return Engine(pair.directory, source, destination).run()


def test_both_sides_behind_a_proxy_with_a_login(pair: Pair, proxy: RealProxy) -> None:
    with pair.source() as session:
        load(session, [plain_message(1)])
    result = run_behind(pair, proxy)
    assert result.exit_code == 0, result.said
    assert result.verdict is not None
    assert result.verdict.totals.copied == 1
    tls = result.verdict.tls
    assert tls.source is not None
    assert tls.destination is not None
    assert (tls.source.mode, tls.destination.mode) == ("Implicit", "StartTLS")
    # The server's own certificate was verified, for the server's own name.
    assert tls.source.server_name == pair.source_server.host
    for server in (pair.source_server, pair.destination_server):
        assert server.host in proxy.said()
    assert PROXY_PASSWORD not in result.said


@pytest.mark.parametrize("password", ["wrong", None])
def test_a_refused_login_is_the_proxys(pair: Pair, proxy: RealProxy, password: str | None) -> None:
    before = pair.source_server.logins() + pair.destination_server.logins()
    result = run_behind(pair, proxy, password=password)
    assert result.exit_code == 77
    assert result.verdict is not None
    assert result.verdict.reason == "ProxyCredentialsRefused"
    assert f"the proxy 127.0.0.1:{proxy.port}" in result.verdict.message
    assert pair.source_server.logins() + pair.destination_server.logins() == before


def test_what_a_proxy_cannot_or_may_not_reach(pair: Pair, proxy: RealProxy) -> None:
    tls = {"mode": "Implicit"}
    # Nothing listens there for SOCKS5, and tinyproxy does not allow it.
    result = run_behind(pair, proxy, port=1, tls=tls)
    assert result.exit_code == 69
    assert result.verdict is not None
    reason = {"SOCKS5": "Unreachable", "HTTPConnect": "ProxyForbids"}[proxy.kind]
    assert result.verdict.reason == reason, result.verdict.message
    assert result.verdict.side == "destination"

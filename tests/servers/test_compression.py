"""COMPRESS=DEFLATE with a real Dovecot: the same mailbox, fewer bytes on the way."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.support.checker import compare_mailboxes
from tests.support.dovecot import Settings, run_dovecot
from tests.support.engine import Account, Engine
from tests.support.line import Line, run_line
from tests.support.mailbox import load, plain_message

if TYPE_CHECKING:
    from tests.servers.conftest import Pair

pytestmark = pytest.mark.servers

_ZLIB = "protocol imap {\n  mail_plugins = imap_zlib\n}"
_COUNT = 100
_LARGE = 9 << 20
_FAST = 1 << 30


@pytest.mark.parametrize("mode", ["Implicit", "StartTLS"])
@pytest.mark.parametrize("masked", [(), ("MULTIAPPEND", "LITERAL+")])
def test_a_mailbox_arrives_compressed_the_same_with_fewer_bytes(
    pair: Pair, mode: str, masked: tuple[str, ...]
) -> None:
    passwords = (pair.source_password, pair.destination_password)
    ends: list[Account] = []
    lines: list[Line] = []
    with ExitStack() as stack:
        servers = [
            stack.enter_context(
                run_dovecot(Settings(users={pair.user: word}, extra=_ZLIB, masked=hidden))
            )
            for word, hidden in zip(passwords, ((), masked), strict=True)
        ]
        sessions = [
            stack.enter_context(server.login(pair.user, word))
            for server, word in zip(servers, passwords, strict=True)
        ]
        load(sessions[0], [plain_message(n, size=6000) for n in range(1, _COUNT)])
        load(sessions[0], [plain_message(_COUNT, size=_LARGE)])  # passes through
        for server, word in zip(servers, passwords, strict=True):
            account = Account.at(server, pair.user, word, mode=mode)
            to = (account.host, account.port)
            line = run_line(to, bytes_per_second=_FAST, end=lambda _: None)
            lines.append(stack.enter_context(line))
            host, port = lines[-1].host, lines[-1].port
            ends.append(replace(account, host=host, port=port, server={"compression": "Deflate"}))
        result = Engine(pair.directory, *ends).run()
        assert result.exit_code == 0, result.said
        assert result.said.count("what is said is compressed") == 2
        assert not compare_mailboxes(*sessions)
    # This mail is easy to compress.
    assert sum(line.carried for line in lines) < _LARGE / 2

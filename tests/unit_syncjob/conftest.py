"""What the tests with scripted servers share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.certificates import Authority

if TYPE_CHECKING:
    from tests.support.certificates import KeyPair


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def key_pair(authority: Authority) -> KeyPair:
    return authority.issue("127.0.0.1", "localhost")

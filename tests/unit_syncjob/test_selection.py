from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsync_api.spec import FolderSelection
from mailsync_syncjob.selection import Selector, compile_pattern


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("INBOX", ["INBOX"], ["INBOX/a", "Archive"]),
        ("inbox", ["INBOX"], ["Archive"]),
        ("Inbox/**", ["INBOX", "INBOX/a/b"], ["INBOXES"]),
        ("Archive", ["Archive"], ["archive", "Archive/2019", "Old/Archive"]),
        ("Archive/*", ["Archive/2019", "Archive/"], ["Archive", "Archive/2019/Q1"]),
        ("Archive/**", ["Archive", "Archive/2019", "Archive/2019/Q1"], ["Archives", "x/Archive"]),
        ("**/Junk", ["Junk", "a/Junk", "a/b/Junk"], ["aJunk", "Junk/x"]),
        ("a/**/z", ["a/z", "a/b/z", "a/b/c/z"], ["az", "a/bz"]),
        ("**", ["x", "x/y", "INBOX"], []),
        ("*", ["x", "INBOX"], ["x/y"]),
        ("20??", ["2019", "2024"], ["201", "20/4", "20199"]),
        ("a.b", ["a.b"], ["axb"]),
        ("[x]", ["[x]"], ["x"]),
        ("re:.*(?i:spam).*", ["SPAM", "a/Spam/b"], ["ham"]),
        ("re:Spam", ["Spam"], ["Spam2", "xSpam"]),
        ("日*", ["日本語"], ["本"]),
    ],
)
def test_patterns(pattern: str, yes: list[str], no: list[str]) -> None:
    compiled = compile_pattern(pattern)
    assert [name for name in yes if not compiled.fullmatch(name)] == []
    assert [name for name in no if compiled.fullmatch(name)] == []


@pytest.mark.parametrize(
    ("include", "exclude", "name", "selected"),
    [
        ([], [], "anything", True),
        (["A"], [], "A", True),
        (["A"], [], "B", False),
        ([], ["A"], "A", False),
        (["A/**"], ["A/b"], "A/b", False),
        (["A/**"], ["A/b"], "A/b/c", True),
    ],
)
def test_exclude_wins(include: list[str], exclude: list[str], name: str, *, selected: bool) -> None:
    assert Selector(FolderSelection(include=include, exclude=exclude)).selects(name) is selected


_NAMES = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20)


@given(_NAMES)
def test_a_name_without_wildcards_selects_itself(name: str) -> None:
    plain = name.replace("*", "x").replace("?", "x").removeprefix("re:")
    if plain:
        assert compile_pattern(plain).fullmatch(plain)
        assert compile_pattern("**").fullmatch(plain)

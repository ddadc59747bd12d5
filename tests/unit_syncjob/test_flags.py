from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsync_syncjob.flags import FlagRules, canonical, missing_flags

_ALL = FlagRules.of([b"\\Seen", b"\\Answered", b"\\Flagged", b"\\Deleted", b"\\Draft", b"\\*"])


@pytest.mark.parametrize(
    ("flag", "sent"),
    [
        (b"\\Seen", b"\\Seen"),
        (b"\\SEEN", b"\\Seen"),
        (b"\\seen", b"\\Seen"),
        (b"\\Recent", None),
        (b"\\recent", None),
        (b"$Forwarded", b"$Forwarded"),
        (b"a.b-c_d", b"a.b-c_d"),
        (b"", None),
        (b"\\", None),
        (b"a b", None),
        (b"a)b", None),
        (b"a(b", None),
        (b'a"b', None),
        (b"a{b", None),
        (b"a%b", None),
        (b"a*b", None),
        (b"a]b", None),
        (b"\\*", None),
        (b"a\\b", None),
        (b"a\r\nX9 DELETE INBOX", None),
        (b"a\n", None),
        (b"a\x00b", None),
        (b"\xfcmlaut", None),
        (b"x" * 300, None),
    ],
)
def test_only_what_the_grammar_allows_is_sent(flag: bytes, sent: bytes | None) -> None:
    assert canonical(flag) == sent


@given(st.lists(st.binary(max_size=12), max_size=6))
def test_no_flag_breaks_out_of_a_list(flags: list[bytes]) -> None:
    line = b"(" + b" ".join(_ALL.kept(flags)) + b")"
    assert re.fullmatch(rb"\([^()\r\n\0\"{]*\)", line)


@pytest.mark.parametrize(
    ("permanent", "flags", "kept"),
    [
        ([b"\\Seen", b"\\*"], [b"\\Seen", b"\\Flagged", b"word"], (b"\\Seen", b"word")),
        ([b"\\seen"], [b"\\Seen", b"word"], (b"\\Seen",)),
        ([b"word"], [b"WORD"], (b"WORD",)),
        ([], [b"\\Seen", b"word"], ()),
        (None, [b"\\Seen", b"word", b"\\Strange"], (b"\\Seen", b"word")),
        ([b"\\Strange"], [b"\\Strange"], (b"\\Strange",)),
        ([b"\\*"], [b"\\Strange", b"word", b"word", b"Word"], (b"Word",)),
    ],
)
def test_permanentflags_are_obeyed(
    permanent: list[bytes] | None, flags: list[bytes], kept: tuple[bytes, ...]
) -> None:
    assert FlagRules.of(permanent).kept(flags) == kept


def test_a_refused_keyword_is_left_out_from_then_on() -> None:
    rules = _ALL.without([b"Word"])
    assert rules.kept([b"\\Seen", b"WORD", b"other"]) == (b"\\Seen", b"other")
    assert rules.dropped_keywords([b"WORD", b"other"]) == (b"WORD",)


@pytest.mark.parametrize(
    ("source", "destination", "missing"),
    [
        ([b"\\Seen"], [b"\\Seen"], ()),
        ([b"\\Seen"], [b"\\seen"], ()),
        ([b"Word"], [b"word"], ()),
        ([b"\\Seen", b"\\Recent"], [], (b"\\Seen",)),
        ([], [b"\\Flagged"], ()),
        ([b"\\Seen", b"a"], [b"\\Seen", b"b"], (b"a",)),
    ],
)
def test_flags_are_only_added(
    source: list[bytes], destination: list[bytes], missing: tuple[bytes, ...]
) -> None:
    assert missing_flags(source, destination, rules=_ALL) == missing

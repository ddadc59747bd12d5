from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsync_syncjob.folders import INBOX, Layout, Path, guess_layout, place
from mailsync_syncjob.imap.names import encode_name
from tests.support.imap import decode_name

_SLASH = Layout("/", "")
_COURIER = Layout(".", "INBOX.")
_FLAT = Layout("", "")


@pytest.mark.parametrize(
    ("layout", "name", "path"),
    [
        (_SLASH, "INBOX", ("INBOX",)),
        (_SLASH, "inbox", ("INBOX",)),
        (_SLASH, "Inbox/Sub", ("INBOX", "Sub")),
        (_SLASH, "a/b", ("a", "b")),
        (_SLASH, "a.b", ("a.b",)),
        (_COURIER, "INBOX", ("INBOX",)),
        (_COURIER, "INBOX.Sent", ("Sent",)),
        (_COURIER, "Inbox.Sent", ("Sent",)),
        (_COURIER, "INBOX.a.b", ("a", "b")),
        (_COURIER, "INBOX.a/b", ("a/b",)),
        (_COURIER, "INBOX.INBOX", ("INBOX", "INBOX")),
        (_COURIER, "INBOX.INBOX.a", ("INBOX", "a")),
        (_FLAT, "a/b", ("a/b",)),
    ],
)
def test_paths(layout: Layout, name: str, path: Path) -> None:
    assert layout.path(name) == path


@pytest.mark.parametrize(
    ("paths", "layout", "names"),
    [
        ([("a", "b")], _COURIER, ["INBOX.a.b"]),
        ([("INBOX",)], _COURIER, ["INBOX"]),
        ([("INBOX", "Sub"), ("Sub",)], _COURIER, ["INBOX.INBOX.Sub", "INBOX.Sub"]),
        ([("v1.2",)], _COURIER, ["INBOX.v1_2"]),
        ([("v1.2",), ("v1_2",)], _COURIER, ["INBOX.v1%2E2", "INBOX.v1_2"]),
        ([("a/b",), ("a", "b")], _SLASH, ["a/b", "a_b"]),
        ([("a", ""), ("a",)], _SLASH, ["a", "a/_"]),
        ([("a", "b"), ("a",)], _FLAT, ["a", "a_b"]),
    ],
)
def test_where_folders_go(paths: list[Path], layout: Layout, names: list[str]) -> None:
    assert sorted(layout.name(p.destination) for p in place(paths, layout=layout)) == sorted(names)


@pytest.mark.parametrize(
    ("names", "prefix"),
    [
        (["INBOX", "INBOX.a", "INBOX.b.c"], "INBOX."),
        (["INBOX", "INBOX.a", "b"], ""),
        (["INBOX"], ""),
        ([], ""),
    ],
)
def test_the_prefix_is_guessed_only_where_all_folders_have_it(
    names: list[str], prefix: str
) -> None:
    assert guess_layout(names, separator=".").prefix == prefix


_LEVEL = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n"),
        st.sampled_from("./_%&-+ "),
    ),
    min_size=1,
    max_size=8,
)
_PATHS = st.lists(st.lists(_LEVEL, min_size=1, max_size=3).map(tuple), max_size=8, unique=True)
_LAYOUTS = st.sampled_from([_SLASH, _COURIER, Layout(".", ""), Layout("\\", "Personal\\")])


@given(_PATHS, _LAYOUTS)
def test_a_path_survives_its_name(paths: list[Path], layout: Layout) -> None:
    for placed in place(paths, layout=layout):
        target = placed.destination
        if target[0].upper() != INBOX:
            assert layout.path(layout.name(target)) == target


@given(_PATHS, _LAYOUTS)
def test_two_folders_never_become_one(paths: list[Path], layout: Layout) -> None:
    placed = place(paths, layout=layout)
    assert len(placed) == len(paths)
    # Only an escape that is itself a folder's name could clash; a user has to build that by hand.
    if not any("%" in level for path in paths for level in path):
        assert len({p.destination for p in placed}) == len(paths)


@given(_PATHS, _LAYOUTS)
def test_what_a_folder_becomes_does_not_depend_on_order(paths: list[Path], layout: Layout) -> None:
    assert place(paths, layout=layout) == place(reversed(paths), layout=layout)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_names_survive_modified_utf7_and_hold_no_line_ends(name: str) -> None:
    raw = encode_name(name)
    assert decode_name(raw) == name
    assert not set(raw) & {0, 10, 13}
    assert raw.isascii()

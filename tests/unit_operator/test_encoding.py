"""What server-side apply sends is read as YAML: the same text must arrive."""

from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mailsync_operator.cluster.encoding import yaml_compatible_json


@given(st.dictionaries(st.text(), st.text()))
def test_yaml_reads_what_was_meant(value: dict[str, str]) -> None:
    text = yaml_compatible_json(value)
    assert yaml.safe_load(text) == value
    assert json.loads(text) == value


@pytest.mark.parametrize("text", ["Ablage/\U0001f4c1", "a\x7f\x85\u2028", "\ufeffx", '"\\\n\t'])
def test_texts_that_matter(text: str) -> None:
    assert yaml.safe_load(yaml_compatible_json({"folder": text})) == {"folder": text}


def test_what_is_no_character_is_replaced() -> None:
    assert yaml.safe_load(yaml_compatible_json({"a": "x\ud800y"})) == {"a": "x\ufffdy"}

"""JSON that is YAML too: server-side apply reads its body as YAML."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["yaml_compatible_json"]

# What YAML 1.2 (section 5.1) does not take as it is: DEL, C1 controls, byte order marks and
# non-characters; and line separators, which it would fold.
_ESCAPED: Final = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def yaml_compatible_json(value: Mapping[str, Any]) -> str:
    """Return JSON that a YAML reader understands the same way.

    JSON escapes a character beyond the basic plane (an emoji in a folder's name, say) as a pair of
    surrogates, which YAML refuses; so those stay as they are. A lone surrogate is no character and
    becomes U+FFFD.
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    text = _ESCAPED.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
    return _LONE_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)

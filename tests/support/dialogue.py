"""What a client said to a server, taken apart by a parser that shares nothing with the engine's.

A stream of commands is well-formed when each is of those that a copy needs, in their strictest
form, and when each literal is a message that the source has. The lines of NOOPs with which the
engine tries whether a server keeps literals apart are its own; their folder is not there.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

__all__ = ["Said", "faults_of", "taken_apart"]

_LITERAL = re.compile(rb"\{(\d+)\+?\}\r\n\Z")
_QUOTED = rb'"(?:[^"\\\r\n\0\x80-\xff]|\\["\\])*"'
_SET = rb"\d+(?::\d+)?(?:,\d+(?::\d+)?)*"
_FLAG = rb"\\?[!#$&'+,\-./0-9:;<=>?@A-Z\[^_`a-z|}~]+"
_FLAGS = rb"\(" + _FLAG + rb"(?: " + _FLAG + rb")*\)"
_DATE = rb'"[ \d]\d-[A-Z][a-z]{2}-\d{4} \d\d:\d\d:\d\d [+-]\d{4}"'
_ITEMS = rb"\([A-Z0-9. ]+(?:BODY\.PEEK\[[A-Z.]*(?: \([A-Z -]+\))?\])?\)"
_MESSAGE = rb"(?: " + _FLAGS + rb")?(?: " + _DATE + rb")? \{\}"
_CANARY = re.compile(rb'APPEND "mailsync-canary-[0-9a-f]{16}" \{\}\r\n')
_NOOPS = re.compile(rb"(?:[A-Za-z0-9]{2,20} NOOP\r\n)+")
_ALLOWED = [
    re.compile(form)
    for form in (
        rb"CAPABILITY|NOOP|NAMESPACE|LOGOUT|ID NIL",
        rb"AUTHENTICATE PLAIN [A-Za-z0-9+/=]+",
        rb"LOGIN " + _QUOTED + rb" " + _QUOTED,
        rb'(?:LIST|LSUB) "" "\*"',
        rb'LIST (?:\([A-Z ]+\) )?"" "[*%]" RETURN \([A-Z ]+(?:\([A-Z ]+\))?[A-Z ]*\)',
        rb'LIST "" ' + _QUOTED,
        rb"STATUS " + _QUOTED + rb" \([A-Z ]+\)",
        rb"(?:SELECT|EXAMINE) " + _QUOTED + rb"(?: \(CONDSTORE\))?",
        rb"(?:CREATE|SUBSCRIBE) " + _QUOTED,
        rb"(?:UID )?FETCH " + _SET + rb" " + _ITEMS,
        rb"UID STORE " + _SET + rb" \+FLAGS\.SILENT " + _FLAGS,
        rb"APPEND " + _QUOTED + rb"(?:" + _MESSAGE + rb")+",
    )
]


@dataclass(frozen=True, slots=True)
class Said:
    """One command."""

    tag: bytes
    text: bytes
    """Without its tag, with ``{}`` in the place of each literal."""
    literals: list[bytes] = field(default_factory=list)


def taken_apart(stream: bytes) -> Iterator[Said]:
    """Yield the commands of one connection; a last one that is cut off is left out."""
    at = 0
    while at < len(stream):
        text, literals = b"", []
        while True:
            end = stream.find(b"\n", at) + 1
            if not end:
                return
            line, at = stream[at:end], end
            found = _LITERAL.search(line)
            if found is None:
                text += line
                break
            size = int(found[1])
            if at + size > len(stream):
                return
            text += line[: found.start()] + b"{}"
            literals.append(stream[at : at + size])
            at += size
        tag, _, rest = text.partition(b" ")
        yield Said(tag, rest, literals)


def faults_of(stream: bytes, messages: Collection[bytes]) -> list[str]:
    """Return what is wrong with what was said on one connection."""
    found = []
    tags = set()
    for said in taken_apart(stream):
        text = said.text.removesuffix(b"\r\n")
        if not re.fullmatch(rb"[A-Za-z0-9]{2,20}", said.tag) or said.tag in tags:
            found.append(f"an odd tag: {said.tag!r}")
        tags.add(said.tag)
        if text == said.text or not any(form.fullmatch(text) for form in _ALLOWED):
            found.append(f"an odd command: {said.text[:200]!r}")
        if _CANARY.fullmatch(said.text) and _NOOPS.fullmatch(said.literals[0]):
            continue
        found += [
            f"a strange literal: {one[:80]!r}" for one in said.literals if one not in messages
        ]
    return found

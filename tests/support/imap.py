"""Plain IMAP for tests, on the standard library alone: nothing of the engine is used here."""

from __future__ import annotations

import base64
import contextlib
import imaplib
import itertools
import re
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = [
    "Layout",
    "capabilities",
    "decode_name",
    "encode_name",
    "layout",
    "login",
    "quote",
    "run",
]

_TAGS = itertools.count(1)
_SHIFTED = re.compile(r"&([^-]*)-")
_LIST = re.compile(rb'\* LIST \(([^)]*)\) (NIL|"[^"]+") (.+)', re.IGNORECASE)
_NAMESPACE = re.compile(rb'\* NAMESPACE \(\("([^"]*)" (?:"([^"]*)"|NIL)', re.IGNORECASE)


@contextlib.contextmanager
def login(
    host: str, port: int, *, user: str, password: str, ca_pem: str
) -> Iterator[imaplib.IMAP4]:
    """Log in over implicit TLS, verified, for as long as the block lasts."""
    context = ssl.create_default_context(cadata=ca_pem)
    with imaplib.IMAP4_SSL(host, port, ssl_context=context, timeout=60) as session:
        # imaplib's own login() knows ASCII only (RFC 4616: PLAIN is UTF-8).
        session.authenticate("PLAIN", lambda _: f"\0{user}\0{password}".encode())
        yield session


def run(session: imaplib.IMAP4, command: bytes) -> list[bytes]:
    """Send one command, byte for byte, and return the lines of its answer, literals joined in.

    Raises
    ------
    AssertionError
        It was not answered OK.
    """
    tag = b"T%d" % next(_TAGS)
    session.send(tag + b" " + command + b"\r\n")
    lines: list[bytes] = []
    while True:
        line = session.readline()
        assert line, "the server closed the connection"
        while found := re.search(rb"\{(\d+)\}\r\n$", line):
            # Quoted by its length, so that no content can be taken for the answer's text.
            line += session.read(int(found[1])) + session.readline()
        if line.startswith(tag + b" "):
            assert line.startswith(tag + b" OK"), f"{command[:80]!r}: {line!r}"
            return lines
        lines.append(line)


@dataclass(frozen=True, slots=True)
class Layout:
    """One account's folders as paths, and how the server writes them."""

    separator: str
    prefix: str
    folders: dict[tuple[str, ...], bytes] = field(default_factory=dict)
    """Names for commands by path; those that cannot be selected are left out."""

    def raw(self, path: Sequence[str]) -> bytes:
        """Return the name of a folder, also of one that does not exist yet."""
        if tuple(path) in self.folders:
            return self.folders[tuple(path)]
        if tuple(path) == ("INBOX",):
            return b"INBOX"
        return encode_name(self.prefix + self.separator.join(path))


def layout(session: imaplib.IMAP4) -> Layout:
    """Ask for an account's folders."""
    listed = [_LIST.match(line) for line in run(session, b'LIST "" "*"')]
    separators = [m[2].strip(b'"').decode() for m in listed if m and m[2].upper() != b"NIL"]
    separator, prefix = (separators[0].replace("\\\\", "\\") if separators else "/"), ""
    if "NAMESPACE" in capabilities(session):
        for line in run(session, b"NAMESPACE"):
            if found := _NAMESPACE.match(line):
                prefix = decode_name(found[1])
    result = Layout(separator, prefix)
    for match in listed:
        if match is None or b"\\noselect" in match[1].lower():
            continue
        raw = _unquoted(match[3].rstrip(b"\r\n"))
        name = decode_name(raw)
        if name.upper() != "INBOX":
            name = name.removeprefix(prefix)
        result.folders[tuple(name.split(separator))] = raw
    return result


def capabilities(session: imaplib.IMAP4) -> frozenset[str]:
    """Ask what the server can do; before the login it may have said less."""
    answer = b" ".join(run(session, b"CAPABILITY"))
    return frozenset(answer.decode("ascii").upper().split())


def _unquoted(name: bytes) -> bytes:
    if name.startswith(b"{"):
        return name.partition(b"\r\n")[2].removesuffix(b"\r\n")
    if name.startswith(b'"'):
        return re.sub(rb"\\(.)", rb"\1", name[1:-1])
    return name


def quote(name: bytes) -> bytes:
    """Return a mailbox name as a quoted string."""
    return b'"' + name.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def encode_name(name: str) -> bytes:
    """Return a name in modified UTF-7 (RFC 3501 section 5.1.3)."""
    pieces = re.findall(r"[ -~]+|[^ -~]+", name)
    return b"".join(
        piece.replace("&", "&-").encode("ascii")
        if " " <= piece[0] <= "~"
        else b"&"
        + base64.b64encode(piece.encode("utf-16-be")).rstrip(b"=").replace(b"/", b",")
        + b"-"
        for piece in pieces
    )


def decode_name(raw: bytes) -> str:
    """Return a name from modified UTF-7."""

    def plain(match: re.Match[str]) -> str:
        coded = match[1].replace(",", "/")
        if not coded:
            return "&"
        return base64.b64decode(coded + "=" * (-len(coded) % 4)).decode("utf-16-be")

    return _SHIFTED.sub(plain, raw.decode("ascii"))

"""Logging in, once: a refusal is final and no weaker mechanism follows it."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Final

from mailsync_api.endpoint import TLSMode
from mailsync_syncjob.errors import (
    CommandRefusedError,
    ConfigurationError,
    ConnectionLostError,
    CredentialsError,
    EngineError,
    TLSPolicyError,
    UnreachableError,
)
from mailsync_syncjob.imap.syntax import quoted

if TYPE_CHECKING:
    from mailsync_syncjob.credentials import Endpoint
    from mailsync_syncjob.imap.channel import Channel
    from mailsync_syncjob.imap.connect import Connected

__all__ = ["log_in"]

# RFC 7888 section 4: LITERAL- allows non-synchronising literals up to this size.
_SMALL_LITERAL: Final = 4096


def log_in(connected: Connected, *, endpoint: Endpoint, seconds: float) -> None:
    """Log in with AUTHENTICATE PLAIN where it is offered, else with LOGIN.

    Raises
    ------
    CredentialsError
        The server refused them.
    UnreachableError, ThrottledError
        The server is temporarily unable, or asks to wait.
    ConfigurationError
        The server offers no mechanism that the engine has.
    """
    offered = connected.capabilities
    channel = connected.channel
    user = endpoint.account.username.encode()
    password = endpoint.password.reveal()
    if b"\0" in password:
        raise ConfigurationError(
            f"{endpoint.side}: the password holds a NUL byte, which no IMAP login can carry",
            side=endpoint.side,
        )
    with channel.wire.within(seconds):
        try:
            if "AUTH=PLAIN" in offered:
                _plain(channel, user=user, password=password, initial="SASL-IR" in offered)
            elif "LOGINDISABLED" not in offered:
                _login(channel, user=user, password=password, offered=offered)
            else:
                raise _no_mechanism(endpoint)
        except CommandRefusedError as error:
            raise _refusal(error, endpoint=endpoint) from None
        except ConnectionLostError as error:
            raise UnreachableError(
                f"{endpoint.side} {endpoint.address}: the connection ended during the login: "
                f"{error.message}",
                side=endpoint.side,
            ) from None


def _plain(channel: Channel, *, user: bytes, password: bytes, initial: bool) -> None:
    """RFC 4616; the first answer goes along where the server takes it (RFC 4959)."""
    answer = base64.b64encode(b"\0" + user + b"\0" + password)
    if initial:
        channel.run(b"AUTHENTICATE", b"PLAIN", answer, command="AUTHENTICATE PLAIN")
        return
    tag = channel.send(b"AUTHENTICATE", b"PLAIN")
    channel.await_continuation(tag, command="AUTHENTICATE PLAIN")
    channel.wire.write(answer + b"\r\n")
    channel.finish(tag, command="AUTHENTICATE PLAIN")


def _login(channel: Channel, *, user: bytes, password: bytes, offered: frozenset[str]) -> None:
    """RFC 9051 section 6.2.3; each argument in a form that can carry any byte."""
    tag = channel.next_tag()
    pending = tag + b" LOGIN"
    for value in (user, password):
        text = quoted(value)
        if text is not None:
            pending += b" " + text
            continue
        free = "LITERAL+" in offered or ("LITERAL-" in offered and len(value) <= _SMALL_LITERAL)
        channel.wire.write(pending + b" {%d%s}\r\n" % (len(value), b"+" if free else b""))
        if not free:
            channel.await_continuation(tag, command="LOGIN")
        pending = value
    channel.wire.write(pending + b"\r\n")
    channel.finish(tag, command="LOGIN")


def _no_mechanism(endpoint: Endpoint) -> ConfigurationError:
    where = f"{endpoint.side} {endpoint.address}"
    if endpoint.account.tls.mode is TLSMode.NONE:
        return ConfigurationError(
            f"{where} takes no password in clear text (LOGINDISABLED): choose tls.mode StartTLS "
            "or Implicit. No credentials were sent",
            side=endpoint.side,
        )
    return ConfigurationError(
        f"{where} offers neither AUTHENTICATE PLAIN nor LOGIN. No credentials were sent",
        side=endpoint.side,
    )


def _refusal(error: CommandRefusedError, *, endpoint: Endpoint) -> EngineError:
    where = f"{endpoint.side} {endpoint.address}"
    if error.temporary:
        return UnreachableError(
            f"{where} could not check the login: {error.text}", side=endpoint.side
        )
    if error.code == "PRIVACYREQUIRED":
        return TLSPolicyError(
            f"{where} demands TLS for the login: {error.text}", side=endpoint.side
        )
    said = error.text.rstrip(". ")
    return CredentialsError(
        f"{where} refused the login of {endpoint.account.username}: {said}. Correct the user name "
        "or the Secret's password; it is not tried again until then",
        side=endpoint.side,
    )

"""Logging in, once: a refusal is final and no weaker mechanism follows it."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Final, NoReturn

from mailsync_api.endpoint import TOKEN_MECHANISMS, Mechanism, TLSVerify
from mailsync_api.oauth2 import Grant
from mailsync_syncjob.errors import (
    CommandRefusedError,
    ConfigurationError,
    ConnectionLostError,
    CredentialsError,
    EngineError,
    TLSPolicyError,
    TokenRefusedError,
    UnreachableError,
)
from mailsync_syncjob.imap.binding import channel_binding
from mailsync_syncjob.imap.capabilities import announced_by, capabilities_among
from mailsync_syncjob.imap.channel import MAX_SMALL_TALK, Outcome
from mailsync_syncjob.imap.mechanisms import announced, choose, wire_name
from mailsync_syncjob.imap.sasl import (
    CramMd5,
    ExchangeError,
    Identity,
    external,
    login,
    oauthbearer,
    plain,
    xoauth2,
)
from mailsync_syncjob.imap.scram import Scram
from mailsync_syncjob.imap.syntax import quoted
from mailsync_syncjob.texts import sanitise

if TYPE_CHECKING:
    from mailsync_syncjob.credentials import Endpoint
    from mailsync_syncjob.imap.binding import Binding
    from mailsync_syncjob.imap.channel import Channel, Response
    from mailsync_syncjob.imap.connect import Connected
    from mailsync_syncjob.imap.mechanisms import Choice
    from mailsync_syncjob.imap.sasl import Exchange
    from mailsync_syncjob.oauth2.tokens import Taken
    from mailsync_syncjob.texts import StatusText

__all__ = ["authenticate", "log_in"]

# RFC 7888 section 4: LITERAL- allows non-synchronising literals up to this size.
_SMALL_LITERAL: Final = 4096
# NUL tells PLAIN's parts apart (RFC 4616), no IMAP string holds it (RFC 9051 section 9), and
# SASLprep, which SCRAM demands, prohibits it (RFC 4013).
_WITHOUT_NUL: Final = frozenset(
    {
        Mechanism.PLAIN,
        Mechanism.LOGIN_COMMAND,
        Mechanism.SCRAM_SHA_1,
        Mechanism.SCRAM_SHA_256,
    }
)


def log_in(connected: Connected, *, endpoint: Endpoint, seconds: float) -> frozenset[str] | None:
    """Log in with the mechanism of the manifest, or the strongest that the server announces.

    Returns
    -------
    frozenset
        The capabilities that the server announced along with its OK; None if it did not.

    Raises
    ------
    CredentialsError
        The server refused them, or the token endpoint did.
    TokenRefusedError
        The server refused the token.
    UnreachableError, ThrottledError
        The server is temporarily unable, or asks to wait.
    ConfigurationError
        The server offers no mechanism that may be used, or it cannot carry the password.
    ProtocolError
        The server broke the mechanism's rules, or did not prove that it knows the password.
    """
    authentication = endpoint.account.authentication
    channel = connected.channel
    binding = channel_binding(channel.wire.socket)
    choice = choose(
        connected.capabilities,
        authentication=authentication,
        binding=binding,
        proven=connected.facts.secured and connected.facts.verified == TLSVerify.FULL,
    )
    if choice is None:
        raise _no_mechanism(endpoint, connected)
    # Only now: a server that is not as the policy demands leads to no token request either.
    token = endpoint.tokens.take(channel.wire.stop) if endpoint.tokens else None
    channel.mask(*endpoint.masked_words)
    identity = _identity(endpoint, token)
    if b"\0" in identity.password and choice.mechanism in _WITHOUT_NUL:
        raise ConfigurationError(
            f"{endpoint.side}: the password holds a NUL byte, which {choice.name} cannot carry",
            side=endpoint.side,
        )
    with channel.wire.within(seconds, at_most=MAX_SMALL_TALK):
        try:
            if choice.mechanism is Mechanism.LOGIN_COMMAND:
                outcome = _login(connected, b"LOGIN", identity.user, identity.password)
            else:
                exchange = _exchange(choice, identity, binding=binding, endpoint=endpoint)
                initial = "SASL-IR" in connected.capabilities
                outcome = authenticate(channel, choice.name, exchange, initial=initial)
            if authentication.proxy_auth_user is not None:
                _proxy(connected, endpoint, authentication.proxy_auth_user)
                return None  # what another user may do is another matter
        except CommandRefusedError as error:
            refused = _refusal(error, endpoint=endpoint, token=token)
            if isinstance(refused, TokenRefusedError) and endpoint.tokens and token:
                endpoint.tokens.discard(token.value)
            raise refused from None
        except ConnectionLostError as error:
            raise UnreachableError(
                f"{endpoint.side} {endpoint.address}: the connection ended during the login: "
                f"{error.message}",
                side=endpoint.side,
            ) from None
    # Some servers send them as an answer of its own, before the OK.
    return announced_by(outcome.status) or capabilities_among(outcome.untagged) or None


def authenticate(channel: Channel, name: str, exchange: Exchange, *, initial: bool) -> Outcome:
    """Run AUTHENTICATE (RFC 9051 section 6.2.2) to its end.

    Parameters
    ----------
    initial
        Whether the server takes the first message along with the command (RFC 4959).

    Raises
    ------
    CommandRefusedError
        It was answered NO or BAD (or another error, where the text means more).
    ProtocolError
        The server broke the mechanism's rules.
    """
    command = f"AUTHENTICATE {name}"
    first = exchange.first()
    words = [b"AUTHENTICATE", name.encode("ascii")]
    if first is not None and initial:
        # RFC 4959 section 3: an empty first message is written as "=".
        words.append(base64.b64encode(first) or b"=")
        first = None
    tag = channel.send(*words)
    untagged: list[Response] = []
    while True:
        response = channel.read_response()
        if response.kind == "untagged":
            untagged.append(response)
        if response.kind == "tagged":
            status = _check_end(channel, response, tag=tag, command=command, exchange=exchange)
            if first is not None or not exchange.complete:
                raise channel.violation(f"the end of {command} before all was said")
            return Outcome(untagged, status)
        if response.kind == "continue":
            if first is not None:
                answer: bytes | None = first
                first = None
            else:
                answer = _answer(channel, exchange, response.text)
            if answer is None:
                _cancel(channel, tag, command=command, exchange=exchange)
            channel.wire.write(base64.b64encode(answer) + b"\r\n")


def _answer(channel: Channel, exchange: Exchange, text: bytes) -> bytes | None:
    try:
        return exchange.answer(base64.b64decode(text, validate=True))
    except binascii.Error:
        raise channel.violation("a challenge that is not base64") from None
    except ExchangeError as error:
        raise channel.violation(str(error)) from None


def _cancel(channel: Channel, tag: bytes, *, command: str, exchange: Exchange) -> NoReturn:
    """End an exchange that leads nowhere; without an answer both ends would wait for each other."""
    channel.wire.write(b"*\r\n")
    try:
        channel.finish(tag, command=command)
    except CommandRefusedError as error:
        raise _explained(error, channel, exchange) from None
    raise channel.violation(f"OK for {command}, which was cancelled")


def _check_end(
    channel: Channel, response: Response, *, tag: bytes, command: str, exchange: Exchange
) -> StatusText:
    try:
        return channel.check_tagged(response, tag=tag, command=command)
    except CommandRefusedError as error:
        raise _explained(error, channel, exchange) from None


def _explained(
    error: CommandRefusedError, channel: Channel, exchange: Exchange
) -> CommandRefusedError:
    """Return a refusal with the mechanism's own reason for it."""
    refusal = channel.shown(exchange.refusal)
    text = f"{refusal} ({error.text})" if refusal else error.text
    return CommandRefusedError(
        error.command, side=error.side, code=error.code, text=text, bad=error.bad
    )


def _identity(endpoint: Endpoint, token: Taken | None) -> Identity:
    authorized = endpoint.account.authentication.authorization_identity or ""
    secret = token.value if token else endpoint.password
    password = secret.reveal() if secret else b""
    return Identity(endpoint.account.username.encode(), password, authorized.encode())


def _bearer(choice: Choice, identity: Identity, *, endpoint: Endpoint) -> Exchange:
    if choice.mechanism is Mechanism.XOAUTH2:
        return xoauth2(identity)
    account = endpoint.account
    return oauthbearer(identity, host=account.host, port=account.effective_port)


def _exchange(
    choice: Choice, identity: Identity, *, binding: Binding | None, endpoint: Endpoint
) -> Exchange:
    if choice.mechanism in TOKEN_MECHANISMS:
        return _bearer(choice, identity, endpoint=endpoint)
    match choice.mechanism:
        case Mechanism.LOGIN:
            return login(identity)
        case Mechanism.CRAM_MD5:
            return CramMd5(identity)
        case Mechanism.EXTERNAL:
            return external(identity)
        case Mechanism.SCRAM_SHA_1 | Mechanism.SCRAM_SHA_256:
            return Scram(
                identity,
                "sha1" if choice.mechanism is Mechanism.SCRAM_SHA_1 else "sha256",
                binding=binding if choice.bound else None,
                unbound="y" if choice.stripped else "n",
            )
        case _:
            return plain(identity)


def _login(connected: Connected, verb: bytes, *values: bytes) -> Outcome:
    """RFC 9051 section 6.2.3; each argument in a form that can carry any byte but NUL."""
    channel, offered = connected.channel, connected.capabilities
    name = verb.decode("ascii")
    tag = channel.next_tag()
    pending = tag + b" " + verb
    for value in values:
        text = quoted(value)
        if text is not None:
            pending += b" " + text
            continue
        free = "LITERAL+" in offered or ("LITERAL-" in offered and len(value) <= _SMALL_LITERAL)
        channel.wire.write(pending + b" {%d%s}\r\n" % (len(value), b"+" if free else b""))
        if not free:
            channel.await_continuation(tag, command=name)
        pending = value
    channel.wire.write(pending + b"\r\n")
    return channel.finish(tag, command=name)


def _proxy(connected: Connected, endpoint: Endpoint, user: str) -> None:
    """Become another user; the command is older than any registry and is rarely announced."""
    try:
        _login(connected, b"PROXYAUTH", user.encode())
    except CommandRefusedError as error:
        if error.temporary:
            raise
        where = f"{endpoint.side} {endpoint.address}"
        said = error.text.rstrip(". ")
        if error.bad:
            raise ConfigurationError(
                f"{where} does not know PROXYAUTH: {said}. Use authorizationIdentity instead of "
                "proxyAuthUser",
                side=endpoint.side,
            ) from None
        raise CredentialsError(
            f"{where} does not let {endpoint.account.username} open the mailbox of {user} "
            f"(PROXYAUTH): {said}",
            side=endpoint.side,
        ) from None


def _no_mechanism(endpoint: Endpoint, connected: Connected) -> ConfigurationError:
    offered = connected.capabilities
    where = f"{endpoint.side} {endpoint.address}"
    authentication = endpoint.account.authentication
    if not connected.facts.secured and "LOGINDISABLED" in offered:
        return ConfigurationError(
            f"{where} takes no password in clear text (LOGINDISABLED): choose tls.mode StartTLS "
            "or Implicit. No credentials were sent",
            side=endpoint.side,
        )
    if authentication.mechanism is not Mechanism.AUTO:
        lacking = (
            f"does not offer {wire_name(authentication.mechanism)}, which "
            f"authentication.mechanism {authentication.mechanism} demands"
        )
    elif authentication.oauth2 is not None:
        lacking = "offers neither OAUTHBEARER nor XOAUTH2, which authentication.oauth2 needs"
    elif authentication.authorization_identity is not None:
        lacking = "offers no mechanism that can carry an authorizationIdentity"
    else:
        lacking = "offers no mechanism that the engine has"
    offers = sanitise(", ".join(announced(offered)) or "none")
    return ConfigurationError(
        f"{where} {lacking}. It offers: {offers}. No credentials were sent", side=endpoint.side
    )


def _refusal(error: CommandRefusedError, *, endpoint: Endpoint, token: Taken | None) -> EngineError:
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
    account = endpoint.account
    if token is not None:
        return TokenRefusedError(
            f"{where} refused the access token for {account.username} ({error.command}): {said}. "
            f"{_token_cure(endpoint)}; it is not tried again until then",
            side=endpoint.side,
            fresh=token.fresh,
        )
    other = account.authentication.authorization_identity
    who = f"{account.username} for the mailbox of {other}" if other else account.username
    cure = "Correct the user name or " + _suspect(endpoint)
    return CredentialsError(
        f"{where} refused the login of {who} ({error.command}): {said}. {cure}; it is not tried "
        "again until then",
        side=endpoint.side,
    )


def _suspect(endpoint: Endpoint) -> str:
    """Return what to look at; a final line break is what a password from a file often has."""
    if endpoint.password is None:
        return "the client certificate"
    if endpoint.password.reveal().endswith(b"\n"):
        return "the Secret's password, which ends with a line break (printf %s writes none)"
    return "the Secret's password"


def _token_cure(endpoint: Endpoint) -> str:
    """Return what to look at when a token that was just issued is refused."""
    oauth2 = endpoint.account.authentication.oauth2
    if oauth2 is not None and oauth2.grant is Grant.STATIC_TOKEN:
        return "It may have ended: put a new one into the Secret, or choose another grant"
    return (
        "The token was just issued: see that username is the mailbox it is for, that its scopes "
        "allow IMAP, and that the application may open this mailbox"
    )

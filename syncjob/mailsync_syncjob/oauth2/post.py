"""One POST over verified TLS, with an end: in time, in size, and with the wish to stop.

httpx's time-outs count from one byte to the next, so the whole is a task that is cancelled when its
time is over.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import httpx

from mailsync_api.conditions import Reason
from mailsync_api.endpoint import TLSPolicy
from mailsync_syncjob.errors import (
    ConfigurationError,
    EngineError,
    TLSPolicyError,
    UnreachableError,
)
from mailsync_syncjob.oauth2.answer import MAX_ANSWER_BYTES, Answer
from mailsync_syncjob.tls import certificate_reason, make_context, speaks_no_tls

if TYPE_CHECKING:
    from mailsync_api.endpoint import Side
    from mailsync_syncjob.deadline import Stop
    from mailsync_syncjob.oauth2.request import TokenRequest

__all__ = ["SECONDS", "Route", "post"]

SECONDS: Final = 30.0
"""How long a token request may take, from the name's resolution to the last byte."""
_LOOK_UP_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class Route:
    """How a token endpoint is reached."""

    ca_pem: str | None = None
    """CA certificates to trust instead of the system's."""
    proxy: str | None = None
    """A proxy's URL, with its credentials (``socks5h://`` or ``http://``)."""
    seconds: float = SECONDS


def post(request: TokenRequest, route: Route, *, side: Side, stop: Stop) -> Answer:
    """Post a request and return the answer, whatever it says. Redirects are not followed.

    Raises
    ------
    UnreachableError
        No whole answer came in time.
    TLSPolicyError
        The endpoint's certificate is not trusted, or it does not speak TLS 1.2 or later.
    ConfigurationError
        The CA certificates cannot be used, or the answer is far too large for one.
    InterruptedRunError
        The run was told to stop.
    """
    # What a policy says by default is what is demanded of every token endpoint.
    context = make_context(
        TLSPolicy(), ca_pem=route.ca_pem, side=side, where=f"{side}.authentication.oauth2"
    )
    where = f"{side}: the token endpoint {request.shown}"
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(_bounded(request, route, context=context, stop=stop))
    except TimeoutError:
        raise UnreachableError(
            f"{where} did not answer within {route.seconds:.0f} s", side=side
        ) from None
    except _TooLargeError:
        raise ConfigurationError(
            f"{where} answered with more than {MAX_ANSWER_BYTES} bytes: is oauth2.tokenURL the "
            "token endpoint?",
            side=side,
        ) from None
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise _network_error(error, where=where, side=side) from None
    finally:
        # Not asyncio.run, which would wait for the thread of a name's resolution to end.
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


class _TooLargeError(Exception):
    """The answer is larger than any token."""


async def _bounded(
    request: TokenRequest, route: Route, *, context: ssl.SSLContext, stop: Stop
) -> Answer:
    task = asyncio.ensure_future(_exchange(request, route, context=context))
    end = time.monotonic() + route.seconds
    try:
        while not task.done():
            stop.check()
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError
            await asyncio.wait({task}, timeout=min(left, _LOOK_UP_SECONDS))
        return task.result()
    finally:
        task.cancel()
        await asyncio.wait({task}, timeout=1)


async def _exchange(request: TokenRequest, route: Route, *, context: ssl.SSLContext) -> Answer:
    async with (
        httpx.AsyncClient(
            verify=context,
            proxy=route.proxy,
            timeout=route.seconds,
            follow_redirects=False,
            # Neither a proxy nor a .netrc that the manifest does not name.
            trust_env=False,
        ) as client,
        client.stream(
            "POST", request.url, content=request.body, headers=dict(request.headers)
        ) as response,
    ):
        body = bytearray()
        # Raw: what was compressed against our wish is no JSON, and is never unpacked.
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > MAX_ANSWER_BYTES:
                raise _TooLargeError
        return Answer(response.status_code, bytes(body), response.headers.get("retry-after"))


def _network_error(error: Exception, *, where: str, side: Side) -> EngineError:
    cause = _ssl_cause(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return TLSPolicyError(
            f"{where}: its certificate is not accepted ({cause.verify_message}): name the CA that "
            "issued it in oauth2.caRef, or correct tokenURL; nothing was sent",
            side=side,
            reason=certificate_reason(cause),
        )
    if cause is not None and not isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        words = str(cause.reason or "no reason given").replace("_", " ").lower()
        return TLSPolicyError(
            f"{where}: no TLS 1.2 or later came about ({words}): correct tokenURL; nothing was "
            "sent",
            side=side,
            reason=(Reason.TLS_NOT_SPOKEN if speaks_no_tls(cause) else Reason.TLS_HANDSHAKE_FAILED),
        )
    return UnreachableError(
        f"{where} could not be reached: {str(error) or type(error).__name__}", side=side
    )


def _ssl_cause(error: BaseException | None) -> ssl.SSLError | None:
    seen = 0
    while error is not None and seen < 10:
        if isinstance(error, ssl.SSLError):
            return error
        error, seen = error.__cause__ or error.__context__, seen + 1
    return None

"""Requests on their way, and the responses to them, by httpx2.

What httpx2 does for its callers' comfort is not wanted here: headers of its own, cookies kept,
bodies decompressed. What it knows of connections, TLS and proxies is (HTTP_PROXY, HTTPS_PROXY,
ALL_PROXY, NO_PROXY).
"""

from __future__ import annotations

import logging
import ssl
from contextlib import suppress
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import TracebackType
from typing import Final, Self

import anyio
import h11
import httpx2

from execnode.environment.local.http_request import (
    Outgoing,
    UnsupportedSchemeError,
    outgoing,
    redirected,
)
from execnode.protocol.errors import INTERNAL_ERROR, RpcError
from execnode.protocol.http import HttpHeader, HttpRequestParams

__all__ = ["HttpClient", "HttpExchange"]

_MAX_REDIRECTS: Final = 10
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
# Bytes of a redirect's own body that are read for the sake of using its connection again.
_MAX_DISCARDED: Final = 65536
# Connections kept for later requests, and the seconds after which a later request closes them.
_LIMITS: Final = httpx2.Limits(
    max_connections=None, max_keepalive_connections=8, keepalive_expiry=30.0
)
# Seconds for saying goodbye to a server.
_FAREWELL: Final = 1.0
# URLs may hold secrets, which are not for the node's log.
logging.getLogger("httpx2").setLevel(logging.WARNING)
_PRINTABLE: Final = frozenset(b"\t" + bytes(range(0x20, 0x7F)))


@cache
def _tls() -> ssl.SSLContext:
    """The system's trust store. Made once: reading it takes longer than many a request."""
    return httpx2.create_ssl_context()


class HttpClient:
    """Connections to servers, some of them idle."""

    def __init__(self) -> None:
        self._client: httpx2.AsyncClient | None = None

    async def send(self, params: HttpRequestParams) -> HttpExchange:
        """Return the response to a request, or to the last of its redirects. Raises RpcError."""
        request = outgoing(params)
        timeout = None if params.timeout_ms is None else params.timeout_ms / 1000
        deadline = anyio.current_time() + timeout if timeout is not None else float("inf")
        client = self._open()
        with anyio.CancelScope(deadline=deadline):
            response, request = await self._follow(client, request, params.redirect_policy)
            return HttpExchange(response, params.timeout_ms, deadline)
        raise _failed(f"no response from {request.url} within {params.timeout_ms} ms")

    async def aclose(self) -> None:
        """Close the connections."""
        if self._client is not None:
            with anyio.move_on_after(_FAREWELL, shield=True):
                await self._client.aclose()

    def _open(self) -> httpx2.AsyncClient:
        if self._client is None:
            try:
                self._client = httpx2.AsyncClient(
                    verify=_tls(),
                    timeout=None,
                    limits=_LIMITS,
                    cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
                )
            except (ImportError, ValueError, httpx2.InvalidURL) as error:
                raise _failed(f"this node's proxy variables cannot be used: {error}") from None
        return self._client

    async def _follow(
        self, client: httpx2.AsyncClient, request: Outgoing, policy: str
    ) -> tuple[httpx2.Response, Outgoing]:
        for _ in range(_MAX_REDIRECTS + 1):
            response = await _exchange(client, request)
            if policy == "stop" or response.status_code not in _REDIRECTS:
                return response, request
            location = next((v for n, v in response.headers.raw if n.lower() == b"location"), None)
            if location is None:
                return response, request
            try:
                further = redirected(request, response.status_code, location)
            except UnsupportedSchemeError as error:
                await _close(response)
                raise _failed(f"redirect target uses unsupported URL scheme: {error}") from None
            if further is None:
                return response, request
            await _discard(response)
            request = further
        raise _failed("too many redirects")


class HttpExchange:
    """A response whose body is read by iterating, once; an async context manager that closes it.

    status: the number. headers: in order, with repeats, without those that are not text.
    announced: bytes of the body according to its headers, if they say so.
    """

    def __init__(self, response: httpx2.Response, timeout_ms: int | None, deadline: float) -> None:
        self.status = response.status_code
        self.headers = [
            HttpHeader(name.decode().lower(), value.decode())
            for name, value in response.headers.raw
            if _PRINTABLE.issuperset(value)
        ]
        length = response.headers.get("content-length", "")
        self.announced = int(length) if length.isascii() and length.isdecimal() else None
        self._response = response
        self._chunks = response.aiter_raw()
        self._over = False
        self._timeout_ms = timeout_ms
        self._deadline = deadline

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with anyio.move_on_after(_FAREWELL, shield=True):
            await self._abandon()
            await self._response.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """Return what has come of the body, never empty. Raises RpcError when it is incomplete."""
        with anyio.CancelScope(deadline=self._deadline):
            try:
                while (chunk := await anext(self._chunks, None)) == b"":
                    pass
            except (httpx2.HTTPError, OSError) as error:
                self._over = True
                raise _body_failed(_cause(error)) from None
            if chunk is None:
                self._over = True
                raise StopAsyncIteration
            return chunk
        self._over = True
        raise _body_failed(f"it was not complete within {self._timeout_ms} ms")

    async def _abandon(self) -> None:
        """End an iteration before its time.

        By a cancellation, since closing the outermost of the generators that httpx2 and httpcore2
        have put into each other would leave the inner ones to the garbage collector.
        """
        with anyio.CancelScope() as scope:
            scope.cancel()
            while not self._over:
                with suppress(httpx2.HTTPError, OSError):
                    self._over = await anext(self._chunks, None) is None


async def _exchange(client: httpx2.AsyncClient, request: Outgoing) -> httpx2.Response:
    try:
        return await client.send(request.complete(), stream=True, auth=None, follow_redirects=False)
    except (httpx2.HTTPError, httpx2.InvalidURL, h11.ProtocolError, OSError, ValueError) as error:
        what = f"error sending request for url ({request.url})"
        raise _failed(f"{what}: {_cause(error)}") from None


async def _discard(response: httpx2.Response) -> None:
    """Read what little a redirect has to say, and close it."""
    size = 0
    deadline = anyio.current_time() + _FAREWELL
    with suppress(RpcError):  # nobody wanted it
        async with HttpExchange(response, None, deadline) as exchange:
            async for chunk in exchange:
                size += len(chunk)
                if size > _MAX_DISCARDED:
                    break


async def _close(response: httpx2.Response) -> None:
    with anyio.move_on_after(_FAREWELL, shield=True):
        await response.aclose()


def _cause(error: BaseException) -> str:
    """Return what happened: the system's words, if an error of its own is at the bottom of it."""
    text = ""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.strerror:
            return seen.strerror
        text = text or str(seen)
        if isinstance(seen, BaseExceptionGroup):
            seen = seen.exceptions[0]
        else:
            seen = seen.__cause__ or seen.__context__
    return text or type(error).__name__


def _failed(remark: str) -> RpcError:
    return RpcError(INTERNAL_ERROR, f"http/request failed: {remark}")


def _body_failed(remark: str) -> RpcError:
    return RpcError(INTERNAL_ERROR, f"failed to read http/request response body: {remark}")

"""HTTP requests that a node makes on a client's behalf."""

import itertools
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple, Protocol, TypeAlias, TypedDict, Unpack

import anyio
import anyio.lowlevel

from execnode.protocol import methods
from execnode.protocol.errors import INTERNAL_ERROR, ProtocolError, RpcError
from execnode.protocol.http import (
    HttpBodyDeltaNotification,
    HttpHeader,
    HttpRequestHeader,
    HttpRequestParams,
    HttpResponse,
)

from .connection import Connection
from .errors import AnswerLost, LinkLost, SessionLost
from .session import Session
from .starting import milliseconds

__all__ = [
    "Headers",
    "Http",
    "HttpOptions",
    "HttpReply",
    "HttpStream",
    "http_params",
    "reply_headers",
]

Headers: TypeAlias = Mapping[str, str] | Sequence[tuple[str, str]]

# Requests that may be made twice (RFC 9110, section 9.2.1).
_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


class HttpOptions(TypedDict, total=False):
    """What a request may say besides its method and URL.

    headers: in order, repeats allowed; body: its bytes; timeout: seconds for all of it, with the
    response; follow_redirects: true if not given.
    """

    headers: Headers | None
    body: bytes | None
    timeout: float | None
    follow_redirects: bool


class HttpReply(NamedTuple):
    """A response of any status; header names are in lower case, in order, with repeats."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class HttpStream(Protocol):
    """A response whose body is iterated over once, in pieces as they come."""

    @property
    def status(self) -> int:
        """The status."""

    @property
    def headers(self) -> list[tuple[str, str]]:
        """As in HttpReply."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The body. Raises RpcError or ConnectionError when it is incomplete."""


def http_params(
    method: str,
    url: str,
    request_id: str,
    *,
    stream: bool = False,
    **options: Unpack[HttpOptions],
) -> HttpRequestParams:
    """The parameters of http/request."""
    headers = options.get("headers")
    pairs = headers.items() if isinstance(headers, Mapping) else headers or ()
    return HttpRequestParams(
        method,
        url,
        request_id,
        [HttpRequestHeader(name, value) for name, value in pairs],
        options.get("body"),
        milliseconds(options.get("timeout")),
        "follow" if options.get("follow_redirects", True) else "stop",
        stream,
    )


def reply_headers(headers: Sequence[HttpHeader]) -> list[tuple[str, str]]:
    """Pairs of name and value."""
    return [(header.name, header.value) for header in headers]


class _Body(AsyncIterator[bytes]):
    """A streamed response on its way."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: list[tuple[str, str]] = []
        self._pieces: deque[bytes] = deque()
        self._next_seq = 1
        self._done = False
        self._failure: Exception | None = None
        self._news = anyio.Event()

    def deliver(self, delta: HttpBodyDeltaNotification) -> None:
        if delta.seq != self._next_seq:
            self.fail(ProtocolError(f"piece {delta.seq} came where {self._next_seq} had to"))
            return
        self._next_seq += 1
        if delta.delta:
            self._pieces.append(bytes(delta.delta))
        if delta.error is not None:
            self.fail(RpcError(INTERNAL_ERROR, delta.error))
        self._done |= delta.done
        self._news.set()

    def fail(self, failure: Exception) -> None:
        if not self._done:
            self._done = True
            self._failure = failure
            self._news.set()

    async def __anext__(self) -> bytes:
        while not self._pieces:
            if self._done:
                if self._failure is not None:
                    raise self._failure
                raise StopAsyncIteration
            self._news = anyio.Event()
            await self._news.wait()
        await anyio.lowlevel.checkpoint()
        return self._pieces.popleft()


class Http:
    """HTTP from a node's place in the network: `Node.http`."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._ids = map(str, itertools.count(1))
        self._bodies: dict[str, _Body] = {}
        session.register(self, {methods.HTTP_BODY_DELTA: HttpBodyDeltaNotification})

    async def request(self, method: str, url: str, **options: Unpack[HttpOptions]) -> HttpReply:
        """The whole response, as it was sent: nothing is decompressed.

        Raises RpcError when there is none, and AnswerLost for a
        connection to the node that broke, if the request cannot be made twice.
        """
        params = http_params(method, url, next(self._ids), **options)
        told = await self._session.call(
            methods.HTTP_REQUEST, params, HttpResponse, repeat=method in _SAFE
        )
        return HttpReply(told.status, reply_headers(told.headers), bytes(told.body))

    @asynccontextmanager
    async def stream(
        self, method: str, url: str, **options: Unpack[HttpOptions]
    ) -> AsyncIterator[HttpStream]:
        """A response as soon as its headers are there; iterate over it for its body.

        The node sends the body whether or not it is taken, and to its end. A broken connection ends
        it with LinkLost.
        """
        request_id = next(self._ids)
        params = http_params(method, url, request_id, stream=True, **options)
        incoming = self._bodies[request_id] = _Body()
        try:
            link = await self._session.up()
            try:
                told = await link.request(methods.HTTP_REQUEST, params, HttpResponse)
            except LinkLost as exc:
                raise AnswerLost(f"no answer to {methods.HTTP_REQUEST}: {exc}") from exc
            incoming.status, incoming.headers = told.status, reply_headers(told.headers)
            yield incoming
        finally:
            self._bodies.pop(request_id, None)

    # --- as a part of the session -----------------------------------------------------------

    def notified(self, delta: HttpBodyDeltaNotification) -> None:
        """A piece of a body."""
        body = self._bodies.get(delta.request_id)
        if body is not None:
            body.deliver(delta)

    def link_lost(self) -> None:
        """The node has given up the bodies."""
        for body in self._bodies.values():
            body.fail(LinkLost("the connection to the node broke in the middle of a body"))

    def link_made(self, link: Connection) -> None:
        """Nothing goes on."""

    def failed(self, failure: SessionLost) -> None:
        """Nothing more will come."""
        for body in self._bodies.values():
            body.fail(failure)

    def names(self) -> list[str]:
        """No process is lost with a body."""
        return []

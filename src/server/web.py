"""What comes before a WebSocket: HTTP, and who is let in.

A connection is for one request. It becomes a WebSocket, or it is answered and closed: with whether
the node lives and takes work, with its metrics, or with why there is no WebSocket for it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from http import HTTPStatus
from ssl import SSLContext
from typing import Final

import trio
from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.protocol import Event
from websockets.server import ServerProtocol

from execnode.server.links import WebSocket

__all__ = ["Page", "WebSettings", "open_web_socket", "too_busy"]

# Seconds for a request to come, and for its answer to be taken.
_HANDSHAKE: Final = 10.0
_LINGER: Final = 1.0
_RECEIVE_BYTES: Final = 65536
# A message may have several frames.
_FRAMES_PER_MESSAGE: Final = 4

# A page: the status, and the body with its type.
Page = tuple[HTTPStatus, str, bytes]


@dataclass(frozen=True, slots=True)
class WebSettings:
    """Who may open a WebSocket.

    authenticate: from the Authorization header to why it is not good enough, or None.
    origins: values of the Origin header that are let in; a browser sends one, other clients none.
    tls: for wss.
    """

    authenticate: Callable[[str | None], str | None] | None = None
    origins: Collection[str] = ()
    tls: SSLContext | None = None


async def open_web_socket(
    stream: trio.abc.Stream,
    settings: WebSettings,
    max_frame: int,
    pages: dict[str, Callable[[], Page]],
    full: Callable[[], str | None],
) -> WebSocket | None:
    """Answer the request on a new connection: the WebSocket that it became, or None.

    pages: what to answer a GET with, by path; those whose path begins with `/metrics` are only for
        who may open a WebSocket.
    full: why nobody else can have a WebSocket now, if so.
    """
    protocol = ServerProtocol(max_size=(max_frame * _FRAMES_PER_MESSAGE, max_frame))
    with trio.move_on_after(_HANDSHAKE):
        events = await _receive(stream, protocol)
        if events:
            request, *early = events
            assert isinstance(request, Request)
            response = _refusal(request, settings, pages)
            if response is None and (reason := full()) is not None:
                response = _text(HTTPStatus.SERVICE_UNAVAILABLE, reason)
            response = response or protocol.accept(request)
            if request.method == "HEAD":
                response.body = b""
            protocol.send_response(response)
            await _send(stream, protocol)
            if response.status_code == HTTPStatus.SWITCHING_PROTOCOLS:
                return WebSocket(protocol, early)
        await _linger(stream)
    return None


async def _linger(stream: trio.abc.Stream) -> None:
    """Let the answer be read: closing while something is unread would reset the connection."""
    if isinstance(stream, trio.abc.HalfCloseableStream):
        await stream.send_eof()
    with trio.move_on_after(_LINGER):
        while await stream.receive_some(_RECEIVE_BYTES):
            pass


def too_busy(reason: str) -> bytes:
    """The answer to everybody, when nobody can be served."""
    return _text(HTTPStatus.SERVICE_UNAVAILABLE, reason).serialize()


async def _receive(stream: trio.abc.Stream, protocol: ServerProtocol) -> list[Event]:
    """The request, and frames that may have come with it; nothing for what is no request."""
    while data := await stream.receive_some(_RECEIVE_BYTES):
        protocol.receive_data(data)
        events = protocol.events_received()
        if events:
            return events
        if protocol.handshake_exc is not None:
            await _send(stream, protocol)
            break
    return []


async def _send(stream: trio.abc.Stream, protocol: ServerProtocol) -> None:
    data = b"".join(protocol.data_to_send())
    if data:
        await stream.send_all(data)


def _refusal(
    request: Request, settings: WebSettings, pages: dict[str, Callable[[], Page]]
) -> Response | None:
    """The answer to a request that is not to become a WebSocket; None for one that may."""
    headers = request.headers
    origins = headers.get_all("Origin")
    if any(origin not in settings.origins for origin in origins):
        return _response(HTTPStatus.FORBIDDEN)
    path = request.path.partition("?")[0]
    if path in pages:
        return _page(request, path, settings, pages)
    if path != "/":
        return _response(HTTPStatus.NOT_FOUND)
    if request.method != "GET":
        return _text(HTTPStatus.METHOD_NOT_ALLOWED, "Request method must be `GET`", allow="GET")
    if not _lists(headers, "Connection", "upgrade"):
        return _text(HTTPStatus.BAD_REQUEST, "Connection header did not include 'upgrade'")
    return _unauthorized(headers, settings)


def _page(
    request: Request, path: str, settings: WebSettings, pages: dict[str, Callable[[], Page]]
) -> Response:
    if request.method not in ("GET", "HEAD"):
        return _response(HTTPStatus.METHOD_NOT_ALLOWED, allow="GET,HEAD")
    if path.startswith("/metrics"):
        refusal = _unauthorized(request.headers, settings)
        if refusal is not None:
            return refusal
    status, kind, body = pages[path]()
    return _response(status, body, content_type=kind)


def _unauthorized(headers: Headers, settings: WebSettings) -> Response | None:
    if settings.authenticate is None:
        return None
    given = headers.get_all("Authorization")
    refusal = settings.authenticate(given[0] if given else None)
    return None if refusal is None else _text(HTTPStatus.UNAUTHORIZED, refusal)


def _lists(headers: Headers, name: str, token: str) -> bool:
    """Whether a header that is a list, perhaps given several times, has a token in it."""
    values = ",".join(headers.get_all(name)).split(",")
    return token in [value.strip().lower() for value in values]


def _text(status: HTTPStatus, text: str, **more: str) -> Response:
    return _response(status, text.encode(), content_type="text/plain; charset=utf-8", **more)


def _response(status: HTTPStatus, body: bytes = b"", **more: str) -> Response:
    headers = Headers([("Connection", "close"), ("Content-Length", str(len(body)))])
    for name, value in more.items():
        headers[name.replace("_", "-").title()] = value
    return Response(status.value, status.phrase, headers, body)

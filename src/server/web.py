"""What comes before a WebSocket: HTTP, and who is let in.

A connection is for one request. It becomes a WebSocket, or it is answered and closed: with whether
the node lives and takes work, with its metrics, or with why there is no WebSocket for it.
"""

from __future__ import annotations

import logging
import socket
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import trio
from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.protocol import Event
from websockets.server import ServerProtocol

from execnode.server.auth import WebSettings
from execnode.server.connection import Peer
from execnode.server.listeners import hang_up, tune
from execnode.server.pages import Page, pages_of
from execnode.server.tls import decrypted
from execnode.server.websocket import WebSocket

if TYPE_CHECKING:
    from execnode.server.node import Node

__all__ = ["Web"]

_logger = logging.getLogger(__name__)

# HTTP requests that may be under way, before they are WebSockets or answered.
_CALLERS: Final = 256
# Seconds for a request to come, and for its answer to be taken.
_HANDSHAKE: Final = 10.0
_LINGER: Final = 1.0
_RECEIVE_BYTES: Final = 65536
# A message may have several frames.
_FRAMES_PER_MESSAGE: Final = 4


class Web:
    """A node's door for HTTP. What becomes a WebSocket is served as a connection of the node."""

    def __init__(self, node: Node, nursery: trio.Nursery, *, tls: bool) -> None:
        self._node = node
        self._nursery = nursery
        self._tls = tls
        self._pages = pages_of(node)
        self._callers = 0  # that are not through with HTTP yet

    def admit(self, descriptor: int, name: str) -> None:
        """Take over a new connection."""
        if self._callers < _CALLERS:
            self._nursery.start_soon(self._serve, descriptor, name)
        else:
            answer = _text(HTTPStatus.SERVICE_UNAVAILABLE, "too many requests at once")
            hang_up(descriptor, answer.serialize())

    async def _serve(self, descriptor: int, name: str) -> None:
        """Answer an HTTP request, and serve the WebSocket that it asks for."""
        sock = trio.socket.from_stdlib_socket(socket.socket(fileno=descriptor))
        transport = trio.SocketStream(sock)
        try:
            async with transport:
                if not self._tls:
                    link = await self._hear(transport)
                    if link is not None:
                        tune(sock)
                        descriptor = sock.detach()
                        await self._node.connect(descriptor, descriptor, Peer(name), link)
                    return
                context = self._node.settings.web.tls
                assert context is not None
                stream = trio.SSLStream(transport, context, server_side=True)
                async with stream:
                    link = await self._hear(stream)
                    if link is not None:
                        tune(sock)
                        async with decrypted(stream) as descriptor:
                            await self._node.connect(descriptor, descriptor, Peer(name), link)
        except (trio.BrokenResourceError, OSError) as error:
            _logger.info("%s: %s", name, error)

    async def _hear(self, stream: trio.abc.Stream) -> WebSocket | None:
        """Answer the request on a new connection: the WebSocket that it became, or None."""
        max_frame = self._node.settings.max_frame
        protocol = ServerProtocol(max_size=(max_frame * _FRAMES_PER_MESSAGE, max_frame))
        self._callers += 1
        try:
            with trio.move_on_after(_HANDSHAKE):
                events = await _receive(stream, protocol)
                if events:
                    request, *early = events
                    assert isinstance(request, Request)
                    response = self._answer(request) or protocol.accept(request)
                    if request.method == "HEAD":
                        response.body = b""
                    protocol.send_response(response)
                    await _send(stream, protocol)
                    if response.status_code == HTTPStatus.SWITCHING_PROTOCOLS:
                        return WebSocket(protocol, early)
                await _linger(stream)
            return None
        finally:
            self._callers -= 1

    def _answer(self, request: Request) -> Response | None:
        """The answer to a request that is not to become a WebSocket; None for one that may."""
        settings = self._node.settings.web
        response = _refusal(request, settings, self._pages)
        if response is None and (reason := self._node.refusal()) is not None:
            response = _text(HTTPStatus.SERVICE_UNAVAILABLE, reason)
        return response


async def _linger(stream: trio.abc.Stream) -> None:
    """Let the answer be read: closing while something is unread would reset the connection."""
    if isinstance(stream, trio.abc.HalfCloseableStream):
        await stream.send_eof()
    with trio.move_on_after(_LINGER):
        while await stream.receive_some(_RECEIVE_BYTES):
            pass


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


def _refusal(request: Request, settings: WebSettings, pages: dict[str, Page]) -> Response | None:
    """The answer to a request that is not to become a WebSocket; None for one that may."""
    headers = request.headers
    origins = headers.get_all("Origin")
    if any(origin not in settings.origins for origin in origins):
        return _response(HTTPStatus.FORBIDDEN)
    path = request.path.partition("?")[0]
    if path in pages:
        return _page(request, pages[path], settings)
    if path != "/":
        return _response(HTTPStatus.NOT_FOUND)
    if request.method != "GET":
        return _text(HTTPStatus.METHOD_NOT_ALLOWED, "Request method must be `GET`", allow="GET")
    if not _lists(headers, "Connection", "upgrade"):
        return _text(HTTPStatus.BAD_REQUEST, "Connection header did not include 'upgrade'")
    return _unauthorized(headers, settings)


def _page(request: Request, page: Page, settings: WebSettings) -> Response:
    if request.method not in ("GET", "HEAD"):
        return _response(HTTPStatus.METHOD_NOT_ALLOWED, allow="GET,HEAD")
    if page.private:
        refusal = _unauthorized(request.headers, settings)
        if refusal is not None:
            return refusal
    status, kind, body = page.render()
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

"""`http/request`: the http service, seen from a connection."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from execnode.protocol import methods
from execnode.protocol.errors import RpcError, invalid_params
from execnode.protocol.http import HttpBodyDeltaNotification, HttpRequestParams, HttpResponse

if TYPE_CHECKING:
    from execnode.environment.local.http_exchange import HttpExchange
    from execnode.server.connection import Connection


def request(connection: Connection, params: HttpRequestParams) -> Awaitable[HttpResponse]:
    """The whole response, or its head when the body is to be streamed."""
    if not params.stream_response:
        return connection.http.request(params)
    if params.request_id in connection.http_streams:
        raise invalid_params(
            f"http/request streamResponse requestId `{params.request_id}` is already active"
        )
    connection.http_streams.add(params.request_id)
    return _head(connection, params)


async def _head(connection: Connection, params: HttpRequestParams) -> HttpResponse:
    try:
        exchange = await connection.http.open(params)
    except BaseException:
        connection.http_streams.discard(params.request_id)
        raise
    # It runs when this task has sent the answer: there is no wait on the way to that.
    connection.tasks.start_soon(_send_body, connection, params.request_id, exchange)
    return HttpResponse(exchange.status, exchange.headers, b"")


async def _send_body(connection: Connection, request_id: str, exchange: HttpExchange) -> None:
    """Tell the pieces of a body, as fast as the client takes them, and then its end."""
    seq, failure = 0, None
    try:
        async with exchange:
            async for chunk in exchange:
                seq += 1
                _tell(connection, HttpBodyDeltaNotification(request_id, seq, chunk, False, None))
                await connection.drained()
    except RpcError as error:
        failure = error.message
    finally:
        connection.http_streams.discard(request_id)
    _tell(connection, HttpBodyDeltaNotification(request_id, seq + 1, b"", True, failure))


def _tell(connection: Connection, delta: HttpBodyDeltaNotification) -> None:
    connection.notify(methods.HTTP_BODY_DELTA, delta)

"""The http service on this machine: requests that the node makes on a client's behalf.

Most nodes never make one, so what it takes is loaded with the first.
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from execnode.protocol.errors import INTERNAL_ERROR, RpcError
from execnode.protocol.http import HttpRequestParams, HttpResponse

if TYPE_CHECKING:
    from execnode.environment.local.http_exchange import HttpClient, HttpExchange

__all__ = ["MAX_BODY", "LocalHttp"]

# Bytes of a body that an answer holds: as base64, still below the 64 MiB of a WebSocket message.
MAX_BODY: Final = 47 << 20


class LocalHttp:
    """The service, and the idle connections of one user of it; an async context manager.

    Servers may tie an authentication to a connection, so two users do not share one.
    """

    def __init__(self) -> None:
        self._client: HttpClient | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._client is not None:
            await self._client.aclose()

    async def request(self, params: HttpRequestParams) -> HttpResponse:
        """Return the whole response. Raises RpcError, also for a body of more than MAX_BODY bytes.

        Safe to cancel; as for all of this module, the exchange is then over.
        """
        async with await self.open(params) as exchange:
            body = bytearray()
            announced = exchange.announced or 0
            async for chunk in exchange:
                body += chunk
                if max(len(body), announced) > MAX_BODY:
                    raise RpcError(
                        INTERNAL_ERROR,
                        f"failed to read http/request response body: it is over {MAX_BODY} bytes, "
                        "more than an answer can hold; ask for it with streamResponse",
                    )
            return HttpResponse(exchange.status, exchange.headers, bytes(body))

    async def open(self, params: HttpRequestParams) -> HttpExchange:
        """Return the response as soon as its headers are there; its body is read from it.

        The caller closes it. Raises RpcError.
        """
        from execnode.environment.local import http_exchange

        if self._client is None:
            self._client = http_exchange.HttpClient()
        return await self._client.send(params)

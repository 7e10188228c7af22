"""The http service as its user has it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Unpack

from execnode.client.http import HttpOptions, HttpReply, HttpStream, http_params, reply_headers
from execnode.environment.local.http import LocalHttp
from execnode.environment.local.http_exchange import HttpExchange

__all__ = ["LocalRequests"]


class LocalRequests:
    """What environment/services.py calls Http."""

    def __init__(self, http: LocalHttp) -> None:
        self._http = http

    async def request(self, method: str, url: str, **options: Unpack[HttpOptions]) -> HttpReply:
        """The whole response; see `execnode.client.http.Http.request`."""
        params = http_params(method, url, "", **options)
        told = await self._http.request(params)
        return HttpReply(told.status, reply_headers(told.headers), told.body)

    @asynccontextmanager
    async def stream(
        self, method: str, url: str, **options: Unpack[HttpOptions]
    ) -> AsyncIterator[HttpStream]:
        """A response whose body is iterated over as it comes."""
        params = http_params(method, url, "", stream=True, **options)
        async with await self._http.open(params) as exchange:
            yield _Stream(exchange)


class _Stream:
    """An exchange in the terms of its user."""

    def __init__(self, exchange: HttpExchange) -> None:
        self.status = exchange.status
        self.headers = reply_headers(exchange.headers)
        self._exchange = exchange

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._exchange)

"""TLS in front of the engine, which moves plain bytes: a socket pair with the decrypted side."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import trio

__all__ = ["decrypted"]

_RECEIVE_BYTES: Final = 262_144
# Seconds for the peer to take what was sent last, and the end of it.
_LAST_WORDS: Final = 5.0


@asynccontextmanager
async def decrypted(stream: trio.SSLStream[trio.SocketStream]) -> AsyncIterator[int]:
    """Give a descriptor with the plain bytes of a TLS stream; it is the caller's.

    On leaving, what was written to it is sent before the stream is closed.
    """
    ours, theirs = socket.socketpair()
    plain = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
    async with trio.open_nursery() as nursery, plain:
        sent = trio.Event()
        nursery.start_soon(_decrypt, stream, plain)
        nursery.start_soon(_encrypt, plain, stream, sent)
        try:
            yield theirs.detach()
        finally:
            with trio.move_on_after(_LAST_WORDS, shield=True):
                await sent.wait()
            nursery.cancel_scope.cancel()


async def _decrypt(stream: trio.SSLStream[trio.SocketStream], plain: trio.SocketStream) -> None:
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        while data := await stream.receive_some(_RECEIVE_BYTES):
            await plain.send_all(data)
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        await plain.send_eof()


async def _encrypt(
    plain: trio.SocketStream, stream: trio.SSLStream[trio.SocketStream], sent: trio.Event
) -> None:
    try:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while data := await plain.receive_some(_RECEIVE_BYTES):
                await stream.send_all(data)
            await stream.aclose()
    finally:
        sent.set()

"""The server on standard input and output, for the program that has started it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from typing import Any, Final, cast

import anyio
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

__all__ = ["serve_stdio"]

_PIECE: Final = 1 << 16


async def serve_stdio(server: Server[Any]) -> None:
    """Serve until the client closes its end, or reads no more.

    While it does, standard input is /dev/null and standard output is standard error, for us and for
    what we start: what is written there by mistake must not get between the messages.
    """
    with _own(0, os.open(os.devnull, os.O_RDONLY)) as source, _own(1, os.dup(2)) as sink:
        # The SDK's own reader is a thread, which nothing can stop but a message.
        lines = cast("anyio.AsyncFile[str]", _lines(source))
        output = anyio.wrap_file(TextIOWrapper(os.fdopen(sink, "wb", closefd=False), "utf-8"))
        try:
            async with stdio_server(lines, output) as (reader, writer):
                await server.run(reader, writer, server.create_initialization_options())
        except* BrokenPipeError:
            pass


@contextmanager
def _own(standard: int, instead: int) -> Iterator[int]:
    """A standard descriptor under another number, which only we have; `instead` is put there."""
    ours = os.dup(standard)
    os.dup2(instead, standard)
    os.close(instead)
    try:
        yield ours
    finally:
        os.dup2(ours, standard)
        os.close(ours)


async def _lines(source: int) -> AsyncIterator[str]:
    """What comes, line by line, until the end."""
    rest = b""
    while piece := await _read(source):
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield line.decode(errors="replace")
    if rest:
        yield rest.decode(errors="replace")


async def _read(source: int) -> bytes:
    try:
        await anyio.wait_readable(source)
    except PermissionError:  # epoll(7) does not watch files, which never block
        await anyio.lowlevel.checkpoint()
    return os.read(source, _PIECE)

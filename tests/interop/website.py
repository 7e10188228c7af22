"""A small web server for the scenarios about http/request."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True)
class Page:
    """An answer with a length."""

    status: str = "200 OK"
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""


_PAGES: Final = {
    "/redir": Page("302 Found", [("location", "/ok")]),
    "/loop": Page("302 Found", [("location", "/loop")]),
    "/404": Page("404 Not Found", [("content-type", "text/plain")], b"nothing here"),
    "/dup": Page(headers=[("x-a", "1"), ("x-a", "2"), ("x-bin", "caf\xe9")]),
    "/bytes": Page(body=bytes(range(256))),
    "/big": Page(body=b"z" * 300_000),
}
# Request headers that a page shows; others are the client's own business.
_SHOWN: Final = ("x-", "authorization", "content-type", "accept:")


@asynccontextmanager
async def website() -> AsyncIterator[str]:
    """Run it; gives the address without a trailing slash."""
    server = await asyncio.start_server(_serve, "127.0.0.1", 0)
    try:
        host, port = server.sockets[0].getsockname()
        yield f"http://{host}:{port}"
    finally:
        server.close()


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            method, path, _ = head.split(" ", 2)
            length = re.search(r"^content-length: (\d+)", head, re.IGNORECASE | re.MULTILINE)
            body = await reader.readexactly(int(length[1])) if length else b""
            match path:
                case "/slow":
                    await _in_parts(writer)
                case "/trunc":
                    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc")
                    return
                case "/hang":
                    await asyncio.sleep(4)
                case _:
                    _answer(writer, method, _PAGES.get(path) or _mirror(method, path, head, body))
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass  # the client has gone
    finally:
        writer.close()


async def _in_parts(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    for number in range(4):
        writer.write(b"5\r\npart%d\r\n" % number)
        await writer.drain()
        await asyncio.sleep(0.25)
    writer.write(b"0\r\n\r\n")


def _mirror(method: str, path: str, head: str, body: bytes) -> Page:
    """The request as a page: its line, its headers, its body."""
    lines = head.split("\r\n")[1:]
    shown = sorted(line for line in lines if line.lower().startswith(_SHOWN))
    text = f"{method} {path}\n" + "\n".join(shown) + "\n"
    return Page(headers=[("content-type", "text/plain")], body=text.encode("latin-1") + body)


def _answer(writer: asyncio.StreamWriter, method: str, page: Page) -> None:
    headers = [*page.headers, ("content-length", str(len(page.body)))]
    lines = [f"HTTP/1.1 {page.status}", *(f"{name}: {value}" for name, value in headers), "", ""]
    writer.write("\r\n".join(lines).encode("latin-1"))
    if method != "HEAD":
        writer.write(page.body)

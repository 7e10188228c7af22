"""The http service, the same in every environment."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import anyio
import pytest

from execnode.client import RpcError
from tests.environment.everywhere.places import Open

pytestmark = pytest.mark.anyio

MIB = 1 << 20


class Handler(BaseHTTPRequestHandler):
    """Answers by path."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/big":
            self._answer(200, bytes(range(256)) * (8 * MIB // 256))
        elif self.path == "/elsewhere":
            self._answer(302, b"", ("Location", "/hello"))
        elif self.path == "/short":
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"less")
            self.close_connection = True
        elif self.path == "/hello":
            self._answer(200, b"hello", ("X-Twice", "1"), ("X-Twice", "2"))
        else:
            self._answer(404, b"no such page")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(201, self.headers["X-Mine"].encode() + b":" + body)

    def _answer(self, status: int, body: bytes, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


async def test_whole_responses(place: Open, site: str) -> None:
    async with place() as here:
        reply = await here.http.request("GET", f"{site}/hello")
        assert (reply.status, reply.body) == (200, b"hello")
        assert [value for name, value in reply.headers if name == "x-twice"] == ["1", "2"]
        assert (await here.http.request("GET", f"{site}/no")).status == 404
        reply = await here.http.request(
            "POST", f"{site}/", headers={"X-Mine": "m"}, body=b"\0\xff", timeout=10
        )
        assert (reply.status, reply.body) == (201, b"m:\0\xff")


async def test_redirects(place: Open, site: str) -> None:
    async with place() as here:
        assert (await here.http.request("GET", f"{site}/elsewhere")).body == b"hello"
        reply = await here.http.request("GET", f"{site}/elsewhere", follow_redirects=False)
        assert (reply.status, dict(reply.headers)["location"]) == (302, "/hello")


async def test_streamed_bodies(place: Open, site: str) -> None:
    with anyio.fail_after(30):
        async with place() as here:
            async with here.http.stream("GET", f"{site}/big") as reply:
                assert reply.status == 200
                assert dict(reply.headers)["content-length"] == str(8 * MIB)
                pieces = [piece async for piece in reply]
            assert b"".join(pieces) == bytes(range(256)) * (8 * MIB // 256)
            async with here.http.stream("GET", f"{site}/hello") as reply:
                pass  # nobody wants it
            assert (await here.http.request("GET", f"{site}/hello")).status == 200


async def test_bodies_that_end_too_early(place: Open, site: str) -> None:
    async with place() as here:
        with pytest.raises(RpcError, match="failed to read http/request response body"):
            await here.http.request("GET", f"{site}/short")
        async with here.http.stream("GET", f"{site}/short") as reply:
            body = aiter(reply)
            assert await anext(body) == b"less"
            with pytest.raises(RpcError, match="failed to read http/request response body"):
                await anext(body)


async def test_requests_that_fail(place: Open, site: str) -> None:
    async with place() as here:
        with pytest.raises(RpcError, match="http/request failed"):
            await here.http.request("GET", "http://127.0.0.1:1/")
        with pytest.raises(RpcError, match="only supports http and https URLs, got ftp"):
            await here.http.request("GET", "ftp://x/")
        with pytest.raises(RpcError, match="http/request failed"):
            async with here.http.stream("GET", "http://127.0.0.1:1/"):
                pass

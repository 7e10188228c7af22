"""The http service by itself: real servers, no wire."""

import os
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from execnode.environment.local.http import MAX_BODY, LocalHttp
from execnode.environment.local.http_request import Outgoing, outgoing, redirected
from execnode.protocol.errors import RpcError
from execnode.protocol.http import HttpHeader, HttpRequestHeader, HttpRequestParams, HttpResponse
from tests.web import OK, Web, answer, redirect


@pytest.fixture
async def http() -> AsyncIterator[LocalHttp]:
    with trio.fail_after(30):
        async with LocalHttp() as service:
            yield service


@pytest.fixture
def web() -> Iterator[Web]:
    with Web({}) as server:
        yield server


def get(url: str, *headers: tuple[str, str], **more: Any) -> HttpRequestParams:
    listed = [HttpRequestHeader(name, value) for name, value in headers]
    return HttpRequestParams(
        **{"method": "GET", "url": url, "request_id": "r", **more}, headers=listed
    )


def pairs(response: HttpResponse) -> list[tuple[str, str]]:
    return [(header.name, header.value) for header in response.headers]


def says(text: bytes) -> Callable[[socket.socket], None]:
    """Say something and close the connection."""
    return lambda peer: peer.sendall(text)


async def failure(http: LocalHttp, params: HttpRequestParams) -> RpcError:
    with pytest.raises(RpcError) as caught:
        await http.request(params)
    return caught.value


# --- what is sent ---------------------------------------------------------------------------------


@pytest.mark.trio
async def test_nothing_is_added_but_what_a_request_needs(http: LocalHttp, web: Web) -> None:
    await http.request(get(f"{web.url}/a?b=c#d"))
    assert web.seen[0].line == "GET /a?b=c HTTP/1.1"
    assert sorted(web.seen[0].headers) == [("accept", "*/*"), ("host", f"127.0.0.1:{web.port}")]


@pytest.mark.trio
async def test_headers_keep_their_order_and_repeats(http: LocalHttp, web: Web) -> None:
    headers = [("X-B", "1"), ("x-a", "2"), ("X-B", "3"), ("x-tab", "a\tb"), ("x-u", "é"), ("e", "")]
    await http.request(get(web.url, *headers, method="POST", body=b"\0\xffbody"))
    sent = [pair for pair in web.seen[0].headers if pair[0] not in ("host", "accept")]
    assert sent == [
        ("x-b", "1"),
        ("x-a", "2"),
        ("x-b", "3"),
        ("x-tab", "a\tb"),
        ("x-u", "Ã©"),
        ("e", ""),
        ("content-length", "6"),
    ]
    assert web.seen[0].body == b"\0\xffbody"


@pytest.mark.trio
async def test_what_the_client_gives_is_not_given_again(http: LocalHttp, web: Web) -> None:
    own = [("Host", "elsewhere"), ("Accept", "x/y"), ("Content-Length", "3"), ("User-Agent", "me")]
    await http.request(get(web.url, *own, method="PUT", body=b"abc"))
    assert sorted(web.seen[0].headers) == [
        ("accept", "x/y"),
        ("content-length", "3"),
        ("host", "elsewhere"),
        ("user-agent", "me"),
    ]


@pytest.mark.trio
@pytest.mark.parametrize("method", ["get", "GeT", "X!", "DELETE", "Purge"])
async def test_a_method_keeps_its_letters(http: LocalHttp, web: Web, method: str) -> None:
    await http.request(get(f"{web.url}/x", method=method))
    assert web.seen[0].line == f"{method} /x HTTP/1.1"


@pytest.mark.trio
async def test_credentials_in_a_url_become_a_header(http: LocalHttp, web: Web) -> None:
    url = web.url.replace("://", "://u:p%40@") + "/x"
    await http.request(get(url))
    await http.request(get(url, ("Authorization", "mine")))
    assert [seen["authorization"] for seen in web.seen] == [["Basic dTpwQA=="], ["mine"]]


@pytest.mark.trio
async def test_cookies_are_not_kept(http: LocalHttp, web: Web) -> None:
    web.answers["/c"] = answer("200 OK", "set-cookie: a=b; path=/")
    await http.request(get(f"{web.url}/c"))
    await http.request(get(f"{web.url}/c"))
    assert web.seen[1]["cookie"] == []
    assert web.connections == 1


@pytest.mark.parametrize(
    ("spelling", "url"),
    [
        ("HTTP://h/x", "http://h/x"),
        (" http://h\n/x\t", "http://h/x"),
        ("http:h/x", "http://h/x"),
        ("http:\\\\h\\x", "http://h/x"),
        ("https:///h", "https://h/"),
        ("http://h/a/../b/./c d", "http://h/b/c%20d"),
        ("http://h/a/%2e%2E/x", "http://h/x"),
        ("http://h//a//%zz?q=/../#f", "http://h//a//%zz?q=/../"),
        ("http://h?a", "http://h/?a"),
        ("http://h:80/é", "http://h/%C3%A9"),
    ],
)
def test_spellings_of_a_url(spelling: str, url: str) -> None:
    assert str(outgoing(get(spelling)).url) == url


@pytest.mark.parametrize(
    ("url", "remark"),
    [
        ("", "url is invalid: relative URL without a base"),
        ("/x", "url is invalid: relative URL without a base"),
        ("http:", "url is invalid: empty host"),
        ("http://?x", "url is invalid: empty host"),
        ("http://h:99999/", "url is invalid: invalid port number"),
        ("http://h:x/", "url is invalid: "),
        ("http://[::1", "url is invalid: "),
        ("http://a b/", "url is invalid: invalid host"),
        ("ftp://x/", "only supports http and https URLs, got ftp"),
        ("DATA:x", "only supports http and https URLs, got data"),
    ],
)
def test_urls_that_are_refused(url: str, remark: str) -> None:
    with pytest.raises(RpcError) as caught:
        outgoing(get(url))
    assert caught.value.code == -32602
    assert caught.value.message.startswith(f"http/request {remark}")


@pytest.mark.parametrize("method", ["", "B AD", "É", "A\n"])
def test_methods_that_are_refused(method: str) -> None:
    with pytest.raises(RpcError, match=r"^http/request method is invalid: ") as caught:
        outgoing(get("ftp://x/", method=method))
    assert caught.value.code == -32602


@pytest.mark.parametrize("name", ["", "a b", "a:b", "é", "a\r"])
def test_header_names_that_are_refused(name: str) -> None:
    with pytest.raises(RpcError, match=r"^http/request header name is invalid: "):
        outgoing(get("http://h/", (name, "v")))


@pytest.mark.parametrize("value", ["a\nb", "a\0b", "\x7f", "a\rb"])
def test_header_values_that_are_refused(value: str) -> None:
    with pytest.raises(RpcError, match=r"^http/request header value is invalid for x: "):
        outgoing(get("http://h/", ("x", value)))


# --- variables ------------------------------------------------------------------------------------


def with_variable(name: str) -> HttpRequestParams:
    header = HttpRequestHeader("X-H", "Bearer ", name)
    return HttpRequestParams("GET", "http://h/", "r", [header])


def test_a_variable_of_the_node_completes_a_value() -> None:
    assert outgoing(with_variable("KEY"), {"KEY": "k"}).headers == [(b"x-h", b"Bearer k")]


@pytest.mark.parametrize(
    ("name", "remark"),
    [
        ("ABSENT", "requires executor environment variable ABSENT"),
        ("EMPTY", "requires a non-empty executor environment variable EMPTY"),
        ("OPENAI_API_KEY", "cannot use executor environment variable OPENAI_API_KEY"),
        ("Codex_Access_Token", "cannot use executor environment variable Codex_Access_Token"),
        ("AWS_SECRET_ACCESS_KEY", "cannot use executor environment variable AWS_SECRET_ACCESS_KEY"),
    ],
)
def test_variables_that_are_refused(name: str, remark: str) -> None:
    environment = {"EMPTY": "", "OPENAI_API_KEY": "k", "Codex_Access_Token": "k"}
    with pytest.raises(RpcError) as caught:
        outgoing(with_variable(name), environment)
    assert caught.value.code == -32602
    assert caught.value.message == f"http/request header X-H {remark}"


def test_a_variable_cannot_add_a_header() -> None:
    with pytest.raises(RpcError, match="header value is invalid for X-H: "):
        outgoing(with_variable("KEY"), {"KEY": "k\r\nx-evil: 1"})


# --- what comes back ------------------------------------------------------------------------------


@pytest.mark.trio
async def test_response_headers_as_they_came_but_for_what_is_no_text(
    http: LocalHttp, web: Web
) -> None:
    headers = ["X-A: 1", "x-a: 2", "x-bin: caf\xe9", "x-tab: a\tb", "X-Sp:   v  ", "x-empty:"]
    web.answers["/"] = answer("200 OK", *headers)
    assert pairs(await http.request(get(web.url))) == [
        ("x-a", "1"),
        ("x-a", "2"),
        ("x-tab", "a\tb"),
        ("x-sp", "v"),
        ("x-empty", ""),
        ("content-length", "0"),
    ]


@pytest.mark.trio
@pytest.mark.parametrize("status", [200, 204, 304, 404, 500, 600, 999])
async def test_any_status_is_a_success(http: LocalHttp, web: Web, status: int) -> None:
    web.answers["/"] = answer(f"{status} Some Reason")
    assert (await http.request(get(web.url))).status == status


@pytest.mark.trio
async def test_a_body_is_never_decompressed(http: LocalHttp, web: Web) -> None:
    web.answers["/"] = answer("200 OK", "content-encoding: gzip", body=b"no gzip at all")
    response = await http.request(get(web.url))
    assert response.body == b"no gzip at all"
    assert ("content-encoding", "gzip") in pairs(response)


@pytest.mark.trio
@pytest.mark.parametrize(
    "text",
    [
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
        b"4\r\nwho;\r\n4\r\n le.\r\n0\r\nx: y\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nwho; le.",
        b"HTTP/1.0 200 OK\r\n\r\nwho; le.",
        b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nwho; le.",
    ],
    ids=["chunked", "until close", "http/1.0", "after an early answer"],
)
async def test_every_way_to_frame_a_body(http: LocalHttp, web: Web, text: bytes) -> None:
    web.answers["/"] = says(text)
    response = await http.request(get(web.url))
    assert (response.status, response.body) == (200, b"who; le.")


@pytest.mark.trio
async def test_a_head_has_no_body(http: LocalHttp, web: Web) -> None:
    web.answers["/"] = b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n"
    response = await http.request(get(web.url, method="HEAD"))
    assert (response.body, pairs(response)) == (b"", [("content-length", "99")])


@pytest.mark.trio
async def test_a_body_that_no_answer_can_hold_is_refused(http: LocalHttp, web: Web) -> None:
    web.answers["/said"] = says(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\nx" % (MAX_BODY + 1))
    error = await failure(http, get(f"{web.url}/said"))
    assert (error.code, "streamResponse" in error.message) == (-32603, True)

    def endless(peer: socket.socket) -> None:
        peer.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            peer.sendall(bytes(1 << 20))

    web.answers["/endless"] = endless
    assert "streamResponse" in (await failure(http, get(f"{web.url}/endless"))).message


# --- failures -------------------------------------------------------------------------------------


@pytest.mark.trio
async def test_a_server_that_is_not_there(http: LocalHttp) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/"
    error = await failure(http, get(url.replace("//", "//name:secret@")))
    assert error.code == -32603
    assert error.message.startswith(f"http/request failed: error sending request for url ({url})")
    assert "secret" not in error.message
    assert error.message.endswith(": Connection refused")


@pytest.mark.trio
@pytest.mark.parametrize(
    "headers",
    [
        [("content-length", "7")],
        [("content-length", "1")],
        [("content-length", "x")],
        [("host", "a"), ("host", "b")],
        [("transfer-encoding", "gzip")],
    ],
)
async def test_headers_that_contradict_the_request(
    http: LocalHttp, web: Web, headers: list[tuple[str, str]]
) -> None:
    error = await failure(http, get(web.url, *headers, method="POST", body=b"abc"))
    assert error.code == -32603
    assert error.message.startswith("http/request failed: error sending request for url (")
    assert (await http.request(get(web.url))).body == b"ok"


@pytest.mark.trio
@pytest.mark.parametrize("text", [b"", b"hello there\r\n\r\n", b"HTTP/1.1 200"])
async def test_what_is_no_answer(http: LocalHttp, web: Web, text: bytes) -> None:
    web.answers["/"] = says(text)
    error = await failure(http, get(web.url))
    assert error.code == -32603
    assert error.message.startswith("http/request failed: error sending request for url (")


@pytest.mark.trio
@pytest.mark.parametrize(
    "text",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_a_body_cut_in_the_middle(http: LocalHttp, web: Web, text: bytes) -> None:
    web.answers["/"] = says(text)
    error = await failure(http, get(web.url))
    assert error.code == -32603
    assert error.message.startswith("failed to read http/request response body: ")


@pytest.mark.trio
async def test_a_time_that_is_over_before_the_headers(http: LocalHttp, web: Web) -> None:
    web.answers["/"] = lambda peer: _until_closed(peer)
    for timeout_ms in (0, 50):
        error = await failure(http, get(web.url, timeout_ms=timeout_ms))
        assert error.code == -32603
        assert error.message.startswith("http/request failed: no response from ")


@pytest.mark.trio
async def test_a_time_that_is_over_in_the_body(http: LocalHttp, web: Web) -> None:
    def slow(peer: socket.socket) -> None:
        peer.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc")
        _until_closed(peer)

    web.answers["/"] = slow
    error = await failure(http, get(web.url, timeout_ms=200))
    assert error.code == -32603
    assert error.message.startswith("failed to read http/request response body: ")


def _until_closed(peer: socket.socket) -> None:
    while peer.recv(1):
        pass


# --- redirects ------------------------------------------------------------------------------------


@pytest.mark.trio
async def test_a_redirect_is_followed_unless_it_is_to_stop(http: LocalHttp, web: Web) -> None:
    web.answers["/from"] = redirect("302 Found", "/to?x")
    assert (await http.request(get(f"{web.url}/from?q#f"))).body == b"ok"
    assert web.seen[1].line == "GET /to?x HTTP/1.1"
    assert web.seen[1]["referer"] == [f"{web.url}/from?q"]
    stopped = await http.request(get(f"{web.url}/from", redirect_policy="stop"))
    assert (stopped.status, HttpHeader("location", "/to?x") in stopped.headers) == (302, True)


@pytest.mark.trio
async def test_redirects_come_to_an_end(http: LocalHttp, web: Web) -> None:
    web.answers["/"] = redirect("302 Found", "/")
    error = await failure(http, get(web.url))
    assert (error.code, error.message) == (-32603, "http/request failed: too many redirects")
    assert len(web.seen) == 11


@pytest.mark.trio
async def test_redirects_that_lead_nowhere(http: LocalHttp, web: Web) -> None:
    web.answers["/ftp"] = redirect("302 Found", "ftp://x/")
    error = await failure(http, get(f"{web.url}/ftp"))
    assert error.message == (
        "http/request failed: redirect target uses unsupported URL scheme: ftp"
    )
    for path, reply in {
        "/none": answer("302 Found"),
        "/odd": redirect("302 Found", "http://[bad"),
        "/300": redirect("300 Multiple Choices", "/x"),
    }.items():
        web.answers[path] = reply
        response = await http.request(get(web.url + path))
        assert response.status == int(reply[9:12])


def asked(method: str = "POST", url: str = "http://h/a/b?q") -> Outgoing:
    headers = [("content-type", "t"), ("authorization", "s"), ("cookie", "c"), ("x-k", "1")]
    return outgoing(get(url, *headers, method=method, body=b"body"))


@pytest.mark.parametrize(
    ("status", "before", "after"),
    [
        (301, "POST", "GET"),
        (302, "POST", "GET"),
        (303, "POST", "GET"),
        (303, "PUT", "GET"),
        (303, "HEAD", "HEAD"),
        (301, "PUT", "PUT"),
        (302, "DELETE", "DELETE"),
        (307, "POST", "POST"),
        (308, "PUT", "PUT"),
    ],
)
def test_what_becomes_of_the_method(status: int, before: str, after: str) -> None:
    request = redirected(asked(before), status, b"c")
    assert request is not None
    assert (request.method, str(request.url)) == (after, "http://h/a/c")
    changed = before != after
    assert request.body == (b"" if changed else b"body")
    assert ((b"content-type", b"t") in request.headers) is not changed
    assert (b"x-k", b"1") in request.headers


@pytest.mark.parametrize("target", [b"http://other/", b"http://h:81/", b"https://h/", b"//i/"])
def test_another_server_gets_no_credentials(target: bytes) -> None:
    request = redirected(asked(), 307, target)
    assert request is not None
    assert {name for name, _ in request.headers} == {b"content-type", b"x-k", b"referer"}
    assert (b"referer", b"http://h/") in request.headers  # nor what it was asked for


def test_the_same_server_does() -> None:
    request = redirected(asked(), 307, b"http://H:80/x")
    assert request is not None
    assert {b"authorization", b"cookie"} <= {name for name, _ in request.headers}


def test_an_encrypted_page_is_not_told_in_clear() -> None:
    request = redirected(asked(url="https://h/secret"), 302, b"http://h/")
    assert request is not None
    assert b"referer" not in {name for name, _ in request.headers}


def test_credentials_in_a_redirect_take_the_place_of_others() -> None:
    request = redirected(asked(), 302, b"http://n:q@h/x")
    assert request is not None
    assert [value for name, value in request.headers if name == b"authorization"] == [b"Basic bjpx"]


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


# --- connections ----------------------------------------------------------------------------------


@pytest.mark.trio
async def test_a_connection_serves_again_and_is_closed_at_the_end(web: Web) -> None:
    web.answers["/r"] = redirect("302 Found", "/ok")
    before = descriptors()
    async with LocalHttp() as http:
        for _ in range(3):
            await http.request(get(f"{web.url}/r"))
        assert web.connections == 1
    # This process holds the server's end, too, until it has seen the close.
    with trio.fail_after(10):
        while descriptors() > before:  # noqa: ASYNC110
            await trio.sleep(0.002)


@pytest.mark.trio
async def test_requests_run_at_the_same_time(http: LocalHttp, web: Web) -> None:
    both = trio.Event()
    token = trio.lowlevel.current_trio_token()
    arrived: list[socket.socket] = []

    def together(peer: socket.socket) -> None:
        arrived.append(peer)
        if len(arrived) == 2:
            token.run_sync_soon(both.set)
            for each in arrived:
                each.sendall(OK)
        _until_closed(peer)

    web.answers["/"] = together
    async with trio.open_nursery() as nursery:
        nursery.start_soon(http.request, get(web.url))
        nursery.start_soon(http.request, get(web.url))
    assert both.is_set()


@pytest.mark.trio
async def test_a_proxy_of_the_environment_is_used(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", web.url)
    async with LocalHttp() as http:
        await http.request(get("http://far.invalid/x"))
        assert web.seen[0].line == "GET http://far.invalid/x HTTP/1.1"
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    async with LocalHttp() as http:
        await http.request(get(f"{web.url}/direct"))
        assert web.seen[1].line == "GET /direct HTTP/1.1"


@pytest.mark.trio
async def test_a_proxy_that_cannot_be_used_is_an_answer(
    http: LocalHttp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "gopher://127.0.0.1:1")
    error = await failure(http, get("http://127.0.0.1:1/"))
    assert error.code == -32603
    assert error.message.startswith("http/request failed: ")


@pytest.mark.trio
async def test_a_certificate_is_checked(http: LocalHttp, tmp_path: Path) -> None:
    await trio.run_process(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", tmp_path / "key", "-out", tmp_path / "certificate"],
        capture_stderr=True,
    )  # fmt: skip
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "certificate", tmp_path / "key")
    with Web({}, tls) as web:
        error = await failure(http, get(web.url))
        assert "certificate" in error.message.lower()
        assert web.seen == []
        # Another interpreter, since the trust store is read once.
        script = f"""
import trio
from execnode.environment.local.http import LocalHttp
from execnode.protocol.http import HttpRequestParams
async def main():
    async with LocalHttp() as http:
        print((await http.request(HttpRequestParams("GET", "{web.url}", "r"))).body)
trio.run(main)
"""
        environment = {**os.environ, "SSL_CERT_FILE": str(tmp_path / "certificate")}
        trusting = await trio.run_process(
            [sys.executable, "-c", script], capture_stdout=True, env=environment
        )
        assert trusting.stdout == b"b'ok'\n"


def test_a_node_does_not_load_what_it_may_never_need() -> None:
    script = (
        "import sys, execnode.server.node, execnode.environment.local.http;"
        "print([name for name in sys.modules if name.partition('.')[0] in"
        " ('httpx2', 'httpcore2', 'h11', 'jwt', 'prometheus_client')])"
    )
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert loaded.stdout == "[]\n", loaded.stderr

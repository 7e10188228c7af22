"""http/request over the wire: whole answers, streamed bodies, their pace and their end."""

import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.server.conftest import Launch
from tests.server.running import NodeProcess
from tests.server.wire import Json, Wire, eventually
from tests.web import PATIENCE, Web, answer, redirect

METHOD = "http/request/bodyDelta"


@pytest.fixture
def web() -> Iterator[Web]:
    with Web({}) as server:
        yield server


def get(url: str, request_id: str = "r", **more: Any) -> Json:
    return {"method": "GET", "url": url, "requestId": request_id, **more}


def ask(wire: Wire, url: str, request_id: str = "r", **more: Any) -> int:
    return wire.call("http/request", **get(url, request_id, **more))


def fetch(wire: Wire, url: str, request_id: str = "r", **more: Any) -> Any:
    return wire.answer(ask(wire, url, request_id, **more))


def deltas(wire: Wire, request_id: str = "r") -> list[Json]:
    """The notifications of one stream, which end with `done`."""
    wire.until(lambda: any(each["done"] for each in _of(wire, request_id)))
    found = _of(wire, request_id)
    assert [each["seq"] for each in found] == list(range(1, len(found) + 1))
    assert [each["done"] for each in found] == [False] * (len(found) - 1) + [True]
    assert all(len(each["deltaBase64"]) <= 1 << 20 for each in found)
    return found


def _of(wire: Wire, request_id: str) -> list[Json]:
    notifications = [each for each in wire.notifications if each["method"] == METHOD]
    return [each["params"] for each in notifications if each["params"]["requestId"] == request_id]


class Gate:
    """A body in two parts: the second comes when the gate is opened."""

    def __init__(self, head: bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nabc") -> None:
        self._head = head
        self._open = threading.Event()

    def __call__(self, peer: socket.socket) -> None:
        peer.sendall(self._head)
        self._open.wait(PATIENCE)
        peer.sendall(b"def")

    def open(self) -> None:
        self._open.set()


def test_a_whole_answer(wire: Wire, web: Web) -> None:
    web.answers["/x"] = answer("404 Not Found", "X-A: 1", body=bytes(range(256)))
    headers = [{"name": "X-One", "value": "1"}, {"name": "X-One", "value": "2"}]
    result = fetch(wire, f"{web.url}/x", method="POST", bodyBase64=b"\0body", headers=headers)
    assert result == {
        "status": 404,
        "headers": [{"name": "x-a", "value": "1"}, {"name": "content-length", "value": "256"}],
        "bodyBase64": bytes(range(256)),
    }
    assert web.seen[0].body == b"\0body"
    assert web.seen[0]["x-one"] == ["1", "2"]


def test_null_and_absent_are_the_same(wire: Wire, web: Web) -> None:
    header = {"name": "x", "value": "v", "valueEnvVar": None}
    result = fetch(wire, web.url, bodyBase64=None, timeoutMs=None, headers=[header])
    assert result["bodyBase64"] == b"ok"
    assert fetch(wire, web.url)["bodyBase64"] == b"ok"


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        ({"url": "ftp://x/"}, -32602, "http/request only supports http and https URLs, got ftp"),
        ({"method": "B AD"}, -32602, "http/request method is invalid: invalid HTTP method"),
        ({"redirectPolicy": "x"}, -32602, "unknown variant `x`"),
        ({"redirectPolicy": None}, -32602, "invalid type: null"),
        ({"timeoutMs": -1}, -32602, "invalid number"),
        ({"requestId": None}, -32602, "invalid type: null"),
        ({"url": "http://127.0.0.1:1/"}, -32603, "http/request failed: error sending request for"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_refused(wire: Wire, more: Json, code: int, message: str, stream: bool) -> None:
    params = {**get("http://127.0.0.1:1/"), "streamResponse": stream, **more}
    refusal = wire.refused("http/request", **params)
    assert refusal.code == code
    assert refusal.message.startswith(message)
    assert not wire.notifications


def test_redirects_are_the_clients_choice(wire: Wire, web: Web) -> None:
    web.answers["/r"] = redirect("302 Found", "/to")
    assert fetch(wire, f"{web.url}/r")["status"] == 200
    assert fetch(wire, f"{web.url}/r", redirectPolicy="stop")["status"] == 302


def test_a_variable_of_the_node(launch: Launch, web: Web) -> None:
    header = {"name": "x-key", "value": "k ", "valueEnvVar": "SECRET_OF_NODE"}
    with launch(env={b"SECRET_OF_NODE": b"42"}).connect() as wire:
        fetch(wire, web.url, headers=[header])
    assert web.seen[0]["x-key"] == ["k 42"]


def test_a_waiting_request_holds_up_nothing(wire: Wire, web: Web) -> None:
    gate = Gate()
    web.answers["/slow"] = gate
    slow = ask(wire, f"{web.url}/slow")
    assert wire.request("environment/status") == {"status": "ready"}
    assert fetch(wire, f"{web.url}/quick")["bodyBase64"] == b"ok"
    assert slow not in wire.answers
    gate.open()
    assert wire.answer(slow)["bodyBase64"] == b"abcdef"


# --- streamed bodies ------------------------------------------------------------------------------


def test_a_streamed_body_follows_its_head(wire: Wire, web: Web) -> None:
    gate = Gate(b"HTTP/1.1 404 No\r\nx-a: 1\r\ncontent-length: 6\r\n\r\nabc")
    web.answers["/"] = gate
    request_id = ask(wire, web.url, streamResponse=True)
    assert wire.receive() == {
        "id": request_id,
        "result": {
            "status": 404,
            "headers": [{"name": "x-a", "value": "1"}, {"name": "content-length", "value": "6"}],
            "bodyBase64": b"",
        },
    }
    first = {"requestId": "r", "seq": 1, "deltaBase64": b"abc", "done": False, "error": None}
    assert wire.step() == {"method": METHOD, "params": first}
    gate.open()
    assert [each["deltaBase64"] for each in deltas(wire)] == [b"abc", b"def", b""]


def test_an_empty_body_is_an_end_only(wire: Wire, web: Web) -> None:
    web.answers["/"] = answer("200 OK")
    fetch(wire, web.url, request_id="", streamResponse=True)
    end = {"requestId": "", "seq": 1, "deltaBase64": b"", "done": True, "error": None}
    assert deltas(wire, "") == [end]


@pytest.mark.parametrize("timeout_ms", [None, 300])
def test_a_streamed_body_that_is_incomplete(wire: Wire, web: Web, timeout_ms: int | None) -> None:
    def cut(peer: socket.socket) -> None:
        peer.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc")
        if timeout_ms:
            peer.recv(1)  # until the node gives up

    web.answers["/"] = cut
    fetch(wire, web.url, streamResponse=True, timeoutMs=timeout_ms)
    told = deltas(wire)
    assert b"".join(each["deltaBase64"] for each in told) == b"abc"
    assert told[-1]["error"].startswith("failed to read http/request response body: ")


def test_a_request_id_is_one_streams_at_a_time(wire: Wire, web: Web) -> None:
    gate = Gate()
    web.answers["/slow"] = gate
    fetch(wire, f"{web.url}/slow", request_id="a", streamResponse=True)
    refusal = wire.refused("http/request", **get(web.url, "a", streamResponse=True))
    assert (refusal.code, refusal.message) == (
        -32602,
        "http/request streamResponse requestId `a` is already active",
    )
    assert fetch(wire, web.url, request_id="a")["bodyBase64"] == b"ok"  # is no stream
    fetch(wire, web.url, request_id="b", streamResponse=True)
    gate.open()
    deltas(wire, "a")
    deltas(wire, "b")
    wire.notifications.clear()
    fetch(wire, web.url, request_id="a", streamResponse=True)
    assert deltas(wire, "a")[0]["deltaBase64"] == b"ok"


def test_a_failed_stream_leaves_its_id_free(wire: Wire, web: Web) -> None:
    for _ in range(2):
        params = get("http://127.0.0.1:1/", "a", streamResponse=True)
        assert wire.refused("http/request", **params).code == -32603
    fetch(wire, web.url, request_id="a", streamResponse=True)
    deltas(wire, "a")


def test_a_large_body_arrives_whole(wire: Wire, web: Web) -> None:
    body = bytes(range(256)) * (40 << 10)
    web.answers["/"] = answer("200 OK", body=body)
    fetch(wire, web.url, streamResponse=True)
    assert b"".join(each["deltaBase64"] for each in deltas(wire)) == body


def test_a_body_is_read_no_faster_than_the_client_takes_it(
    node: NodeProcess, wire: Wire, web: Web
) -> None:
    sent, size = 0, 64 << 20
    finished = threading.Event()

    def large(peer: socket.socket) -> None:
        nonlocal sent
        peer.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        piece = bytes(1 << 16)
        while sent < size:
            peer.sendall(piece)
            sent += len(piece)
        finished.set()

    web.answers["/"] = large
    fetch(wire, f"{web.url}/small")  # loads what it takes
    before = node.resident()
    ask(wire, web.url, streamResponse=True)
    assert not finished.wait(1.0)  # nobody reads, so it must not come to its end
    assert node.resident() - before < 16 << 20
    with node.connect() as other:  # and it is in nobody's way
        assert other.request("environment/status") == {"status": "ready"}
    assert sum(len(each["deltaBase64"]) for each in deltas(wire)) == size
    assert finished.is_set()


def test_the_end_of_a_connection_ends_its_requests(launch: Launch, web: Web) -> None:
    gone = threading.Semaphore(0)

    def until_closed(peer: socket.socket) -> None:
        peer.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc")
        while peer.recv(1):
            pass
        gone.release()

    web.answers["/"] = until_closed
    node = launch()
    with node.connect() as idle:
        before = node.descriptors()
        with node.connect() as wire:
            fetch(wire, f"{web.url}/ok")
            fetch(wire, web.url, streamResponse=True)
            ask(wire, web.url, "whole")
            assert eventually(lambda: len(web.seen) == 3)
        assert gone.acquire(timeout=PATIENCE)
        assert gone.acquire(timeout=PATIENCE)
        assert eventually(lambda: node.holds_no_more_than(before))
        assert idle.request("environment/status") == {"status": "ready"}


def test_what_is_announced(wire: Wire) -> None:
    capabilities = wire.request("environment/info")["capabilities"]
    assert capabilities["httpHeaderEnvVars"] is True

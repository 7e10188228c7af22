"""WebSockets: the HTTP before them, their frames, their end."""

import http.client
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from websockets.frames import CloseCode, Frame, Opcode

from execnode.server.auth import WebSettings
from execnode.server.node import NodeSettings
from tests.locate import bound
from tests.server.conftest import Launch
from tests.server.running import NodeProcess
from tests.server.speech import WebSocket, to_json
from tests.server.wire import PATIENCE, Wire, eventually, starting

ANY = "ws://127.0.0.1:0"
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
STATUS = {"id": 1, "method": "environment/status"}


@pytest.fixture(scope="module")
def web_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    with NodeProcess(tmp_path_factory.mktemp("web"), None, ANY) as node:
        yield node
        node.check()


@pytest.fixture
def url(web_node: NodeProcess) -> str:
    return web_node.urls[1]


@pytest.fixture
def web(url: str) -> Iterator[Wire]:
    """A connection before the handshake of the dialect."""
    with Wire.to(url) as wire:
        yield wire


def speech(wire: Wire) -> WebSocket:
    assert isinstance(wire.speech, WebSocket)
    return wire.speech


def closed_with(wire: Wire) -> tuple[int | None, str | None]:
    """The code and reason that the node closes with."""
    wire.eof()
    speech(wire).protocol.receive_eof()
    return speech(wire).protocol.close_code, speech(wire).protocol.close_reason


def ask(url: str, method: str, path: str, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    host = url.removeprefix("ws://")
    with closing(http.client.HTTPConnection(host, timeout=PATIENCE)) as connection:
        connection.putrequest(method, path, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.read(), {k.lower(): v for k, v in answer.getheaders()}


# --- HTTP -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "body"),
    [
        ("GET", "/readyz", {}, 200, b""),
        ("HEAD", "/readyz", {}, 200, b""),
        ("GET", "/readyz?verbose", {}, 200, b""),
        ("GET", "/healthz", {}, 200, b""),
        ("POST", "/readyz", {}, 405, b""),
        ("GET", "/nothing", {}, 404, b""),
        ("GET", "/nothing", UPGRADE, 404, b""),
        ("GET", "/", {}, 400, b"Connection header did not include 'upgrade'"),
        ("POST", "/", UPGRADE, 405, b"Request method must be `GET`"),
        ("GET", "/", {**UPGRADE, "Origin": "http://example.test"}, 403, b""),
        ("GET", "/", {**UPGRADE, "Origin": "null"}, 403, b""),
        ("GET", "/", {**UPGRADE, "Origin": ""}, 403, b""),
        ("GET", "/readyz", {"Origin": "http://example.test"}, 403, b""),
    ],
)
def test_plain_requests(
    url: str, method: str, path: str, headers: dict[str, str], status: int, body: bytes
) -> None:
    answer = ask(url, method, path, **headers)
    assert answer[:2] == (status, body)
    if status == 405:
        assert answer[2]["allow"] == ("GET" if path == "/" else "GET,HEAD")


@pytest.mark.parametrize("path", ["/", "/?a=1"])
def test_an_upgrade(url: str, path: str) -> None:
    status, _, headers = ask(url, "GET", path, **UPGRADE)
    assert status == 101
    assert headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert not {"sec-websocket-protocol", "sec-websocket-extensions"} & set(headers)


def test_neither_compression_nor_a_subprotocol_is_negotiated(url: str) -> None:
    offers = {
        "Sec-WebSocket-Extensions": "permessage-deflate",
        "Sec-WebSocket-Protocol": "json, cbor",
    }
    status, _, headers = ask(url, "GET", "/", **UPGRADE, **offers)
    assert status == 101
    assert not {"sec-websocket-protocol", "sec-websocket-extensions"} & set(headers)


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x01\x02\r\n\r\n",
        b"GET / HTTP/3\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"".join(b"h%d: x\r\n" % i for i in range(1000)) + b"\r\n",
    ],
    ids=["noise", "version", "header", "long", "many"],
)
def test_what_is_no_request_is_hung_up_on(url: str, data: bytes, web_node: NodeProcess) -> None:
    host, port = url.removeprefix("ws://").split(":")
    with socket.create_connection((host, int(port)), PATIENCE) as sock:
        sock.sendall(data)
        answer = b""
        try:
            while received := sock.recv(65536):
                answer += received
        except ConnectionResetError:
            pass
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
    with web_node.connect(url) as wire:
        assert wire.request("environment/status") == {"status": "ready"}


def test_an_origin_is_let_in_if_allowed(launch: Launch) -> None:
    node = launch(NodeSettings(web=WebSettings(origins=("https://a.example",))), ANY)
    assert ask(node.urls[1], "GET", "/", **UPGRADE, Origin="https://a.example")[0] == 101
    assert ask(node.urls[1], "GET", "/", **UPGRADE, Origin="https://b.example")[0] == 403


def test_a_node_at_its_limit_says_so(launch: Launch) -> None:
    node = launch(NodeSettings(max_connections=1), ANY)
    with node.connect():
        status, body, _ = ask(node.urls[1], "GET", "/", **UPGRADE)
        assert status == 503
        assert b"limit of 1 connections" in body
        assert ask(node.urls[1], "GET", "/healthz")[0] == 200


def test_a_node_that_ends_is_healthy_and_not_ready(launch: Launch) -> None:
    node = launch(NodeSettings(shutdown_grace=30.0), ANY)
    with node.connect(node.urls[1]) as wire:
        wire.start("trap '' TERM; echo ready; while :; do sleep 0.01; done")
        wire.says(b"ready")
        node.popen.terminate()
        assert eventually(lambda: ask(node.urls[1], "GET", "/readyz")[0] == 503)
        assert ask(node.urls[1], "GET", "/healthz")[0] == 200
        wire.request("process/terminate", processId="p", graceMs=0)
        assert closed_with(wire) == (CloseCode.GOING_AWAY, "")
    assert node.popen.wait(PATIENCE) == 0
    node.check()


# --- frames ---------------------------------------------------------------------------------------


def test_text_is_json_and_answered_so(web: Wire) -> None:
    web.handshake()
    assert web.run("echo out; echo err >&2; exit 3").exit_code == 3
    assert web.seen["p"].streams == {"stdout": b"out\n", "stderr": b"err\n"}
    assert speech(web).kinds == {Opcode.TEXT}


def test_binary_is_cbor_and_answered_so(url: str) -> None:
    with Wire.to(url, binary=True) as wire:
        assert wire.handshake()
        assert wire.run(["printf", b"\xff"]).streams == {"stdout": b"\xff"}
        assert speech(wire).kinds == {Opcode.BINARY}


def test_json_may_come_as_binary(web: Wire) -> None:
    for message in (
        {"id": 1, "method": "initialize", "params": {"clientName": "x"}},
        {"method": "initialized"},
        {"id": 2, "method": "environment/status"},
    ):
        web.socket.sendall(speech(web).raw(Opcode.BINARY, to_json(message).encode()))
    assert web.answer(2) == {"status": "ready"}
    assert speech(web).kinds == {Opcode.TEXT}


def test_a_message_may_come_in_pieces_with_pings_between(web: Wire) -> None:
    web.handshake()
    body = to_json({"id": "pieces", "method": "environment/status"}).encode()
    raw = speech(web).raw
    web.socket.sendall(raw(Opcode.TEXT, body[:5], fin=False))
    web.socket.sendall(raw(Opcode.PING, b"are you there"))
    for i in range(5, len(body) - 1):
        web.socket.sendall(raw(Opcode.CONT, body[i : i + 1], fin=False))
    web.socket.sendall(raw(Opcode.CONT, body[-1:]))
    assert web.answer("pieces") == {"status": "ready"}


def test_every_split_of_the_bytes_is_the_same(url: str) -> None:
    with Wire.to(url) as wire:
        burst = b"".join(
            map(
                wire.speech.pack,
                [
                    {"id": 1, "method": "initialize", "params": {"clientName": "x"}},
                    {"method": "initialized"},
                    {"id": 2, "method": "process/start", "params": starting("echo hi")},
                ],
            )
        )
        for i in range(len(burst)):
            wire.socket.sendall(burst[i : i + 1])
        assert wire.ended().stdout == b"hi\n"


def test_messages_that_come_with_the_request_are_taken(url: str) -> None:
    host, port = url.removeprefix("ws://").split(":")
    head = "".join(f"{name}: {value}\r\n" for name, value in UPGRADE.items())
    initialize = {"id": 1, "method": "initialize", "params": {"clientName": "x"}}
    with socket.create_connection((host, int(port)), PATIENCE) as sock:
        frames = b"".join(
            Frame(Opcode.TEXT, to_json(each).encode()).serialize(mask=True)
            for each in (initialize, {"method": "initialized"}, STATUS | {"id": 2})
        )
        sock.sendall(f"GET / HTTP/1.1\r\nHost: x\r\n{head}\r\n".encode() + frames)
        received = b""
        while b'"ready"' not in received:
            data = sock.recv(65536)
            assert data
            received += data


def test_an_answer_over_16_mib_comes_in_fragments(web: Wire) -> None:
    web.handshake(additions=True)
    web.start(
        ["head", "-c", "14000000", "/dev/zero"],
        retention={"mode": "drop-oldest", "maxBytes": 1 << 25},
    )
    web.ended()
    chunks: list[Any] = []
    after = 0
    while True:
        result = web.request("process/read", processId="p", afterSeq=after)
        chunks += result["chunks"]
        if after == result["nextSeq"] - 1:
            break
        after = result["nextSeq"] - 1
    assert sum(len(chunk["chunk"]) for chunk in chunks) == 14_000_000
    assert max(speech(web).sizes) <= 16 << 20


def test_a_message_over_the_limit_is_refused_by_its_code(launch: Launch) -> None:
    node = launch(NodeSettings(max_frame=65536), ANY)
    with node.connect(node.urls[1]) as wire:
        wire.socket.sendall(speech(wire).raw(Opcode.TEXT, b"x" * 70_000))
        assert closed_with(wire)[0] == CloseCode.MESSAGE_TOO_BIG
    with node.connect(node.urls[1]) as wire:
        for i in range(5):
            opcode = Opcode.CONT if i else Opcode.TEXT
            wire.socket.sendall(speech(wire).raw(opcode, b"x" * 60_000, fin=False))
        assert closed_with(wire)[0] == CloseCode.MESSAGE_TOO_BIG
    node.check()


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x81\x02hi", id="not masked"),
        pytest.param(b"\xf1\x80\x00\x00\x00\x00", id="reserved bits"),
        pytest.param(b"\x83\x80\x00\x00\x00\x00", id="reserved opcode"),
        pytest.param(b"\x80\x80\x00\x00\x00\x00", id="continues nothing"),
        pytest.param(b"\x09\x80\x00\x00\x00\x00", id="ping in pieces"),
    ],
)
def test_frames_that_break_the_rules_end_the_connection(web: Wire, data: bytes) -> None:
    web.handshake()
    web.socket.sendall(data)
    assert closed_with(web)[0] == CloseCode.PROTOCOL_ERROR


# --- the dialect and no more ----------------------------------------------------------------------


def members(message: Any) -> set[str]:
    """All member names of a message."""
    if isinstance(message, dict):
        return set(message).union(*map(members, message.values()))
    return set().union(*map(members, message)) if isinstance(message, list) else set()


def test_a_client_of_the_dialect_sees_no_additions(web: Wire) -> None:
    web.handshake()
    started = web.start("echo out; echo err >&2; kill -9 $$")
    assert started == {"processId": "p", "sandboxType": "none"}
    seen = web.ended()
    assert {frozenset(chunk) for chunk in seen.chunks} == {
        frozenset({"processId", "seq", "stream", "chunk"})
    }
    assert set(seen.exited or ()) == {"processId", "seq", "exitCode", "sandboxDenied"}
    assert set(seen.closed or ()) == {"processId", "seq"}
    read = web.request("process/read", processId="p")
    assert members(read) == {
        "chunks", "seq", "stream", "chunk", "nextSeq", "exited", "exitCode", "closed", "failure",
        "sandboxDenied",
    }  # fmt: skip
    error = web.refused("process/start", **starting(["/no/such"], "q"))
    assert (error.code, error.message, error.data) == (
        -32603,
        "No such file or directory (os error 2)",
        None,
    )
    assert web.request("process/terminate", processId="p") == {"running": False}


def test_one_that_asks_for_the_additions_gets_them(web: Wire) -> None:
    web.handshake(additions=True)
    assert web.start("kill -9 $$")["pid"] > 0
    seen = web.ended()
    assert seen.exited is not None
    assert (seen.exited["reason"], seen.exited["signal"]) == ("signal", "SIGKILL")
    assert seen.closed is not None
    assert set(seen.closed["streams"]) == {"stdout", "stderr"}
    assert web.refused("process/start", **starting(["/no/such"], "q")).data["stage"] == "execve"


def test_names_that_json_cannot_carry_end_nothing(web_node: NodeProcess, web: Wire) -> None:
    with web_node.connect() as other:
        other.start([b"sleep", b"1000\xff"], env={"ODD": b"\xff"})
        web.handshake()
        [odd] = [each for each in web.processes(everybody=True) if each["argv"][0] == "sleep"]
        assert odd["argv"] == ["sleep", "1000\ufffd"]
        other.request("process/terminate", processId="p")


# --- the end --------------------------------------------------------------------------------------


def test_the_closing_handshake_is_finished(web: Wire) -> None:
    web.handshake()
    speech(web).protocol.send_close(CloseCode.NORMAL_CLOSURE, "bye")
    web.socket.sendall(b"".join(speech(web).protocol.data_to_send()))
    assert closed_with(web) == (CloseCode.NORMAL_CLOSURE, "bye")


@pytest.mark.parametrize(
    "message",
    [
        {"method": "surprise"},
        {"method": "environment/status"},
        {"id": 9, "result": {}},
        {"id": 9, "error": {"code": 1, "message": "x"}},
    ],
    ids=str,
)
def test_what_nobody_expects_ends_the_connection_with_a_reason(
    web: Wire, message: dict[str, Any]
) -> None:
    web.handshake()
    web.send(STATUS | {"id": "last"}, message)
    assert web.answer("last") == {"status": "ready"}
    assert closed_with(web) == (CloseCode.POLICY_VIOLATION, "sent what nobody expects")


def test_a_session_outlives_its_web_socket(web_node: NodeProcess, url: str) -> None:
    with web_node.connect(url) as wire:
        wire.start("echo one; read x; echo $x", pipeStdin=True)
        wire.says(b"one")
    with web_node.resume(wire, url) as again:
        again.seen["p"] = wire.seen["p"]
        again.request("process/write", processId="p", chunk=b"two\n", writeId="1")
        assert again.ended().stdout == b"one\ntwo\n"


def test_pings_are_answered_and_sent(launch: Launch) -> None:
    node = launch(NodeSettings(ping_interval=0.05), ANY)
    with node.connect(node.urls[1]) as wire:
        until = time.monotonic() + 0.6
        while time.monotonic() < until:
            wire.socket.settimeout(0.05)
            with suppress(TimeoutError):
                wire.step()
        assert speech(wire).pings >= 3
        wire.socket.settimeout(PATIENCE)
        assert wire.request("environment/status") == {"status": "ready"}
    node.check()


def test_a_peer_that_is_silent_for_long_is_dropped_and_may_resume(launch: Launch) -> None:
    node = launch(NodeSettings(ping_interval=0.05), ANY)
    with node.connect(node.urls[1]) as silent:
        silent.start("echo hi; exec sleep 1000")
        silent.says(b"hi")
        # It neither reads nor writes from now on, as a peer whose machine is gone.
        assert eventually(lambda: "does not answer pings" in node.log)
        with Wire.to(node.urls[1]) as again:
            again.handshake(resumeSessionId=silent.session)
            assert again.request("process/read", processId="p")["chunks"][0]["chunk"] == b"hi\n"
    node.check()


def test_a_peer_that_is_slow_to_read_is_not_dropped(launch: Launch) -> None:
    node = launch(NodeSettings(ping_interval=0.05), ANY)
    with node.connect(node.urls[1]) as wire:
        wire.start(["head", "-c", "20000000", "/dev/zero"])
        time.sleep(0.6)  # many pings long it reads nothing
        assert len(wire.ended().stdout) == 20_000_000
    node.check()


def test_small_exchanges_do_not_wait_for_each_other_over_tcp(web: Wire) -> None:
    """The recorded server needs 48 ms for each: Nagle's algorithm and delayed acknowledgements."""
    web.handshake()
    times = []
    for i in range(20):
        begin = time.perf_counter()
        web.run(["true"], f"p{i}")
        times.append(time.perf_counter() - begin)
    assert sorted(times)[10] < 0.024


def test_a_waiting_request_blocks_no_other(web: Wire) -> None:
    web.handshake()
    web.start("exec sleep 1000")
    waiting = web.call("process/read", processId="p", waitMs=60_000)
    assert web.request("environment/status") == {"status": "ready"}
    assert web.request("process/terminate", processId="p")["running"] is True
    assert web.answer(waiting)["exited"] is True


# --- TLS ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
        "-subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out cert.pem",
        shell=True,
        cwd=folder,
        check=True,
        capture_output=True,
    )
    return folder


def test_tls_carries_the_same(certificate: Path, tmp_path: Path) -> None:
    arguments = bound("serve", "--listen", "wss://127.0.0.1:0")
    arguments += ["--auth", "none", "--tls-cert", str(certificate / "cert.pem")]
    arguments += ["--tls-key", str(certificate / "key.pem")]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as node:
        try:
            assert node.stdout is not None
            url = node.stdout.readline().decode().strip()
            host, port = url.removeprefix("wss://").split(":")
            context = ssl.create_default_context(cafile=certificate / "cert.pem")
            raw = socket.create_connection((host, int(port)), PATIENCE)
            sock = context.wrap_socket(raw, server_hostname=host)
            with Wire(sock, WebSocket(sock, f"ws://{host}:{port}")) as wire:
                wire.handshake()
                size = 5_000_000
                assert len(wire.run(["head", "-c", str(size), "/dev/zero"]).stdout) == size
        finally:
            node.send_signal(signal.SIGTERM)
            node.wait(PATIENCE)
    assert node.returncode == 0

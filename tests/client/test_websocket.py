"""Nodes behind a WebSocket: the handshake, control frames, silence, TLS."""

import shlex
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketListener, SocketStream
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from execnode.client import Output, UpgradeRefused, connect, connection
from execnode.protocol import methods
from execnode.protocol.codec import JsonCodec
from execnode.protocol.messages import Answer, InitializeResponse, Message
from execnode.protocol.messages import Request as Call
from tests.client.conftest import running_node
from tests.client.peer import INFO
from tests.client.proxy import tcp_proxy

pytestmark = pytest.mark.anyio

CODEC = JsonCodec()
MIB = 1 << 20


class WebSocketEnd:
    """The node's end of one WebSocket."""

    def __init__(self, stream: SocketStream) -> None:
        self.stream = stream
        self.protocol = ServerProtocol()
        self.authorization: str | None = None
        self._frames: list[Frame] = []

    async def flush(self) -> None:
        for data in self.protocol.data_to_send():
            if data:
                await self.stream.send(data)

    async def accept(self) -> None:
        while True:
            self.protocol.receive_data(await self.stream.receive())
            for event in self.protocol.events_received():
                if isinstance(event, Request):
                    self.authorization = event.headers.get("Authorization")
                    self.protocol.send_response(self.protocol.accept(event))
                    await self.flush()
                    return

    async def frame(self) -> Frame:
        """The next frame of any kind."""
        while not self._frames:
            self.protocol.receive_data(await self.stream.receive())
            self._frames += [e for e in self.protocol.events_received() if isinstance(e, Frame)]
        return self._frames.pop(0)

    async def message(self) -> Message:
        frame = await self.frame()
        while frame.opcode is not Opcode.TEXT:
            frame = await self.frame()
        return CODEC.decode(bytes(frame.data))

    async def send(self, message: Message) -> None:
        self.protocol.send_text(CODEC.encode(message))
        await self.flush()

    async def handshake(self) -> None:
        """The upgrade, `initialize` and `initialized`."""
        await self.accept()
        request = await self.message()
        assert isinstance(request, Call)
        assert request.method == methods.INITIALIZE
        assert request.params["additions"] is True
        assert "authToken" not in request.params
        await self.send(Answer(request.id, InitializeResponse("session", INFO)))
        await self.message()


class Listening:
    def __init__(self, listener: SocketListener) -> None:
        self._listener = listener
        port = listener.extra(SocketAttribute.local_port)
        self.url = f"ws://127.0.0.1:{port}"

    async def accept(self) -> WebSocketEnd:
        return WebSocketEnd(await self._listener.accept())


@asynccontextmanager
async def listening() -> AsyncIterator[Listening]:
    with anyio.fail_after(20):
        multi = await anyio.create_tcp_listener(local_host="127.0.0.1")
        async with multi:
            yield Listening(multi.listeners[0])  # type: ignore[arg-type]


async def test_a_ping_is_answered_and_a_close_frame_is_the_last() -> None:
    async def script(peer: Listening) -> None:
        end = await peer.accept()
        async with end.stream:
            await end.handshake()
            assert end.authorization == "Bearer secret"
            end.protocol.send_ping(b"there?")
            await end.flush()
            pong = await end.frame()
            assert (pong.opcode, bytes(pong.data)) == (Opcode.PONG, b"there?")
            answered.set()
            assert (await end.frame()).opcode is Opcode.CLOSE
            await end.flush()

    answered = anyio.Event()
    async with listening() as peer, anyio.create_task_group() as tasks:
        tasks.start_soon(script, peer)
        async with connect(peer.url, token="secret"):
            await answered.wait()


async def test_a_silent_peer_is_a_lost_link(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_ASK_SECONDS", 0.1)
    async with listening() as peer, anyio.create_task_group() as tasks:
        resumed = anyio.Event()

        async def script() -> None:
            first = await peer.accept()
            await first.handshake()  # and nothing more is read, so no ping is answered
            second = await peer.accept()
            await second.accept()
            request = await second.message()
            assert isinstance(request, Call)
            assert request.params["resumeSessionId"] == "session"
            await second.send(Answer(request.id, InitializeResponse("session", INFO)))
            resumed.set()
            while True:  # pings are answered
                try:
                    await second.frame()
                    await second.flush()
                except (anyio.EndOfStream, anyio.BrokenResourceError):
                    break
            await first.stream.aclose()
            await second.stream.aclose()

        tasks.start_soon(script)
        async with connect(peer.url) as node:
            await resumed.wait()
            await anyio.sleep(0.5)  # longer than a silent peer would have
            assert node.connected


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        ("401 Unauthorized\r\nContent-Length: 5\r\n\r\nwrong", UpgradeRefused, "401 wrong"),
        ("200 OK\r\nContent-Length: 0\r\n\r\n", UpgradeRefused, "200"),
        ("503 Busy\r\nContent-Length: 0\r\n\r\n", ConnectionError, "503"),
        ("101 Switching Protocols\r\n\r\n", UpgradeRefused, "not that of a WebSocket"),
    ],
)
async def test_what_a_handshake_may_be_answered(
    answer: str, kind: type[OSError], words: str
) -> None:
    async with listening() as peer, anyio.create_task_group() as tasks:

        async def script() -> None:
            end = await peer.accept()
            async with end.stream:
                await end.stream.receive()
                await end.stream.send(f"HTTP/1.1 {answer}".encode())

        tasks.start_soon(script)
        with pytest.raises(ConnectionError, match=words) as caught:
            async with connect(peer.url):
                pass
        assert type(caught.value) is kind


async def test_a_node_wants_its_token_in_the_handshake(tmp_path: Path) -> None:
    token = tmp_path / "token"
    options = ("--listen", "ws://127.0.0.1:0", "--token-file", str(token))
    with anyio.fail_after(20), running_node(*options) as url:
        async with connect(url, token_file=token) as node:
            assert (await node.run(["echo", "in"])).stdout == b"in\n"
        for wrong in (None, "wrong"):
            with pytest.raises(UpgradeRefused, match="401"):
                async with connect(url, token=wrong):
                    pass


@pytest.fixture(scope="module")
def open_url() -> Iterator[str]:
    with running_node("--listen", "ws://127.0.0.1:0", "--auth", "none") as url:
        yield url


@pytest.mark.parametrize("encoding", ["json", "cbor"])
async def test_large_messages_go_in_fragments(open_url: str, encoding: str, tmp_path: Path) -> None:
    data = bytes(range(256)) * (20 * MIB // 256)
    with anyio.fail_after(40):
        async with connect(open_url, encoding=encoding) as node:  # type: ignore[arg-type]
            await node.files.write(tmp_path / "file", data)
            assert await node.files.read(tmp_path / "file") == data


@pytest.mark.parametrize("encoding", ["json", "cbor"])
async def test_output_is_whole_over_a_link_that_is_cut(open_url: str, encoding: str) -> None:
    cuts = iter([2000, 50_000, 300_000, 400_000, 1_000_000])
    with anyio.fail_after(50):
        async with (
            tcp_proxy(open_url, cuts) as proxy,
            connect(proxy.url, encoding=encoding) as node,  # type: ignore[arg-type]
        ):
            process = await node.start(["seq", "500000"], digest="sha256")
            seen = bytearray()
            async for item in process:
                assert isinstance(item, Output)
                assert item.offset == len(seen)
                seen += item.data
            assert bytes(seen) == b"".join(b"%d\n" % n for n in range(1, 500_001))
            assert process.returncode == 0
            assert proxy.connections >= 6


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
        "-subj /CN=node -addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out cert.pem"
    )
    subprocess.run(shlex.split(command), cwd=folder, check=True, capture_output=True)
    return folder


async def test_tls(certificate: Path) -> None:
    cert, key = str(certificate / "cert.pem"), str(certificate / "key.pem")
    options = ("--listen", "wss://127.0.0.1:0", "--auth", "none", "--tls-cert", cert, "--tls-key")
    with anyio.fail_after(30), running_node(*options, key) as url:
        assert url.startswith("wss://")
        async with connect(url, ca_file=cert) as node:
            done = await node.run(["head", "-c", str(4 * MIB), "/dev/zero"])
            assert done.stdout == bytes(4 * MIB)
            assert (await node.run(["cat"], input=bytes(3 * MIB))).stdout == bytes(3 * MIB)
        with pytest.raises(OSError, match="certificate verify failed"):
            async with connect(url):
                pass
        port = url.rpartition(":")[2]
        with pytest.raises(OSError, match="certificate verify failed"):
            async with connect(f"wss://localhost:{port}", ca_file=cert):
                pass

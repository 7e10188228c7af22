"""The ways to a node: which URLs there are, and what becomes of those that lead nowhere."""

import os
import socket
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from execnode.client import RpcError, SessionLost, connect
from execnode.client.dialing import dialer
from execnode.client.transport import Transport
from tests.client.conftest import running_node
from tests.locate import SHELL_WORDS

pytestmark = pytest.mark.anyio

STDIO = f"stdio:{SHELL_WORDS} serve --listen stdio --encoding cbor"


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:1",
        "ws://",
        "ws:localhost",
        "wss://localhost:port",
        "/run/node.sock",
        "unix:node.sock",
        "unix://host/node.sock",
        "tcp://localhost",
        "tcp://:7000",
        "tcp://localhost:port",
        "tcp://localhost:7000/path",
        "stdio:",
        "",
    ],
)
async def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"URL|Port|port"):
        dialer(url)


async def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        async with connect(f"unix://{tmp_path}/no.sock"):
            pass
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        async with connect(f"tcp://127.0.0.1:{port}"):
            pass


async def test_a_tcp_node_wants_its_token(tmp_path: Path) -> None:
    token = tmp_path / "token"
    with running_node("--listen", "tcp://127.0.0.1:0", "--token-file", str(token)) as url:
        async with connect(url, token_file=token) as node:
            assert (await node.run(["echo", "in"])).stdout == b"in\n"
        async with connect(url, token=token.read_text().strip()) as node:
            assert node.connected
        for wrong in (None, "", "wrong"):
            with pytest.raises(RpcError, match="token"):
                async with connect(url, token=wrong):
                    pass
        with pytest.raises(ValueError, match="both"):
            async with connect(url, token="x", token_file=token):
                pass


async def test_a_program_can_be_the_node() -> None:
    with anyio.fail_after(20):
        async with connect(STDIO) as node:
            done = await node.run(["sh", "-c", "echo $PPID"])
            program = int(done.stdout)
        with pytest.raises(ProcessLookupError):
            os.kill(program, 0)


async def test_a_program_that_ends_takes_the_session_along() -> None:
    with anyio.fail_after(20):
        async with connect(STDIO) as node:
            command = ["sh", "-c", "read x; kill -KILL $PPID; sleep 100"]
            process = await node.start(command, stdin=True)
            with suppress(SessionLost):  # the answer may come or not
                await process.write(b"go\n")
            with pytest.raises(SessionLost, match=r"stdio:.* ended"):
                await process.wait()


async def test_a_missing_program_is_told() -> None:
    with pytest.raises(FileNotFoundError):
        async with connect("stdio:/no/such/program --listen stdio"):
            pass


async def test_a_connected_socket_can_be_handed_over(node_url: str) -> None:
    ours = socket.socket(socket.AF_UNIX)
    ours.connect(node_url.removeprefix("unix://"))
    async with connect(ours) as node:
        assert (await node.run(["echo", "in"])).stdout == b"in\n"
    assert ours.fileno() == -1


async def test_a_cancelled_send_leaves_whole_or_not_at_all() -> None:
    ours, theirs = socket.socketpair()
    transport = Transport(ours)
    theirs.setblocking(False)
    message = bytes(range(256)) * 4096
    received = bytearray()

    async def read() -> None:
        while True:
            await anyio.wait_readable(theirs)
            data = theirs.recv(65536)
            if not data:
                return
            received.extend(data)

    async with anyio.create_task_group() as tasks:
        async with anyio.create_task_group() as senders:
            senders.start_soon(transport.send, message)
            await anyio.wait_all_tasks_blocked()
            senders.cancel_scope.cancel()
            tasks.start_soon(read)
        transport.close()
    theirs.close()
    assert received == message


async def test_closing_wakes_who_waits() -> None:
    ours, theirs = socket.socketpair()
    transport = Transport(ours)

    async def receive() -> None:
        with pytest.raises(ConnectionAbortedError):
            await transport.receive()

    async def send() -> None:
        with pytest.raises(ConnectionAbortedError):
            await transport.send(bytes(10_000_000))

    with theirs:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(receive)
            tasks.start_soon(send)
            await anyio.wait_all_tasks_blocked()
            transport.close()
            transport.close()

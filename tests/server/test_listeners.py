"""Where connections come from, and who is let in."""

import errno
import hmac
import os
import resource
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cbor2
import pytest
import trio
import trio.testing

from execnode.server.connection import Peer
from execnode.server.listeners import Address, Listener, ListenError, listen, parse_address
from execnode.server.node import Node
from tests.locate import ROOT
from tests.server.conftest import Launch
from tests.server.running import ExecSettings, NodeProcess, NodeSettings
from tests.server.wire import Refused, Wire, eventually, frame, resumed, starting

root_only = pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
LOOPBACK = "tcp://127.0.0.1:0"


# --- addresses -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("stdio", Address("stdio")),
        ("stdio://", Address("stdio")),
        ("unix:///run/x.sock", Address("unix", path="/run/x.sock")),
        ("unix:/run/x.sock", Address("unix", path="/run/x.sock")),
        ("unix:///run/a%20b%25.sock", Address("unix", path="/run/a b%.sock")),
        ("unix:///run/é.sock", Address("unix", path="/run/é.sock")),
        ("tcp://127.0.0.1:0", Address("tcp", host="127.0.0.1", port=0)),
        ("tcp://localhost:4000/", Address("tcp", host="localhost", port=4000)),
        ("tcp://[::1]:4000", Address("tcp", host="::1", port=4000)),
        ("TCP://h:1", Address("tcp", host="h", port=1)),
    ],
)
def test_an_address_is_read(url: str, address: Address) -> None:
    assert parse_address(url) == address


@pytest.mark.parametrize(
    "url",
    [
        "",
        "stdin",
        "/run/x.sock",
        "unix://run/x.sock",
        "unix://",
        "unix:x.sock",
        "unix:///run/x#y.sock",
        "unix:///run/x?y.sock",
        "unix:///run/x%00.sock",
        "tcp://",
        "tcp://127.0.0.1",
        "tcp://:4000",
        "tcp://h:port",
        "tcp://h:65536",
        "tcp://h:-1",
        "tcp://h:1/path",
        "tcp://h:1?query",
        "tcp://user@h:1",
        "tcp://[::1:1",
        "tcp://[x]:1",
        "ws://127.0.0.1",
        "http://127.0.0.1:0",
    ],
)
def test_what_is_no_address_is_refused_by_name(url: str) -> None:
    with pytest.raises(ListenError) as refusal:
        parse_address(url)
    assert str(refusal.value).startswith(f"{url}: ")


def test_every_address_is_listened_at_and_told_in_order(launch: Launch) -> None:
    node = launch(None, LOOPBACK, "tcp://[::1]:0", "tcp://127.0.0.1:0")
    assert [url.rpartition(":")[0] for url in node.urls] == [
        "unix",
        "tcp://127.0.0.1",
        "tcp://[::1]",
        "tcp://127.0.0.1",
    ]
    assert len(set(node.urls)) == 4
    for url in node.urls:
        with node.connect(url) as wire:
            assert wire.run("echo hello").stdout == b"hello\n"


def test_a_session_may_be_resumed_by_another_way(launch: Launch) -> None:
    node = launch(None, LOOPBACK)
    with node.connect() as wire:
        wire.start("read x; echo $x", pipeStdin=True)
    with resumed(node.urls[1], wire.session) as again:
        again.request("process/write", processId="p", chunk=b"x\n")
        assert again.ended().stdout == b"x\n"


# --- Unix sockets --------------------------------------------------------------------------------


async def listened(url: str) -> Listener:
    (listener,) = await listen(parse_address(url))
    return listener


@pytest.mark.trio
async def test_a_socket_is_for_its_user_alone_and_goes_with_its_listener(socket_dir: Path) -> None:
    path = socket_dir / "node.sock"
    before = os.umask(0)
    try:
        listener = await listened(f"unix://{path}")
        assert os.umask(0) == 0  # left as it was
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert listener.url == f"unix://{path}"
    listener.close()
    assert not path.exists()


@pytest.mark.trio
async def test_a_path_is_told_as_it_can_be_read_back(socket_dir: Path) -> None:
    path = socket_dir / "a b%#é.sock"
    listener = await listened("unix://" + str(path).replace("%", "%25").replace("#", "%23"))
    assert path.is_socket()
    assert parse_address(listener.url) == Address("unix", path=str(path))
    listener.close()


@pytest.mark.trio
async def test_a_socket_that_nobody_listens_at_is_replaced(socket_dir: Path) -> None:
    path = socket_dir / "node.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    listener = await listened(f"unix://{path}")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    listener.close()


@pytest.mark.trio
async def test_a_socket_in_use_is_left_alone(socket_dir: Path) -> None:
    path = socket_dir / "node.sock"
    listener = await listened(f"unix://{path}")
    with pytest.raises(ListenError, match="another node listens there already"):
        await listened(f"unix://{path}")
    assert path.is_socket()
    listener.close()


@pytest.mark.trio
async def test_a_socket_whose_owner_does_not_answer_is_left_alone(socket_dir: Path) -> None:
    path = socket_dir / "node.sock"
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as waiting:
        busy.bind(str(path))
        busy.listen(0)
        waiting.connect(str(path))  # the only place in the queue
        with pytest.raises(ListenError, match="node listens there already"):
            await listened(f"unix://{path}")
    assert path.is_socket()


@pytest.mark.trio
async def test_what_is_no_socket_is_left_alone(socket_dir: Path) -> None:
    path = socket_dir / "node.sock"
    path.write_text("precious")
    with pytest.raises(ListenError, match="something else than a socket"):
        await listened(f"unix://{path}")
    assert path.read_text() == "precious"
    with pytest.raises(ListenError, match="something else than a socket"):
        await listened(f"unix://{socket_dir}")
    with pytest.raises(ListenError, match="Not a directory"):
        await listened(f"unix://{path}/x.sock")
    with pytest.raises(ListenError, match="No such file"):
        await listened(f"unix://{socket_dir}/none/x.sock")


@pytest.mark.trio
async def test_a_path_that_is_too_long_is_refused_with_the_reason(socket_dir: Path) -> None:
    folder = socket_dir / ("x" * 100)
    folder.mkdir()
    with pytest.raises(ListenError, match="at most 107 bytes"):
        await listened(f"unix://{folder}/node.sock")
    assert list(folder.iterdir()) == []


@pytest.mark.trio
async def test_a_listener_does_not_remove_the_socket_of_its_successor(socket_dir: Path) -> None:
    path = socket_dir / "node.sock"
    first = await listened(f"unix://{path}")
    path.unlink()
    second = await listened(f"unix://{path}")
    first.close()
    assert path.is_socket()
    second.close()


@pytest.mark.trio
@pytest.mark.parametrize("url", ["tcp://no.such.host.invalid:0", "tcp://192.0.2.1:0"])
async def test_a_network_address_that_cannot_be_had_is_refused(url: str) -> None:
    with pytest.raises(ListenError, match=url):
        await listen(parse_address(url))


@pytest.mark.trio
async def test_a_network_address_in_use_is_refused(recwarn: pytest.WarningsRecorder) -> None:
    (listener,) = await listen(parse_address(LOOPBACK))
    with pytest.raises(ListenError, match="in use"):
        await listen(parse_address(listener.url))
    listener.close()
    assert not recwarn


def test_a_node_that_cannot_listen_everywhere_leaves_no_socket_behind(socket_dir: Path) -> None:
    program = """
import sys, trio, warnings
from execnode.server.listeners import ListenError, parse_address
from execnode.server.node import NodeSettings, serve
try:
    addresses = [parse_address(url) for url in sys.argv[1:]]
    trio.run(lambda: serve(NodeSettings(), addresses, on_bound=print))
except ListenError as error:
    print(error)
"""
    urls = [f"unix://{socket_dir}/node.sock", f"unix://{socket_dir}"]
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", program, *urls],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert "something else than a socket" in done.stdout
    assert done.stderr == ""
    assert list(socket_dir.iterdir()) == []


@root_only
def test_another_user_is_refused_whatever_the_file_says(node: NodeProcess) -> None:
    path = Path(node.url.removeprefix("unix://"))
    path.parent.chmod(0o755)
    path.chmod(0o666)
    program = f"""
import os, socket, cbor2
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
with socket.socket(socket.AF_UNIX) as client:
    client.connect({str(path)!r})
    body = cbor2.dumps({{"id": 1, "method": "initialize", "params": {{"clientName": "x"}}}})
    try:
        client.sendall(len(body).to_bytes(4, "big") + body)
        print(client.recv(100))
    except OSError as error:
        print(type(error).__name__)
"""
    try:
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=30
        )
    finally:
        path.chmod(0o600)
        path.parent.chmod(0o700)
    assert done.stdout.strip() in ("b''", "ConnectionResetError", "BrokenPipeError"), done.stderr
    assert "refused process" in node.log
    with node.connect(sessionTtlMs=0) as wire:
        assert wire.request("environment/status")


@root_only
def test_root_may_connect_to_anybodys_node(launch: Launch) -> None:
    node = launch(uid=200_000 + os.getpid())
    with node.connect() as wire:
        assert wire.run(["id", "-u"]).stdout == b"%d\n" % (200_000 + os.getpid())


# --- tokens --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guarded() -> Iterator[NodeProcess]:
    folder = Path(tempfile.mkdtemp(prefix="xn-"))
    try:
        with NodeProcess(folder, NodeSettings(token="sésame"), LOOPBACK) as node:
            yield node
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_the_token_opens_the_door_from_the_network(guarded: NodeProcess) -> None:
    with guarded.connect(guarded.urls[1], authToken="sésame") as wire:
        assert wire.run("echo in").stdout == b"in\n"
    # Who comes by the Unix socket needs none.
    with guarded.connect() as wire:
        assert wire.run("echo in").stdout == b"in\n"


@pytest.mark.parametrize("token", ["", "wrong", "sésam", "sésamee", "SÉSAME", None, 5, b"x"])
def test_a_wrong_token_ends_the_connection(guarded: NodeProcess, token: object) -> None:
    with Wire.to(guarded.urls[1]) as wire:
        error = wire.refused("initialize", clientName="x", authToken=token)
        if type(token) in (str, type(None)):
            assert error.code == -32600
            assert "authToken" in error.message
            assert "--token-file" in error.message
            assert wire.eof() == []
        else:
            assert error.code == -32602
    guarded.check()


def test_no_token_is_a_wrong_token(guarded: NodeProcess) -> None:
    with Wire.to(guarded.urls[1]) as wire:
        assert "authToken" in wire.refused("initialize", clientName="x").message
        assert wire.eof() == []


def test_there_is_one_guess_to_a_connection(guarded: NodeProcess) -> None:
    guesses = [
        {"id": i, "method": "initialize", "params": {"clientName": "x", "authToken": token}}
        for i, token in enumerate(["wrong", "sésame", "sésame"])
    ]
    with Wire.to(guarded.urls[1]) as wire:
        wire.send(*guesses, {"method": "initialized"}, {"id": 9, "method": "environment/status"})
        messages = wire.eof()
    assert [message["id"] for message in messages] == [0]
    assert "error" in messages[0]


def test_a_session_cannot_be_resumed_without_the_token(guarded: NodeProcess) -> None:
    with guarded.connect(guarded.urls[1], authToken="sésame") as wire:
        session = wire.session
    with pytest.raises(Refused, match="authToken"):
        resumed(guarded.urls[1], session).close()
    with resumed(guarded.urls[1], session, authToken="sésame") as again:
        assert again.session == session


def test_strangers_may_ask_for_nothing_else(guarded: NodeProcess) -> None:
    with Wire.to(guarded.urls[1]) as wire:
        assert wire.refused("process/start", **starting(["true"])).code == -32600
        assert wire.refused("environment/info").code == -32600


def test_a_stranger_may_send_little(guarded: NodeProcess) -> None:
    with Wire.to(guarded.urls[1]) as wire:
        wire.send({"id": 1, "method": "initialize", "params": {"clientName": "x" * 70_000}})
        (message,) = wire.eof()
    assert message["id"] == -1
    assert "65536" in message["error"]["message"]
    assert "--max-frame" not in message["error"]["message"]
    with guarded.connect(guarded.urls[1], authToken="sésame") as wire:
        assert wire.refused("process/read", processId="x" * 70_000).code == -32600


def test_one_who_has_shown_the_token_may_send_more_in_the_same_breath(guarded: NodeProcess) -> None:
    params = {"clientName": "x", "authToken": "sésame"}
    start = starting(["/bin/sh", "-c", "echo ${#X}"], env={"X": "x" * 100_000})
    with Wire.to(guarded.urls[1]) as wire:
        assert wire.request("initialize", **params)["sessionId"]
        wire.send({"method": "initialized"}, {"id": 2, "method": "process/start", "params": start})
        assert wire.answer(2)["processId"] == "p"
        assert wire.ended().stdout == b"100000\n"


def settings(**more: Any) -> NodeSettings:
    return NodeSettings(execs=ExecSettings(adopt=False, guard=False, cgroups=False), **more)


@pytest.mark.trio
async def test_a_stranger_has_ten_seconds(mock_clock: trio.testing.MockClock) -> None:
    async with Node.open(settings()) as node, trio.open_nursery() as nursery:
        ours, theirs = socket.socketpair()
        descriptor = theirs.detach()
        nursery.start_soon(partial(node.connect, descriptor, descriptor, Peer("tcp", "token")))
        await trio.testing.wait_all_tasks_blocked(0.01)
        mock_clock.jump(9.9)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert len(node.connections) == 1
        mock_clock.jump(0.2)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert not node.connections
        assert ours.recv(1) == b""
        ours.close()


@pytest.mark.trio
async def test_one_who_has_shown_the_token_has_all_the_time(
    mock_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = []

    def compare(left: bytes, right: bytes) -> bool:
        compared.append((left, right))
        return left == right

    monkeypatch.setattr(hmac, "compare_digest", compare)
    async with Node.open(settings()) as node, trio.open_nursery() as nursery:
        ours, theirs = socket.socketpair()
        descriptor = theirs.detach()
        nursery.start_soon(partial(node.connect, descriptor, descriptor, Peer("tcp", "token")))
        params = {"clientName": "x", "authToken": "token"}
        ours.sendall(frame(cbor2.dumps({"id": 1, "method": "initialize", "params": params})))
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert compared == [(b"token", b"token")]  # in constant time
        mock_clock.jump(1000)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert len(node.connections) == 1
        nursery.cancel_scope.cancel()
    ours.close()


# --- TCP -----------------------------------------------------------------------------------------


@pytest.mark.trio
async def test_a_connection_from_the_network_is_quick_and_a_dead_peer_is_noticed() -> None:
    (listener,) = await listen(parse_address(LOOPBACK))
    host, port = listener.url.removeprefix("tcp://").split(":")
    with socket.create_connection((host, int(port))):
        descriptor, name = await listener.accept()
        assert name.startswith("tcp 127.0.0.1:")
        with socket.socket(fileno=descriptor) as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            idle = accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
            interval = accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL)
            probes = accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT)
            assert idle + interval * probes <= 20
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) <= 20_000
            assert accepted.getsockopt(socket.IPPROTO_TCP, 25) <= 131_072  # TCP_NOTSENT_LOWAT
            assert not os.get_inheritable(descriptor)
    listener.close()


class Flaky:
    """A socket whose first accept(2) fails as it may when the peer is in trouble."""

    def __init__(self, sock: trio.socket.SocketType) -> None:
        self._socket = sock
        self._failures = [errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.EHOSTUNREACH]

    async def accept(self) -> tuple[trio.socket.SocketType, Any]:
        if self._failures:
            number = self._failures.pop()
            raise OSError(number, os.strerror(number))
        return await self._socket.accept()

    def close(self) -> None:
        self._socket.close()


@pytest.mark.trio
async def test_a_listener_survives_the_trouble_of_others(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        flaky: Any = Flaky(trio.socket.from_stdlib_socket(server))
        listener = Listener("tcp", f"tcp://127.0.0.1:{port}", flaky, None)
        with socket.create_connection(("127.0.0.1", port)):
            descriptor, _ = await listener.accept()
            os.close(descriptor)


def test_a_node_out_of_descriptors_takes_connections_again_when_it_can(launch: Launch) -> None:
    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (48, 48))

    node = launch(prepare=few)
    with node.connect() as first:
        waiting = [Wire.to(node.url) for _ in range(60)]
        assert eventually(lambda: "no connection can be taken now" in node.log)
        assert first.request("environment/status")
        for each in waiting[:50]:
            each.close()
        for each in waiting[50:]:
            each.handshake(sessionTtlMs=0)
            each.close()


def test_clients_that_come_and_go_in_a_hurry_harm_nothing(launch: Launch) -> None:
    node = launch(NodeSettings(max_connections=2), LOOPBACK)
    with node.connect() as first, node.connect() as second:
        for url in node.urls * 50:
            Wire.to(url).close()
        assert first.request("environment/status")
        assert second.request("environment/status")
    assert node.end(signal.SIGTERM) == 0
    node.check()

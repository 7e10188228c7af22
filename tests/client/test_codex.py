"""The client against Codex's own exec-server, where that program is there (`make peers`)."""

import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from bench import peers
from execnode.client import (
    Output,
    Retention,
    RpcError,
    StartError,
    TimeoutExpired,
    Unsupported,
    connect,
)
from tests.client.proxy import tcp_proxy

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def codex_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its URL, ws:."""
    program = peers.codex()
    if program is None:
        pytest.skip("Codex is not in the cache; `make peers` gets it")
    command = [str(program), "exec-server", "--listen", "ws://127.0.0.1:0"]
    environment = {**os.environ, "CODEX_HOME": str(peers.codex_home())}
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
        cwd=tmp_path_factory.mktemp("codex"),
    ) as server:
        try:
            assert server.stdout is not None
            yield server.stdout.readline().strip()
        finally:
            server.kill()


async def test_a_command_runs(codex_url: str) -> None:
    with anyio.fail_after(20):
        async with connect(codex_url) as node:
            done = await node.run(["sh", "-c", "echo out; echo err >&2; exit 3"])
            assert (done.returncode, done.stdout, done.stderr) == (3, b"out\n", b"err\n")
            process = await node.start(["true"])
            assert (process.pid, process.ref) == (None, None)
            assert [item async for item in process] == []
            assert (process.returncode, process.totals) == (0, {})


async def test_output_is_whole_and_in_order(codex_url: str) -> None:
    with anyio.fail_after(40):
        async with connect(codex_url) as node:
            process = await node.start(["sh", "-c", "seq 200000 >&2 & seq 300000; wait"])
            streams = {"stdout": bytearray(), "stderr": bytearray()}
            seq = 0
            async for item in process:
                assert isinstance(item, Output)
                assert item.seq > seq
                assert item.offset == len(streams[item.stream])
                seq = item.seq
                streams[item.stream] += item.data
            for stream, count in (("stdout", 300_000), ("stderr", 200_000)):
                assert bytes(streams[stream]) == b"".join(b"%d\n" % n for n in range(1, count + 1))


async def test_a_terminal_takes_input(codex_url: str) -> None:
    with anyio.fail_after(20):
        async with connect(codex_url) as node, await node.start(["cat"], tty=True) as process:
            await process.write(b"line\n")
            seen = b""
            while seen.count(b"line") < 2:
                item = await process.__anext__()
                assert isinstance(item, Output)
                assert item.stream == "pty"
                seen += item.data
            await process.write(b"\x04")
            assert await process.wait() == 0


async def test_an_interrupt_is_the_one_signal(codex_url: str) -> None:
    with anyio.fail_after(20):
        async with connect(codex_url) as node:
            process = await node.start(["sh", "-c", "trap 'exit 7' INT; echo ready; sleep 100"])
            await process.__anext__()
            with pytest.raises(Unsupported, match="SIGTERM"):
                await process.signal("TERM")
            await process.signal("INT")
            assert await process.wait() == 7


async def test_what_the_node_lacks_is_told_and_not_ignored(codex_url: str) -> None:
    with anyio.fail_after(20):
        async with connect(codex_url) as node:
            for option in (
                {"retention": Retention("block", 1000)},
                {"timeout": 1.0},
                {"rlimits": {"nofile": 10}},
                {"digest": "sha256"},
                {"tty": True, "size": (10, 10)},
            ):
                with pytest.raises(Unsupported, match="capability process"):
                    await node.start(["true"], **option)
            with pytest.raises(Unsupported, match="processList"):
                await node.list()
            with pytest.raises(Unsupported, match="processAttach"):
                await node.attach("ref")
            with pytest.raises(Unsupported, match="processCloseStdin"):
                await node.run(["cat"], input=b"x")
            process = await node.start(["sleep", "100"])
            with pytest.raises(Unsupported, match="processResize"):
                await process.resize(1, 1)
            with pytest.raises(Unsupported, match="grace"):
                await process.terminate(1.0)
            assert (await process.terminate()).running
            assert await process.wait() == 137


async def test_time_is_kept_here_when_the_node_does_not(codex_url: str) -> None:
    with anyio.fail_after(20):
        async with connect(codex_url) as node:
            with pytest.raises(TimeoutExpired) as caught:
                await node.run(["sh", "-c", "echo first; exec sleep 100"], timeout=0.5)
            assert caught.value.stdout == b"first\n"


async def test_a_start_that_fails_is_an_os_error(codex_url: str, tmp_path: Path) -> None:
    with anyio.fail_after(20):
        async with connect(codex_url) as node:
            with pytest.raises(StartError) as caught:
                await node.start(["/no/such/program"])
            assert isinstance(caught.value, FileNotFoundError)
            assert caught.value.stage is None
            with pytest.raises(RpcError, match="nul byte"):
                await node.start(["echo", "a\0b"])


async def test_a_broken_link_is_a_pause(codex_url: str) -> None:
    """What was written meanwhile, less than the node keeps, comes from process/read."""
    script = "for i in $(seq 400); do echo $i; sleep 0.005; done; exit 5"
    with anyio.fail_after(40):
        async with tcp_proxy(codex_url) as proxy, connect(proxy.url) as node:
            process = await node.start(["bash", "-c", script])
            seen = b""
            cuts = 0
            async for item in process:
                assert isinstance(item, Output)
                seen += item.data
                if seen.count(b"\n") // 100 > cuts:
                    cuts += 1
                    proxy.cut()
            assert seen == b"".join(b"%d\n" % n for n in range(1, 401))
            assert process.returncode == 5
            assert proxy.connections > 3


async def test_what_ended_while_we_were_away_is_known_afterwards(codex_url: str) -> None:
    with anyio.fail_after(40):
        async with tcp_proxy(codex_url) as proxy, connect(proxy.url) as node:
            process = await node.start(["cat"], tty=True)
            await process.write(b"x\n\x04")
            proxy.shut()
            seen = hashlib.sha256()
            await anyio.sleep(0.3)  # what happens meanwhile is on the other side
            proxy.open()
            async for item in process:
                assert isinstance(item, Output)
                seen.update(item.data)
            assert process.returncode == 0
            assert seen.hexdigest() == hashlib.sha256(b"x\r\nx\r\n").hexdigest()

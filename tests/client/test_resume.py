"""A real node behind a link that breaks: no byte lost or doubled, nothing started twice."""

import hashlib
import os
import random
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from execnode.client import Gap, Node, Output, Process, Retention, SessionLost, connect
from tests.client.conftest import running_node
from tests.client.proxy import cutting_proxy

pytestmark = pytest.mark.anyio

MIB = 1 << 20


def budgets(seed: int, count: int, low: int, high: int) -> Iterator[int]:
    """After how many bytes each of the first connections is cut."""
    rng = random.Random(seed)
    return iter([rng.randrange(low, high) for _ in range(count)])


async def digest(process: Process) -> str:
    hashed = hashlib.sha256()
    async for item in process:
        assert isinstance(item, Output)
        hashed.update(item.data)
    return hashed.hexdigest()


@pytest.mark.parametrize("seed", range(3))
async def test_output_is_whole_over_a_link_that_is_cut_again_and_again(
    node_url: str, socket_dir: Path, seed: int
) -> None:
    cuts = budgets(seed, 15, 1000, 2 * MIB)
    command = ["sh", "-c", "seq 3000000; seq 100000 >&2"]
    with anyio.fail_after(50):
        async with cutting_proxy(node_url, socket_dir, cuts) as proxy, connect(proxy.url) as node:
            async with await node.start(command) as process:
                streams: dict[str, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}
                async for item in process:
                    assert isinstance(item, Output)
                    assert item.offset == len(streams[item.stream])
                    streams[item.stream] += item.data
            assert process.returncode == 0
            assert proxy.connections > 10
    for stream, count in (("stdout", 3_000_000), ("stderr", 100_000)):
        assert bytes(streams[stream]) == b"".join(b"%d\n" % n for n in range(1, count + 1))


async def test_input_is_whole_over_a_link_that_is_cut_again_and_again(
    node_url: str, socket_dir: Path
) -> None:
    data = random.Random(7).randbytes(8 * MIB)
    with anyio.fail_after(50):
        async with (
            cutting_proxy(node_url, socket_dir, budgets(7, 12, 100, MIB)) as proxy,
            connect(proxy.url) as node,
        ):
            assert (await node.run(["cat"], input=data)).stdout == data
            assert proxy.connections > 8


async def test_nothing_is_started_twice_or_not_at_all(
    node_url: str, socket_dir: Path, tmp_path: Path
) -> None:
    done = tmp_path / "done"

    async def work(node: Node, number: int) -> None:
        result = await node.run(["sh", "-c", f"echo {number} >> {done}; echo {number}"])
        assert result.stdout == b"%d\n" % number

    with anyio.fail_after(50):
        async with (
            cutting_proxy(node_url, socket_dir, budgets(3, 25, 450, 2000)) as proxy,
            connect(proxy.url) as node,
        ):
            async with anyio.create_task_group() as tasks:
                for number in range(200):
                    tasks.start_soon(work, node, number)
            assert proxy.connections > 20
    assert sorted(map(int, done.read_text().split())) == list(range(200))


async def test_a_process_writes_on_while_its_client_is_away(
    node_url: str, socket_dir: Path
) -> None:
    size = 64 * MIB
    retention = Retention("block", 2 * size)
    with anyio.fail_after(50):
        async with cutting_proxy(node_url, socket_dir) as proxy, connect(proxy.url) as node:
            command = ["sh", "-c", f"read x; head -c {size} /dev/zero; touch $0", "written"]
            process = await node.start(
                command, cwd=socket_dir, stdin=True, retention=retention, digest="sha256"
            )
            await process.write(b"go\n")
            proxy.shut()
            await appears(socket_dir / "written")
            proxy.open()
            assert await digest(process) == hashlib.sha256(bytes(size)).hexdigest()
            assert process.totals["stdout"].bytes == size


async def test_what_is_dropped_while_away_is_counted(node_url: str, socket_dir: Path) -> None:
    size = 16 * MIB
    retention = Retention("drop-oldest", MIB)
    with anyio.fail_after(50):
        async with cutting_proxy(node_url, socket_dir) as proxy, connect(proxy.url) as node:
            command = ["sh", "-c", f"echo first; read x; head -c {size} /dev/zero; touch $0", "end"]
            process = await node.start(command, cwd=socket_dir, stdin=True, retention=retention)
            first = await process.__anext__()
            assert isinstance(first, Output)
            await process.write(b"go\n")
            proxy.shut()
            await appears(socket_dir / "end")
            proxy.open()
            seen, lost = len(first.data), 0
            async for item in process:
                if isinstance(item, Gap):
                    lost += item.bytes["stdout"]
                else:
                    assert item.offset == seen + lost
                    seen += len(item.data)
            assert seen + lost == size + 6
            assert lost >= size - 2 * MIB


async def test_requests_wait_while_the_node_is_away(node_url: str, socket_dir: Path) -> None:
    with anyio.fail_after(20):
        async with cutting_proxy(node_url, socket_dir) as proxy, connect(proxy.url) as node:
            proxy.shut()
            async with anyio.create_task_group() as tasks:
                for _ in range(5):
                    tasks.start_soon(node.run, ["true"])
                await anyio.wait_all_tasks_blocked()
                proxy.open()
            assert node.connected


async def test_a_terminal_survives_a_cut(node_url: str, socket_dir: Path) -> None:
    with anyio.fail_after(20):
        async with (
            cutting_proxy(node_url, socket_dir) as proxy,
            connect(proxy.url) as node,
            await node.start(["sh"], tty=True, extra_env={"PS1": "$ "}) as shell,
        ):
            seen = b""
            for number in range(10):
                await shell.write(b"echo $((%d + 1000))\n" % number)
                if number % 3 == 0:
                    proxy.cut()
                while b"%d\r\n" % (number + 1000) not in seen:
                    item = await shell.__anext__()
                    assert isinstance(item, Output)
                    seen += item.data
            await shell.write(b"exit 4\n")
            assert await shell.wait() == 4


async def test_a_node_that_died_takes_its_session_along(socket_dir: Path) -> None:
    with anyio.fail_after(20):
        with running_node("--listen", f"unix://{socket_dir}/n.sock") as url:
            leaving = connect(url, recovery=0.5)
            node = await leaving.__aenter__()
            process = await node.start(["sleep", "1000"])
        with pytest.raises(SessionLost, match="sleep 1000"):
            await process.wait()
        await leaving.__aexit__(None, None, None)


async def test_a_session_is_over_when_its_time_is(socket_dir: Path) -> None:
    with (
        anyio.fail_after(20),
        running_node("--listen", f"unix://{socket_dir}/n.sock", "--session-ttl", "0.2") as url,
    ):
        async with cutting_proxy(url, socket_dir) as proxy, connect(proxy.url) as node:
            process = await node.start(["sleep", "1000"])
            proxy.shut()
            assert process.pid is not None
            descriptor = os.pidfd_open(process.pid)
            await anyio.wait_readable(descriptor)
            os.close(descriptor)
            proxy.open()
            with pytest.raises(SessionLost, match="unknown session id"):
                await process.wait()


async def appears(path: Path) -> None:
    """Return when there is such a file; its coming is no event that could be awaited."""
    while not await anyio.Path(path).exists():  # noqa: ASYNC110
        await anyio.sleep(0.02)

"""Files and HTTP over a link that breaks; what is usual is tested for every environment."""

import random
import socket
from pathlib import Path

import anyio
import pytest

from execnode.client import AnswerLost, Changes, LinkLost, connect
from tests.client.proxy import cutting_proxy

pytestmark = pytest.mark.anyio

MIB = 1 << 20
DATA = random.Random(1).randbytes(12 * MIB + 3)


def cuts() -> list[int]:
    """After how many bytes from the node a connection is cut; some before it says anything."""
    rng = random.Random(5)
    return [rng.randrange(200, 4 * MIB) for _ in range(6)]


async def test_a_download_goes_on_where_the_link_broke(
    node_url: str, socket_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "there").write_bytes(DATA)
    with anyio.fail_after(40):
        async with (
            cutting_proxy(node_url, socket_dir, cuts()) as proxy,
            connect(proxy.url) as node,
        ):
            got = await node.files.download(tmp_path / "there", tmp_path / "here")
            assert (tmp_path / "here").read_bytes() == DATA
            assert got.bytes == len(DATA)
            assert proxy.connections > 3


@pytest.mark.parametrize("atomic", [False, True])
async def test_an_upload_goes_on_where_the_link_broke(
    node_url: str, socket_dir: Path, tmp_path: Path, atomic: bool
) -> None:
    (tmp_path / "here").write_bytes(DATA)
    with anyio.fail_after(40):
        async with cutting_proxy(node_url, socket_dir) as proxy, connect(proxy.url) as node:
            proxy.cut_after(120)  # some of the small answers to the blocks
            there = tmp_path / "there"
            await node.files.upload(tmp_path / "here", there, atomic=atomic)
            assert there.read_bytes() == DATA
            assert proxy.connections >= 2  # a resume may have to be tried again


async def test_a_watch_is_set_again_and_says_that_it_missed_something(
    node_url: str, socket_dir: Path, tmp_path: Path
) -> None:
    with anyio.fail_after(20):
        async with cutting_proxy(node_url, socket_dir) as proxy, connect(proxy.url) as node:
            async with node.files.watch(tmp_path) as watch:
                proxy.cut()
                assert await anext(watch) == Changes([], overflow=True)
                (tmp_path / "file").touch()
                changes = (await anext(watch)).changes
                assert (str(tmp_path / "file"), "created") in changes
            async with node.files.watch_missing([tmp_path / "no"]) as missing:
                assert missing is not None
                proxy.cut()
                await missing.wait()


async def test_what_must_not_be_made_twice_is_not_repeated(node_url: str, socket_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, anyio.fail_after(20):
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        async with cutting_proxy(node_url, socket_dir) as proxy, connect(proxy.url) as node:

            async def post() -> None:
                with pytest.raises(AnswerLost, match="http/request"):
                    await node.http.request("POST", url, body=b"x")

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(post)
                await anyio.wait_readable(silent)
                proxy.cut()


async def test_a_body_ends_with_its_link(node_url: str, socket_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, anyio.fail_after(20):
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        async with cutting_proxy(node_url, socket_dir) as proxy, connect(proxy.url) as node:

            async def serve() -> None:
                await anyio.wait_readable(server)
                site = server.accept()[0]
                sites.append(site)
                site.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")

            sites: list[socket.socket] = []
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(serve)
                async with node.http.stream("GET", url) as reply:
                    body = aiter(reply)
                    assert await anext(body) == b"half"
                    proxy.cut()
                    with pytest.raises(LinkLost, match="in the middle of a body"):
                        await anext(body)
            sites[0].close()

"""The client is tested under both event loops, against a real node where one can do the job."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.locate import bound


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@contextmanager
def running_node(*options: str) -> Iterator[str]:
    """`execnode serve` with these options; gives the URL that it printed."""
    with running_nodes(1, *options) as urls:
        yield urls[0]


@contextmanager
def running_nodes(count: int, *options: str) -> Iterator[list[str]]:
    """`execnode serve` with these options; gives the so many URLs that it printed."""
    command = bound("serve", *options)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            urls = [server.stdout.readline().strip() for _ in range(count)]
            assert all(urls), "the node did not start"
            yield urls
        finally:
            server.kill()


@pytest.fixture(scope="session")
def node_url() -> Iterator[str]:
    """A node that many tests share, on a Unix socket in a private folder."""
    folder = Path(tempfile.mkdtemp(prefix="xn-"))
    try:
        with running_node("--listen", f"unix://{folder}/node.sock") as url:
            yield url
    finally:
        shutil.rmtree(folder, ignore_errors=True)

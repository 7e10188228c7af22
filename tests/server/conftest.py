"""Real nodes for the tests of the server."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.server.running import NodeProcess, NodeSettings
from tests.server.wire import Wire


@pytest.fixture(scope="session")
def shared_node() -> Iterator[NodeProcess]:
    folder = Path(tempfile.mkdtemp(prefix="xn-"))
    try:
        with NodeProcess(folder) as node:
            yield node
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def node(shared_node: NodeProcess) -> Iterator[NodeProcess]:
    """A node with default settings that many tests share; nothing may go wrong in it."""
    yield shared_node
    shared_node.check()


@pytest.fixture
def wire(node: NodeProcess) -> Iterator[Wire]:
    """A connection to the shared node, in a session of its own that ends with it."""
    with node.connect(sessionTtlMs=0) as wire:
        yield wire


Launch = Callable[..., NodeProcess]


@pytest.fixture
def launch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launch]:
    """Start nodes with settings of their own; see NodeProcess."""
    with ExitStack() as stack:

        def start(settings: NodeSettings | None = None, *urls: str, **options: Any) -> NodeProcess:
            folder = Path(tempfile.mkdtemp(prefix="xn-"))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            return stack.enter_context(NodeProcess(folder, settings, *urls, **options))

        yield start

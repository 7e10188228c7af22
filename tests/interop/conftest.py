"""A server under test, and the Codex CLI that is told to use it."""

import os
from collections.abc import Iterator

import pytest

from tests.interop import programs
from tests.interop.cli import Codex
from tests.interop.cut import Link, link
from tests.interop.scratch import Scratch, scratch

# The sandbox modes of the CLI in which every conversation is held that a mode does not change.
SANDBOXES = os.environ.get("EXECNODE_INTEROP_SANDBOX", "danger-full-access workspace-write").split()


@pytest.fixture
def folders() -> Iterator[Scratch]:
    with scratch() as folders:
        yield folders


@pytest.fixture
def server_url(folders: Scratch) -> Iterator[str]:
    command = programs.server_command(programs.SERVER, "ws://127.0.0.1:0")
    log = folders.root / "log"
    with programs.listening(command, folders.work, folders.environment({}), log) as url:
        yield url


@pytest.fixture(params=SANDBOXES)
def codex(folders: Scratch, server_url: str, request: pytest.FixtureRequest) -> Codex:
    return Codex(folders, server_url, sandbox=request.param)


@pytest.fixture
def weak_link(server_url: str) -> Iterator[Link]:
    with link(server_url) as between:
        yield between

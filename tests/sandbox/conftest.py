"""A world for each user that a sandbox may run as."""

import os
from collections.abc import Iterator

import pytest

from tests.sandbox.world import NOBODY, World


def uid_of(name: str) -> int:
    if name == "nobody" and os.geteuid() == 0:
        return NOBODY
    if name == "root" and os.geteuid() != 0:
        pytest.skip("only root may be root")
    return os.geteuid()


@pytest.fixture(params=["root", "nobody"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    with World(uid_of(request.param)) as world:
        yield world


@pytest.fixture(scope="module", params=["root", "nobody"])
def populated(request: pytest.FixtureRequest) -> Iterator[World]:
    """One with a process, sockets and more that might be reached, for all tests of a module."""
    with World(uid_of(request.param)) as world:
        world.facts = world.populate()
        yield world


@pytest.fixture
def fresh(populated: World) -> World:
    """The world with its workspace as it was, and somebody to be hurt."""
    world = populated
    for entry in world.workspace.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            world.remove(entry)
        else:
            entry.unlink()
    world.make("ws/.git/config", "as it was")
    world.make("ws/secret", "hidden")
    world.make("ws/hidden/file", "hidden")
    world.make("ws/deep/down/kept", "as it was")
    return world

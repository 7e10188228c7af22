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

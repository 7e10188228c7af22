import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.policy.worlds import World

NOBODY = 65534


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def unprivileged_world() -> Iterator[World]:
    """A world of somebody from whom permissions can be taken; this process is that somebody."""
    folder = Path(tempfile.mkdtemp())
    root = os.geteuid() == 0
    if root:
        os.chown(folder, NOBODY, NOBODY)
        os.seteuid(NOBODY)
    try:
        yield World(folder)
    finally:
        if root:
            os.seteuid(0)
        for each, _, _ in os.walk(folder):
            Path(each).chmod(0o700)
        shutil.rmtree(folder)

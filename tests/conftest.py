"""What every test of the suite may use."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# Examples drive real processes and sockets, whose time depends on the machine's load.
settings.register_profile("execnode", deadline=None)
settings.load_profile("execnode")


@pytest.fixture
def socket_dir() -> Iterator[Path]:
    """A private folder with a short path: a Unix socket's path has at most 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="xn-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)

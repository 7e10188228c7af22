"""What every test of the documents may use."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.serving import serving


@pytest.fixture
def node_url(socket_dir: Path) -> Iterator[str]:
    with serving(socket_dir) as url:
        yield url

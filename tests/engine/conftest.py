"""An engine for a test."""

from collections.abc import Iterator

import pytest

from tests.engine.pump import Pump, opened


@pytest.fixture
def pump() -> Iterator[Pump]:
    """Give an engine of its own, driven by hand."""
    with opened() as pump:
        yield pump

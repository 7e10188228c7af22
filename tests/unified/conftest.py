"""One suite for an environment here and for one behind a node, under both event loops."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.environment.everywhere.places import Open, places

SETTINGS = [("asyncio", "local"), ("trio", "local"), ("asyncio", "unix-cbor"), ("trio", "ws-json")]


@pytest.fixture(params=SETTINGS, ids="-".join)
def setting(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def anyio_backend(setting: tuple[str, str]) -> str:
    return setting[0]


@pytest.fixture(scope="session")
def all_places() -> Iterator[Any]:
    with places() as place:
        yield place


@pytest.fixture
def place(setting: tuple[str, str], all_places: Any) -> Open:
    """Opens an environment; a test must not be able to tell which."""
    opened: Open = all_places(setting[1])
    return opened

"""One suite for every place where an environment may be, under both event loops."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.environment.everywhere.places import PLACES, Open, places

# Both loops where most of the code is met, one of them elsewhere.
SETTINGS = [("asyncio", place) for place in ("local", "ws-json", "tcp-cbor", "stdio-json")]
SETTINGS += [("trio", place) for place in PLACES if place not in ("tcp-cbor", "stdio-json")]


@pytest.fixture(params=SETTINGS, ids="-".join)
def setting(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def anyio_backend(setting: tuple[str, str]) -> str:
    return setting[0]


@pytest.fixture(scope="session")
def all_places() -> Iterator[Callable[[str], Open]]:
    with places() as place:
        yield place


@pytest.fixture
def place(setting: tuple[str, str], all_places: Callable[[str], Open]) -> Open:
    """Opens an environment; a test must not be able to tell which."""
    return all_places(setting[1])

"""The command as people and scripts meet it: real processes, real pipes, real terminals."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.cli.programs import Person, Program, RunningNode


@pytest.fixture(scope="session")
def node() -> Iterator[RunningNode]:
    """A node on a Unix socket, which many tests share."""
    folder = Path(tempfile.mkdtemp(prefix="xn-"))
    try:
        with RunningNode("--listen", f"unix://{folder}/node.sock") as running:
            yield running
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What is entered here is left when the test is over."""
    with ExitStack() as entered:
        yield entered


@pytest.fixture
def program(stack: ExitStack) -> type[Program]:
    """`Program`, whose instances end with the test."""

    class Bound(Program):
        def __init__(self, *args: str, **options: object) -> None:
            super().__init__(*args, **options)  # type: ignore[arg-type]
            stack.enter_context(self)

    return Bound


@pytest.fixture
def person(stack: ExitStack) -> type[Person]:
    """`Person`, whose instances end with the test."""

    class Bound(Person):
        def __init__(self, *args: str, **options: object) -> None:
            super().__init__(*args, **options)  # type: ignore[arg-type]
            stack.enter_context(self)

    return Bound

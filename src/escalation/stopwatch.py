"""A limit on the time that a command takes, which does not count the time that a person takes."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import anyio

__all__ = ["Stopwatch"]


class Stopwatch:
    """Runs from `with` on, stands still while it is paused, and cancels the block at its limit.

    limit: seconds that the block may take, without its pauses; None is no limit.

        with Stopwatch(10) as stopwatch:
            await command()  # others, meanwhile: with stopwatch.paused(): await question()
        if stopwatch.expired: ...
    """

    def __init__(self, limit: float | None = None) -> None:
        self.limit = math.inf if limit is None else limit
        self._scope = anyio.CancelScope()
        self._before = 0.0  # seconds counted until it last stood still
        self._since: float | None = None  # when it began to run again
        self._pauses = 0
        self._ended = False

    def __enter__(self) -> Self:
        self._scope.__enter__()
        self._resume()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        self._stop()
        self._ended = True
        return self._scope.__exit__(exc_type, exc, traceback)

    @property
    def elapsed(self) -> float:
        """Seconds that count."""
        running = 0.0 if self._since is None else anyio.current_time() - self._since
        return self._before + running

    @property
    def expired(self) -> bool:
        """Whether the block was cut off at the limit."""
        return self._scope.cancelled_caught

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let it stand still; of several at once it waits for the last."""
        self._pauses += 1
        self._stop()
        try:
            yield
        finally:
            self._pauses -= 1
            self._resume()

    def _stop(self) -> None:
        self._before = self.elapsed
        self._since = None
        self._scope.deadline = math.inf

    def _resume(self) -> None:
        if self._pauses or self._ended:
            return
        self._since = anyio.current_time()
        self._scope.deadline = self._since + self.limit - self._before

"""Where what blocks is done: in threads, never on the event loop."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import anyio
from anyio.to_thread import run_sync

from execnode.protocol.errors import INTERNAL_ERROR, RpcError, file_error

__all__ = ["Failure", "Stop", "Stopped", "Worker", "answered"]

_T = TypeVar("_T")


class Stop:
    """Tells a thread that nobody waits for its result any more."""

    def __init__(self) -> None:
        self._asked = threading.Event()

    def ask(self) -> None:
        """Have the thread stop when it next looks."""
        self._asked.set()

    @property
    def asked(self) -> bool:
        """Whether it was asked."""
        return self._asked.is_set()

    def check(self) -> None:
        """Raise Stopped once it was asked."""
        if self.asked:
            raise Stopped


class Stopped(Exception):
    """The end of a thread's work that is not wanted any more; nobody sees it."""


class Failure(RpcError):
    """What went wrong while it was done, rather than was refused before; it ends a handle."""


@contextmanager
def answered() -> Iterator[None]:
    """Turn a system error into the answer that the dialect has for it."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise Failure(INTERNAL_ERROR, str(error)) from None
        answer = file_error(error.errno)
        raise Failure(answer.code, answer.message) from None


class Worker:
    """Threads that do the work of the service.

    A cancelled caller does not wait for its thread. What only looks is told to stop; what changes
    something is brought to its end, as it would be had the answer been lost.
    """

    def __init__(self, threads: int) -> None:
        self._limiter = anyio.CapacityLimiter(threads)

    async def change(self, work: Callable[..., _T], *args: object) -> _T:
        """Do something to its end. Raises RpcError for what the system refuses."""
        with answered():
            return await run_sync(work, *args, abandon_on_cancel=True, limiter=self._limiter)

    async def look(self, work: Callable[..., _T], *args: object) -> _T:
        """Do `work(stop, *args)`, where `stop` says that nobody waits for it any more."""
        stop = Stop()
        try:
            return await self.change(work, stop, *args)
        finally:
            stop.ask()

"""Where what blocks is done: never on the event loop."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import copy
from typing import Protocol, TypeVar

import anyio
from anyio.to_thread import run_sync

from execnode.environment.local.files.work import Stop, answered
from execnode.protocol.sandbox import SandboxReport

__all__ = ["Hands", "Worker"]

_T = TypeVar("_T")


class Hands(Protocol):
    """Whoever does the work: a plain function of plain arguments, here or in a sandbox.

    A cancelled caller does not wait. What only looks is told to stop; what changes something is
    brought to its end, as it would be had the answer been lost. All raise RpcError for what the
    system refuses.

    Descriptors that are arguments stay the caller's; those of a result become the caller's, and are
    closed when nobody takes it.

    report: how the sandbox is enforced in which it is done, from the first that was done; None
    without a sandbox.
    """

    report: SandboxReport | None

    async def change(self, work: Callable[..., _T], *args: object) -> _T:
        """Do something to its end."""

    async def look(self, work: Callable[..., _T], *args: object) -> _T:
        """Do `work(stop, *args)`, where `stop` says that nobody waits for it any more."""

    async def keep(self, work: Callable[..., _T], *args: object) -> _T:
        """As `look`, for what may take as long as a client likes: it takes no other's turn."""


class Worker:
    """Threads of this process, of which so many work at the same time."""

    def __init__(self, threads: int) -> None:
        self.report: SandboxReport | None = None
        self._limiter = anyio.CapacityLimiter(threads)
        self._unlimited = anyio.CapacityLimiter(math.inf)

    def reporting(self, report: SandboxReport) -> Worker:
        """The same, for a sandbox that needs no other."""
        other = copy(self)
        other.report = report
        return other

    async def change(self, work: Callable[..., _T], *args: object) -> _T:
        """See Hands."""
        return await self._do(self._limiter, work, *args)

    async def look(self, work: Callable[..., _T], *args: object) -> _T:
        """See Hands."""
        stop = Stop()
        try:
            return await self._do(self._limiter, work, stop, *args)
        finally:
            stop.ask()

    async def keep(self, work: Callable[..., _T], *args: object) -> _T:
        """See Hands."""
        stop = Stop()
        try:
            return await self._do(self._unlimited, work, stop, *args)
        finally:
            stop.ask()

    async def _do(
        self, limiter: anyio.CapacityLimiter, work: Callable[..., _T], *args: object
    ) -> _T:
        with answered():
            return await run_sync(work, *args, abandon_on_cancel=True, limiter=limiter)

"""Several requests under way at once, their results in order."""

from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from typing import Generic, TypeVar

import anyio

from .tasks import background

__all__ = ["BLOCK", "in_order"]

BLOCK = 1 << 20
"""Bytes of one fs/readBlock or fs/writeBlock: the most that a node takes."""

_DEPTH = 4

Job = TypeVar("Job")
Result = TypeVar("Result")


class _Slot(Generic[Result]):
    """A request and what became of it."""

    def __init__(self) -> None:
        self.over = anyio.Event()
        self.results: list[Result] = []
        self.failure: Exception | None = None


async def in_order(
    jobs: Iterator[Job],
    do: Callable[[Job], Awaitable[Result]],
    take: Callable[[Result], Awaitable[bool]],
) -> None:
    """Do jobs, four at a time, and take their results in the order of the jobs.

    `take` returns whether it wants more; jobs that were begun beyond that are given up. An
    exception of `do` is raised when its turn comes.
    """
    slots: deque[_Slot[Result]] = deque()
    async with background() as tasks:

        async def work(job: Job, slot: _Slot[Result]) -> None:
            try:
                slot.results.append(await do(job))
            except Exception as exc:
                slot.failure = exc
            slot.over.set()

        def begin() -> None:
            for job in jobs:
                slot = _Slot[Result]()
                slots.append(slot)
                tasks.start_soon(work, job, slot)
                if len(slots) >= _DEPTH:
                    return

        begin()
        while slots:
            slot = slots.popleft()
            await slot.over.wait()
            if slot.failure is not None:
                raise slot.failure
            if not await take(slot.results[0]):
                return
            begin()

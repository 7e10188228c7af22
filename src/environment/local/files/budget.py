"""Turns for what takes much memory."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

__all__ = ["Budget"]


class Budget:
    """`limit` bytes that are lent to whoever comes first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._left = limit
        self._queue: deque[tuple[int, anyio.Event]] = deque()

    @asynccontextmanager
    async def take(self, amount: int) -> AsyncIterator[None]:
        """Wait until there is room for this much; more than there ever is counts as all of it."""
        amount = min(amount, self._limit)
        if self._queue or amount > self._left:
            await self._wait(amount)
        else:
            self._left -= amount
        try:
            yield
        finally:
            self._left += amount
            self._admit()

    async def _wait(self, amount: int) -> None:
        turn = (amount, anyio.Event())
        self._queue.append(turn)
        try:
            await turn[1].wait()
        except BaseException:
            if turn[1].is_set():
                self._left += amount
            else:
                self._queue.remove(turn)
            self._admit()
            raise

    def _admit(self) -> None:
        while self._queue and self._queue[0][0] <= self._left:
            amount, turn = self._queue.popleft()
            self._left -= amount
            turn.set()

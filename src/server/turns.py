"""Turns: which requests of one connection wait for which others.

Most requests wait for nobody. Those about files are answered as if one were done after the other,
since a client may send a write and a read of the same file in one breath: what only looks may run
beside other looks, what changes something runs alone, and nobody overtakes a change.
"""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine
from enum import Enum, auto

import trio

__all__ = ["Turn", "Turns"]


class Turn(Enum):
    """What a request has to wait for."""

    NONE = auto()
    LOOK = auto()
    CHANGE = auto()


class Turns:
    """The requests of one connection that take turns, in the order in which they came."""

    def __init__(self) -> None:
        self._looks: set[trio.Event] = set()  # since the last change
        self._change: trio.Event | None = None  # the last one

    def take(self, turn: Turn, result: object) -> object:
        """Return what a handler returned, an awaitable behind those that it has to wait for."""
        if turn is Turn.NONE or not isinstance(result, Awaitable):
            return result
        done = trio.Event()
        before = [self._change] if self._change is not None else []
        if turn is Turn.LOOK:
            self._looks.add(done)
        else:
            before += self._looks
            self._looks = set()
            self._change = done
        return self._in_turn(result, before, done)

    async def _in_turn(
        self, result: Awaitable[object], before: list[trio.Event], done: trio.Event
    ) -> object:
        try:
            try:
                for event in before:
                    await event.wait()
            except trio.Cancelled:
                if isinstance(result, Coroutine):
                    result.close()  # it will not be begun any more
                raise
            return await result
        finally:
            done.set()
            self._looks.discard(done)
            if self._change is done:
                self._change = None

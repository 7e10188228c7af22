"""The engine inside an event loop: its epoll descriptor is the one thing waited for."""

import logging
import select
import time
from collections.abc import Callable
from typing import Any, Protocol

import anyio
from anyio.lowlevel import checkpoint

from execnode.engine import Engine

__all__ = ["EventSink", "drive", "pump"]

_logger = logging.getLogger(__name__)

# Seconds of uninterrupted work after which other tasks get a turn.
_TURN = 0.002


class EventSink(Protocol):
    """The owner of a Channel or Process: takes its events (see Engine.poll), never waits."""

    def dispatch(self, event: tuple[Any, ...]) -> None:
        """Act on one event. An exception is logged and concerns nobody else."""


async def pump(engine: Engine, *, when_idle: Callable[[], None]) -> None:
    """Drive the engine until cancelled. There is one pump for each engine.

    when_idle: called when all that could be done is done and sent, for what nobody waits for.
    """
    descriptor = engine.fileno()
    turn_ends = time.monotonic() + _TURN
    while True:
        events = engine.poll()
        for event in events:
            owner: EventSink | None = event[1].owner
            if owner is None:
                continue  # closed by an event before this one
            try:
                owner.dispatch(event)
            except Exception:
                _logger.exception("an event of the engine could not be handled")
        if events or engine.busy:
            if time.monotonic() < turn_ends:
                continue
            await checkpoint()
        else:
            when_idle()
            engine.waited_for = True
            await anyio.wait_readable(descriptor)
            engine.waited_for = False
        turn_ends = time.monotonic() + _TURN


def drive(engine: Engine, done: Callable[[], bool], patience: float) -> None:
    """Drive the engine where no pump does, until something is so or `patience` seconds are over.

    Blocks. The events are lost.
    """
    deadline = time.monotonic() + patience
    poll = select.poll()
    poll.register(engine.fileno(), select.POLLIN)
    while not done() and (left := deadline - time.monotonic()) > 0:
        if not engine.poll() and not engine.busy:
            poll.poll(left * 1000)

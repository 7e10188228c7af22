"""What each client has begun, and that it ends with the client."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, Self

import anyio
from mcp.server.session import ServerSession
from mcp.types import CallToolResult

from execnode.client.tasks import Background, background
from execnode.environment.services import Environment
from execnode.mcp.calls import Call
from execnode.mcp.commands import Commands
from execnode.mcp.questions import Desk
from execnode.mcp.settings import Settings
from execnode.unified import UnifiedExec

__all__ = ["Room", "Rooms"]

# Seconds for which a call waits for a client that has its questions, and how many do at most.
_PATIENCE: Final = 3600.0
_WAITING_MAX: Final = 256


class Room:
    """The commands and the calls of one client."""

    def __init__(self, commands: Commands, tasks: Background) -> None:
        self.commands = commands
        self._tasks = tasks
        self._waiting: dict[str, _Waiting] = {}

    @classmethod
    @asynccontextmanager
    async def open(cls, environment: Environment, settings: Settings) -> AsyncIterator[Self]:
        """A room until the context is left, which ends what was begun in it."""
        async with UnifiedExec(environment) as unified, background() as tasks:
            yield cls(Commands(environment, settings, unified), tasks)

    def begin(self, desk: Desk, work: Callable[[], Awaitable[CallToolResult]]) -> Call:
        """Start to work on a call. Raises ClosedResourceError when the client is gone."""
        self._check_open()
        call = Call(desk)
        self._tasks.start_soon(call.run, work)
        return call

    def put_off(self, call: Call) -> str:
        """Keep a call whose client has its questions now; gives the words to ask for it.

        Raises ClosedResourceError.
        """
        self._check_open()
        if len(self._waiting) >= _WAITING_MAX:
            next(iter(self._waiting.values())).over.set()
        state = secrets.token_urlsafe()
        waiting = self._waiting[state] = _Waiting(call)
        self._tasks.start_soon(self._expire, state, waiting)
        return state

    def resume(self, state: str) -> Call | None:
        """A call that was put off; None if there is none (any more)."""
        waiting = self._waiting.pop(state, None)
        if waiting is None:
            return None
        waiting.resumed = True
        waiting.over.set()
        return waiting.call

    def _check_open(self) -> None:
        if self._tasks.over:
            raise anyio.ClosedResourceError

    async def _expire(self, state: str, waiting: _Waiting) -> None:
        with anyio.move_on_after(_PATIENCE):
            await waiting.over.wait()
        if not waiting.resumed:
            self._waiting.pop(state, None)
            await waiting.call.end()


class _Waiting:
    def __init__(self, call: Call) -> None:
        self.call = call
        self.resumed = False
        self.over = anyio.Event()


class Rooms:
    """A room for each client that can be told apart, and one for all others.

    Those are told apart that have a session over HTTP. Since 2026-07-28 there are no sessions, so
    such clients share a room, as the only client on standard input and output has it to itself.
    """

    def __init__(
        self, environment: Environment, settings: Settings, tasks: Background, shared: Room
    ) -> None:
        self.settings = settings
        self._environment = environment
        self._tasks = tasks
        self._shared = shared
        self._let: dict[str, _Let] = {}

    @classmethod
    @asynccontextmanager
    async def open(cls, environment: Environment, settings: Settings) -> AsyncIterator[Self]:
        """Rooms until the context is left."""
        async with background() as tasks, Room.open(environment, settings) as shared:
            yield cls(environment, settings, tasks, shared)

    async def of(self, session: ServerSession) -> Room:
        """The room of a request's client."""
        # The SDK keeps the connection to itself, but only there it says when a client has gone.
        connection = session._connection
        name = connection.session_id
        if name is None:
            return self._shared
        let = self._let.get(name)
        if let is None:
            let = self._let[name] = _Let()
            connection.exit_stack.push_async_callback(self._leave, name)
            self._tasks.start_soon(let.keep, self._environment, self.settings)
        await let.opened.wait()
        return let.room

    async def _leave(self, name: str) -> None:
        let = self._let.pop(name)
        let.over.set()
        await let.closed.wait()


class _Let:
    """A room that is open until its client has gone."""

    room: Room

    def __init__(self) -> None:
        self.opened = anyio.Event()
        self.over = anyio.Event()
        self.closed = anyio.Event()

    async def keep(self, environment: Environment, settings: Settings) -> None:
        try:
            async with Room.open(environment, settings) as self.room:
                self.opened.set()
                await self.over.wait()
        finally:
            self.closed.set()

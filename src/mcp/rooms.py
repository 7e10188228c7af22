"""What each client has begun, and that it ends with the client."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
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

__all__ = ["Room", "Rooms"]

# Seconds for which a call waits for a client that has its questions, and how many do at most.
_PATIENCE: Final = 3600.0
_WAITING_MAX: Final = 256


class Room:
    """The commands and the calls of one client, which end when the context is left."""

    def __init__(self, environment: Environment, settings: Settings) -> None:
        self.commands = Commands(environment, settings)
        self._context = AsyncExitStack()
        self._tasks: Background | None = None
        self._waiting: dict[str, _Waiting] = {}

    async def __aenter__(self) -> Self:
        await self._context.enter_async_context(self.commands)
        self._tasks = await self._context.enter_async_context(background())
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._tasks = None
        await self._context.__aexit__(exc_type, exc, traceback)

    def begin(self, desk: Desk, work: Callable[[], Awaitable[CallToolResult]]) -> Call:
        """Start to work on a call. Raises ClosedResourceError when the client is gone."""
        if self._tasks is None:
            raise anyio.ClosedResourceError
        call = Call(desk)
        self._tasks.start_soon(call.run, work)
        return call

    def put_off(self, call: Call) -> str:
        """Keep a call whose client has its questions now; gives the words to ask for it."""
        if self._tasks is None:
            raise anyio.ClosedResourceError
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
        async with background() as tasks, Room(environment, settings) as shared:
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
            let = self._let[name] = _Let(Room(self._environment, self.settings))
            connection.exit_stack.push_async_callback(self._leave, name)
            self._tasks.start_soon(let.keep)
        await let.opened.wait()
        return let.room

    async def _leave(self, name: str) -> None:
        let = self._let.pop(name)
        let.over.set()
        await let.closed.wait()


class _Let:
    """A room that is open until its client has gone."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.opened = anyio.Event()
        self.over = anyio.Event()
        self.closed = anyio.Event()

    async def keep(self) -> None:
        try:
            async with self.room:
                self.opened.set()
                await self.over.wait()
        finally:
            self.closed.set()

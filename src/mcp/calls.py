"""A tool call from its beginning to its result, which may take several requests.

Protocols up to 2025-11-25 let a server ask the client while a request is open. Since 2026-07-28 the
request is answered with the questions, and the client sends it again with the answers; the command
goes on, or stands still, between the two.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from enum import Enum, auto
from typing import Any, Final, TypeAlias

import anyio
from anyio.abc import TaskGroup
from mcp.server.session import ServerSession
from mcp.shared.exceptions import MCPError
from mcp.types import CallToolResult, TextContent
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError

from execnode.mcp.questions import Answer, Desk

__all__ = ["NOTHING_TO_FILL_IN", "Call", "Way", "failed", "way_of"]

_logger = logging.getLogger(__name__)

_Work: TypeAlias = Callable[[], Awaitable[CallToolResult]]

NOTHING_TO_FILL_IN: Final[Mapping[str, Any]] = {"type": "object", "properties": {}}
"""The form of a question that is only accepted, declined or cancelled."""
# Seconds between two notifications of progress: often enough for whoever waits at most 10 s.
_PROGRESS: Final = 2.0


class Way(Enum):
    """How a client is asked."""

    REQUEST = auto()
    """By a request of ours, while its own is open."""
    REPLY = auto()
    """By the reply to its request, which it sends again with the answers."""
    NONE = auto()


def way_of(session: ServerSession) -> Way:
    """How the client of a request is asked."""
    declared = session.client_capabilities
    asked = declared.elicitation if declared is not None else None
    if asked is None or (asked.form is None and asked.url is not None):
        return Way.NONE
    if session.protocol_version in MODERN_PROTOCOL_VERSIONS:
        return Way.REPLY
    return Way.REQUEST if session.can_send_request else Way.NONE


class Call:
    """A tool call. `run` does it, in a task that outlives requests; `attend` is done by each."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.result: CallToolResult | None = None
        self._scope = anyio.CancelScope()
        self._done = anyio.Event()

    async def run(self, work: _Work) -> None:
        """Do the work. Does not raise."""
        try:
            with self._scope:
                self.result = await work()
        except Exception as error:
            _logger.exception("a tool call failed")
            self.result = failed(f"The call failed: {type(error).__name__}")
        finally:
            if self.result is None:
                self.result = failed("The call was ended.")
            self._done.set()
            self.desk.wake()

    async def end(self) -> None:
        """End the work and what it has begun."""
        self._scope.cancel()
        with anyio.CancelScope(shield=True):
            await self._done.wait()

    async def attend(
        self,
        session: ServerSession,
        request_id: str | int | None,
        way: Way,
        nobody: Answer,
    ) -> CallToolResult | None:
        """Be there for a request, until there is a result; None if only the client can go on.

        nobody: the answer where the client cannot be asked. Cancelled, it ends the call.
        """
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_report_progress, self.desk, session)
                await self._settle(tasks, session, request_id, way, nobody)
                tasks.cancel_scope.cancel()
        except anyio.get_cancelled_exc_class():
            await self.end()
            raise
        return self.result

    async def _settle(
        self,
        tasks: TaskGroup,
        session: ServerSession,
        request_id: str | int | None,
        way: Way,
        nobody: Answer,
    ) -> None:
        while not self._done.is_set():
            if way is Way.REPLY and self.desk.questions:
                return
            for key in list(self.desk.questions):
                if way is Way.NONE:
                    self.desk.answer(key, nobody)
                elif text := self.desk.claim(key):
                    tasks.start_soon(_ask, self.desk, session, request_id, key, text)
            if not self._done.is_set():
                await self.desk.changed()


async def _ask(
    desk: Desk, session: ServerSession, request_id: str | int | None, key: str, text: str
) -> None:
    try:
        reply = await session.elicit_form(text, dict(NOTHING_TO_FILL_IN), request_id)
        answer = Answer(reply.action)
    except (MCPError, ValidationError) as error:
        _logger.warning("the client could not ask: %s", error)
        answer = Answer.NOBODY
    finally:
        desk.release(key)
    desk.answer(key, answer)


async def _report_progress(desk: Desk, session: ServerSession) -> None:
    """Tell the client that there is something to wait for, if it wants to know."""
    began = anyio.current_time()
    while True:
        await anyio.sleep(_PROGRESS)
        seconds = round(anyio.current_time() - began, 1)
        doing = "waiting for an answer" if desk.questions else "running"
        await session.report_progress(seconds, message=f"{doing}, {seconds:.0f} s")


def failed(text: str) -> CallToolResult:
    """A call that has not come to anything."""
    return CallToolResult(content=[TextContent(text=text)], is_error=True)

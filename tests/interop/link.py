"""Connections of a player to a server: over WebSocket, and over a child's standard streams."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Protocol

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.interop.scenario import Json

Note = Callable[[Json], None]
# Bytes of a line on standard output.
_LONGEST_LINE: Final = 1 << 28


class Wire(Protocol):
    """Takes and gives whole JSON texts."""

    async def send(self, text: str) -> None:
        """Send one; what the server does not take any more is lost."""

    async def receive(self) -> str | None:
        """The next one; None when there will be no more."""

    async def close(self) -> None:
        """End politely."""

    def abort(self) -> None:
        """Drop it."""

    @property
    def close_code(self) -> int | None:
        """How the WebSocket ended; None when there is none."""


class WebSocketWire:
    """A WebSocket that adds nothing of its own: no pings, no compression."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    @classmethod
    async def to(cls, url: str, headers: dict[str, str]) -> WebSocketWire:
        """Connect, with headers of the scenario's."""
        return cls(
            await connect(
                url,
                additional_headers=headers,
                user_agent_header=None,
                compression=None,
                ping_interval=None,
                max_size=None,
                proxy=None,
            )
        )

    async def send(self, text: str) -> None:
        try:
            await self._socket.send(text)
        except ConnectionClosed:
            await asyncio.sleep(0)

    async def receive(self) -> str | None:
        try:
            return await self._socket.recv(decode=True)
        except ConnectionClosed:
            return None

    async def close(self) -> None:
        await self._socket.close()

    def abort(self) -> None:
        self._socket.transport.abort()

    @property
    def close_code(self) -> int | None:
        code = self._socket.close_code
        return None if code is None else int(code)


class StdioWire:
    """Lines on the standard input and output of a server that is our child."""

    close_code = None

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._stdin = process.stdin
        self._stdout = process.stdout

    @classmethod
    async def to(cls, command: list[str], **options: Any) -> StdioWire:
        """Start the server; options as in subprocess."""
        pipe = asyncio.subprocess.PIPE
        options |= {"stdin": pipe, "stdout": pipe, "limit": _LONGEST_LINE}
        return cls(await asyncio.create_subprocess_exec(*command, **options))

    async def send(self, text: str) -> None:
        self._stdin.write(f"{text}\n".encode())
        try:
            await self._stdin.drain()
        except ConnectionError:
            await asyncio.sleep(0)

    async def receive(self) -> str | None:
        line = await self._stdout.readline()
        return line.decode() if line else None

    async def close(self) -> None:
        self._stdin.close()

    def abort(self) -> None:
        if self._process.returncode is None:
            self._process.kill()

    async def exit_code(self, within: float) -> int | str:
        """How the server exits once its input has ended, in so many seconds."""
        self._stdin.close()
        try:
            return await asyncio.wait_for(self._process.wait(), within)
        except TimeoutError:
            return "still running"


class Link:
    """One connection of a scenario: what came over it, and waiting for more.

    Args:
        note: is told every line of the transcript.
        translate: makes a received message speak of the neutral folders.
    """

    def __init__(self, wire: Wire, note: Note, translate: Callable[[Any], Any]) -> None:
        self.wire = wire
        self.messages: list[Json] = []
        self.ended = False
        self._note = note
        self._translate = translate
        self._news = asyncio.Event()
        self._output: dict[str, bytes] = {}
        self._started: dict[str, bool] = {}

    async def listen(self) -> None:
        """Take what comes until the connection ends."""
        while (text := await self.wire.receive()) is not None:
            message = self._translate(json.loads(text))
            self._note({"dir": "s2c", "msg": message})
            self.messages.append(message)
            if message.get("method") == "process/output":
                params = message["params"]
                chunk = base64.b64decode(params["chunk"])
                name = params["processId"]
                self._output[name] = self._output.get(name, b"") + chunk
            self._news.set()
        if not self.ended:
            self.ended = True
            end = {"event": "closed", "by": "server", "code": self.wire.close_code}
            self._note({"dir": "event", **end})
        self._news.set()

    def answers(self, request_id: Any) -> list[Json]:
        """The answers to requests of an id."""
        return [m for m in self.messages if "method" not in m and m.get("id") == request_id]

    def told(self, method: str, process: str | None = None) -> list[Json]:
        """The notifications of a method, or those of one process."""
        found = [m for m in self.messages if m.get("method") == method]
        return [m for m in found if process in (None, m["params"].get("processId"))]

    def started(self, process: str, answer: Json) -> None:
        """Take notice of the answer to a process/start."""
        self._started[process] = self._started.get(process, False) or "result" in answer

    def refused(self, process: str) -> bool:
        """Whether no start of a process has succeeded, so that nothing will be told of it."""
        return self._started.get(process) is False

    def output(self, process: str) -> bytes:
        """What a process wrote, in the order of arrival."""
        return self._output.get(process, b"")

    async def until(self, condition: Callable[[], object], seconds: float, what: Json) -> None:
        """Wait for something; that it does not come to pass is noted, not raised."""
        deadline = time.monotonic() + seconds
        while not condition():
            left = deadline - time.monotonic()
            if left <= 0 or self.ended:
                why = "gone" if self.ended else "timeout"
                self._note({"dir": "event", "event": why, "wait": what})
                return
            self._news.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), left)

"""The SDK's own client, connected to `execnode mcp`, and the person behind it."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import anyio
from mcp import Client, StdioServerParameters
from mcp.client import ClientRequestContext
from mcp.types import CallToolResult, ElicitRequestParams, ElicitResult, TextContent

from tests.cli.programs import Program
from tests.locate import ROOT

__all__ = ["Person", "Setting", "connected", "names", "shell", "text"]

Action = Literal["accept", "decline", "cancel"]
Setting = tuple[str, str]
"""The transport, `stdio` or `http`, and the client's mode: `legacy` is protocol 2025-11-25, whose
servers ask by requests of their own; `auto` is 2026-07-28, whose servers ask in their replies."""


class Person:
    """Answers all questions alike, `takes` seconds after each, or when `may_answer` is set."""

    def __init__(self, action: Action, takes: float = 0) -> None:
        self.action: Action = action
        self.takes = takes
        self.asked: list[str] = []
        self.may_answer = anyio.Event()
        if takes >= 0:
            self.may_answer.set()
        self.awaited = anyio.Event()

    async def answer(
        self, context: ClientRequestContext, params: ElicitRequestParams
    ) -> ElicitResult:
        self.asked.append(params.message)
        self.awaited.set()
        await anyio.sleep(max(0, self.takes))
        await self.may_answer.wait()
        return ElicitResult(action=self.action)


@asynccontextmanager
async def connected(
    setting: Setting,
    folder: Path,
    *options: str,
    person: Person | None = None,
    env: dict[str, str] | None = None,
) -> AsyncIterator[Client]:
    """A client of `execnode mcp` in a folder, which offers elicitation if there is a person."""
    transport, mode = setting
    ask = None if person is None else person.answer
    if transport == "stdio":
        command = StdioServerParameters(
            command=sys.executable,
            args=["-m", "execnode", "mcp", *options],
            cwd=folder,
            env={"PYTHONPATH": str(ROOT), **(env or {})},
        )
        async with Client(command, elicitation_callback=ask, mode=mode) as client:
            yield client
        return
    with Program("mcp", "--listen", "http://127.0.0.1:0/mcp", *options, cwd=folder) as program:
        url = await anyio.to_thread.run_sync(program.line)
        async with Client(url, elicitation_callback=ask, mode=mode) as client:
            yield client


async def shell(client: Client, command: str, **arguments: Any) -> CallToolResult:
    """Call the tool; not as a login shell, which may execute whatever it likes."""
    return await client.call_tool("shell", {"command": command, "login": False, **arguments})


def text(result: CallToolResult) -> str:
    """What the model reads."""
    assert [block.type for block in result.content] == ["text"]
    block = result.content[0]
    assert isinstance(block, TextContent)
    return block.text


def names(folder: Path) -> list[str]:
    """What is in a folder."""
    return sorted(each.name for each in folder.iterdir())
